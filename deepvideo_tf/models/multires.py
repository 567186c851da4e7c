"""The two-stream network (section 3.2)."""

import keras

from deepvideo_tf.config import STREAMS, check_choice
from deepvideo_tf.models.heads import Rates
from deepvideo_tf.models.network import network
from deepvideo_tf.models.registry import DEFAULT_TOWER


def multires(
    num_classes: int,
    *,
    fusion: str = "single_frame",
    stream: str | None = None,
    num_frames: int | None = None,
    crop_size_px: int = 178,
    width: float = 1.0,
    dropout: Rates = 0.5,
    lrn_beta: float = 0.5,
    tower: str = DEFAULT_TOWER,
) -> keras.Model:
    """Build the two-stream fovea + context network over any of the four fusions (section 3.2, Figure 2).

    The streams have separate weights; their ends, 7 x 7 x 256 each, are joined in the head.

    Args:
        num_classes: number of logits; 487 in the paper.
        fusion: `single_frame`, `early_fusion`, `late_fusion` or `slow_fusion`; the paper has the first and the last.
        stream: None for both; `fovea` or `context` for that one alone, as in two rows of Table 1.
        num_frames: frames of the clip; None for what the fusion takes in the paper (1, 10, 2, 10).
        crop_size_px: height and width of the clip, 22 or more; 178 in the paper, whose streams see 89 x 89 each.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 129,035,495 parameters with
            `single_frame` and 132,242,855 with `slow_fusion`, at 487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of local response normalization; 0.5 in the paper, 0.75 in AlexNet.
        tower: the convolutional tower; `alexnet` is the paper's.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    if stream is not None:
        check_choice("stream", stream, STREAMS)
    return network(
        fusion,
        STREAMS if stream is None else (stream,),
        num_classes,
        num_frames=num_frames,
        crop_size_px=crop_size_px,
        width=width,
        dropout=dropout,
        lrn_beta=lrn_beta,
        tower=tower,
    )
