"""What decoding one video may cost."""

from dataclasses import dataclass

from deepvideo_tf.config.checks import check_fields, switch, whole
from deepvideo_tf.errors import ConfigError


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding one untrusted video may cost. A video beyond a limit counts as bad.

    Args:
        decode_timeout_s: seconds that decoding one video may take, above 0 and at most a day.
        max_frame_pixels: maximum height times width of a frame.
        max_video_frames: maximum number of frames in one video.
        max_video_bytes: maximum size of one file.
        use_truncated: whether to use a video that ends before its container says, up to there, instead of skipping it.

    Raises:
        ConfigError: a field is outside its range.
    """

    decode_timeout_s: float = 60.0
    max_frame_pixels: int = whole(4096 * 2304, 1)
    max_video_frames: int = whole(1_000_000, 1)
    max_video_bytes: int = whole(16 * 2**30, 1)
    use_truncated: bool = switch(False)

    def __post_init__(self) -> None:
        if not 0 < self.decode_timeout_s <= 86_400:
            raise ConfigError(
                f"decode_timeout_s must be above 0 and at most 86400. Received: {self.decode_timeout_s!r}"
            )
        check_fields(self)
