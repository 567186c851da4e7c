"""Every model by its name, as the programs' `--model` flag spells it."""

from functools import partial

from deepvideo_tf.config import MODEL_CLIPS, MODEL_NAMES, check_choice
from deepvideo_tf.models.fusion import early_fusion, late_fusion, single_frame, slow_fusion
from deepvideo_tf.models.multires import multires

BUILDERS = {
    "single_frame": single_frame,
    "early_fusion": early_fusion,
    "late_fusion": late_fusion,
    "slow_fusion": slow_fusion,
    "multires": multires,
    "multires_early_fusion": partial(multires, fusion="early_fusion"),
    "multires_late_fusion": partial(multires, fusion="late_fusion"),
    "multires_slow_fusion": partial(multires, fusion="slow_fusion"),
    "context": partial(multires, stream="context"),
    "fovea": partial(multires, stream="fovea"),
}


def build_model(name, num_classes, *, num_frames=None, crop_size_px=None, width=1.0, dropout=0.5, lrn_beta=0.5):
    """Builds a model of the paper (sections 3.1 and 3.2) by its name.

    Args:
        name: one of `deepvideo_tf.config.MODEL_NAMES`.
        num_classes: number of logits.
        num_frames: frames of the clip; None for what the model takes in the paper.
        crop_size_px: height and width of the clip; None for what the model takes in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's.
        dropout: rate after each hidden dense layer, at least 0 and below 1; or a pair, of the first and the second.
        lrn_beta: exponent of the local response normalisation; 0.5 in the paper, 0.75 in AlexNet.

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, time, height, width, 3]`, to logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) no such model, or an argument outside its range.
    """
    check_choice("model", name, MODEL_NAMES)
    clip = MODEL_CLIPS[name]
    return BUILDERS[name](
        num_classes,
        num_frames=clip.num_frames if num_frames is None else num_frames,
        crop_size_px=clip.crop_size_px if crop_size_px is None else crop_size_px,
        width=width,
        dropout=dropout,
        lrn_beta=lrn_beta,
    )
