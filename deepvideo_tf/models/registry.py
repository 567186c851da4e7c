"""Every model by its name, as the programs' `--model` flag spells it."""

from functools import partial

from deepvideo_tf.config import MODEL_NAMES, check_choice
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


def build_model(name, num_classes, **arguments):
    """Builds a model of the paper by its name.

    Args:
        name: one of `deepvideo_tf.config.MODEL_NAMES`.
        num_classes: number of logits.
        **arguments: the builder's own (`num_frames`, `crop_size_px`, `width`, `dropout`, `lrn_beta`).

    Returns:
        A `keras.Model` from `clip`, uint8 `[batch, time, height, width, 3]`, to logits, float32 `[batch, num_classes]`.

    Raises:
        ConfigError: (a ValueError) no such model, or an argument outside its range.
    """
    check_choice("model", name, MODEL_NAMES)
    return BUILDERS[name](num_classes, **arguments)
