"""The clip that a model takes."""

from dataclasses import dataclass

from deepvideo_tf.config.checks import check_fields, switch, whole


@dataclass(frozen=True)
class ClipSpec:
    """The part of a stored clip that a model takes.

    Args:
        num_frames: frames in the model's clip, 1 to 1,000.
        frame_stride: stored frames from one frame of the model's clip to the next, 1 to 1,000; 15 for late fusion
            (section 3.1).
        crop_size_px: height and width of the square crop of the stored frame, 11 to 2,000 pixels; 170 in the paper, or
            178 for the two-stream models (section 3.3).
        flip: whether a mirror image keeps its label. If so, training mirrors half of the clips and evaluation half of
            the views. Turn it off where left and right tell the classes apart.

    Raises:
        ConfigError: a field is outside its range.
    """

    num_frames: int = whole(1, 1, 1_000)
    frame_stride: int = whole(1, 1, 1_000)
    crop_size_px: int = whole(170, 11, 2_000)
    flip: bool = switch(True)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def span(self) -> int:
        """Stored frames from the first to the last frame of the model's clip, both counted."""
        return (self.num_frames - 1) * self.frame_stride + 1
