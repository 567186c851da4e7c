"""The clips that shards hold."""

from dataclasses import dataclass

from deepvideo_tf.config.checks import check_fields, choice, number, whole

FRAME_FORMATS = ("jpeg", "raw")


@dataclass(frozen=True)
class ShardSpec:
    """The clips that shards hold.

    Args:
        clips_per_video: maximum number of clips from each video, evenly spaced, 1 to 10,000; 20 in the paper's test
            protocol (section 4.1), up to 100 in its training set.
        clip_frames: stored frames per clip, 16 to 1,000. At least 16, so that the two frames of late fusion, 15 apart,
            fit. Differs from the paper, whose clips last half a second (section 4.1): at 25 frames per second, 16
            frames last 0.64 s.
        frame_rate_fps: frames per second of the stored clips, above 0 and below 1,000. Frames are chosen by time, so
            videos of any frame rate move at the same speed in the shards. Differs from the paper, which does not state
            a rate.
        frame_size_px: height and width of the stored frames, 16 to 2,000 pixels; 200 in the paper (section 3.3).
        frame_format: `jpeg`, or `raw` for unencoded pixels, which need no decoding but about twelve times the space.
        jpeg_quality: JPEG quality of the stored frames, 1 to 100.

    Raises:
        ConfigError: a field is outside its range.
    """

    clips_per_video: int = whole(20, 1, 10_000)
    clip_frames: int = whole(16, 16, 1_000)
    frame_rate_fps: float = number(25.0, above=0, below=1_000)
    frame_size_px: int = whole(200, 16, 2_000)
    frame_format: str = choice("jpeg", FRAME_FORMATS)
    jpeg_quality: int = whole(90, 1, 100)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "frame_rate_fps", float(self.frame_rate_fps))  # 25 and 25.0 are the same setting
