"""The two-stream net: a sharp fovea and a coarse context, at half the input of the full-frame net (section 3.2)."""

import keras

from deepvideo_tf.config import FUSION_CLIPS, FUSIONS, STREAMS, check_choice, multires_name
from deepvideo_tf.models.fusion import MIN_CROP_SIZE_PX, fusion_windows
from deepvideo_tf.models.towers.alexnet import DATA_FORMAT, check_model_arguments, clip_input, head, tower


def fovea_views(frames, crop_size_px):
    """The centre of each frame at its own resolution: half the height and width, rounded up (section 3.2)."""
    size_px = (crop_size_px + 1) // 2
    before_px = (crop_size_px - size_px) // 2
    after_px = crop_size_px - size_px - before_px
    around_px = ((before_px, after_px), (before_px, after_px))
    crop = keras.layers.Cropping2D(around_px, data_format=DATA_FORMAT, name="fovea")
    return [crop(frame) for frame in frames]


def context_views(frames):
    """Each whole frame at half resolution: every 2 x 2 pixels averaged, and what is left over at an odd edge."""
    shrink = keras.layers.AveragePooling2D(2, padding="same", data_format=DATA_FORMAT, name="context")
    return [shrink(frame) for frame in frames]


def multires(
    num_classes,
    *,
    fusion="single_frame",
    stream=None,
    num_frames=None,
    crop_size_px=178,
    width=1.0,
    dropout=0.5,
    lrn_beta=0.5,
):
    """The two-stream fovea + context net over any of the four fusions (section 3.2, Figure 2).

    The streams have separate weights; their ends, 7 x 7 x 256 each, are joined in the first dense layer.

    Args:
        num_classes: number of logits; 487 in the paper.
        fusion: `single_frame`, `early_fusion`, `late_fusion` or `slow_fusion`; the paper has the first and the last.
        stream: None for both; `fovea` or `context` for that one alone, as in two rows of Table 1.
        num_frames: frames of the clip; None for what the fusion takes in the paper (1, 10, 2, 10).
        crop_size_px: height and width of the clip, 22 or more; 178 in the paper, whose streams see 89 x 89 each.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's 129,035,495 parameters with
            `single_frame` and 132,242,855 with `slow_fusion`, at 487 classes.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, num_frames, crop_size_px, crop_size_px, 3]`, raw pixels 0 to 255, to
        logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) an argument is outside its range.
    """
    check_choice("fusion", fusion, FUSIONS)
    check_choice("stream", stream, (None, *STREAMS))
    if num_frames is None:
        num_frames = FUSION_CLIPS[fusion].num_frames
    check_model_arguments(
        num_classes=num_classes,
        width=width,
        crop_size_px=crop_size_px,
        dropout=dropout,
        lrn_beta=lrn_beta,
        num_frames=num_frames,
        min_crop_size_px=2 * MIN_CROP_SIZE_PX,
    )
    windows = fusion_windows(fusion, num_frames)
    clip, frames = clip_input(num_frames, crop_size_px)
    ends = []
    for name in STREAMS if stream is None else (stream,):
        views = context_views(frames) if name == "context" else fovea_views(frames, crop_size_px)
        ends += tower(views, width=width, lrn_beta=lrn_beta, windows=windows, last_pool=False, prefix=f"{name}_")
    logits = head(ends, num_classes=num_classes, width=width, dropout=dropout)
    return keras.Model(clip, logits, name=multires_name(fusion, stream))
