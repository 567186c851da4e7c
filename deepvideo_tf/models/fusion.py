"""The four ways of fusing time over one full-frame tower (section 3.1, Figure 1)."""

from collections.abc import Callable

import keras

from deepvideo_tf.config import FUSION_CLIPS
from deepvideo_tf.models.heads import Rates
from deepvideo_tf.models.network import network
from deepvideo_tf.models.registry import DEFAULT_TOWER

_DOC = """{summary}

    Args:
        num_classes: number of logits; 487 in the paper.
        num_frames: {frames}.
        crop_size_px: height and width of the clip, 11 or more; 170 in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's {parameters} parameters at
            487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of local response normalization; 0.5 in the paper, 0.75 in AlexNet.
        tower: the convolutional tower; `alexnet` is the paper's.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """


def _full_frame(fusion: str, summary: str, frames: str, parameters: str) -> Callable[..., keras.Model]:
    paper = FUSION_CLIPS[fusion]

    def build(
        num_classes: int,
        *,
        num_frames: int = paper.num_frames,
        crop_size_px: int = paper.crop_size_px,
        width: float = 1.0,
        dropout: Rates = 0.5,
        lrn_beta: float = 0.5,
        tower: str = DEFAULT_TOWER,
    ) -> keras.Model:
        return network(
            fusion,
            (),
            num_classes,
            num_frames=num_frames,
            crop_size_px=crop_size_px,
            width=width,
            dropout=dropout,
            lrn_beta=lrn_beta,
            tower=tower,
        )

    build.__name__ = build.__qualname__ = fusion
    build.__doc__ = _DOC.format(summary=summary, frames=frames, parameters=parameters)
    return build


single_frame = _full_frame(
    "single_frame",
    "Build the single-frame network (section 3.1): a video is classified from one of its frames.",
    frames="1; no other number",
    parameters="73,908,071",
)
early_fusion = _full_frame(
    "early_fusion",
    "Build early fusion (section 3.1): the first filters see all frames at once, 11 x 11 x 3 x 10.",
    frames="contiguous frames; 10 in the paper",
    parameters="74,221,703",
)
late_fusion = _full_frame(
    "late_fusion",
    """Build late fusion (section 3.1): towers with shared weights on frames 15 apart, joined in the head.

    The distance between the frames is a property of the data (`ClipSpec.frame_stride`), not of the model.""",
    frames="frames, 2 or more; 2 in the paper",
    parameters="125,288,295",
)
slow_fusion = _full_frame(
    "slow_fusion",
    "Build slow fusion (section 3.1): time shrinks 10 -> 4 -> 2 -> 1 over the stages of the tower.",
    frames="contiguous frames: 10, 18, 26 and so on, so that every frame is seen; 10 in the paper",
    parameters="75,511,751",
)
