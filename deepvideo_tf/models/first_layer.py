"""The filters of a model's first layer, and the pixels they see."""

import keras
import numpy as np

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.registry import info_of


def first_layer_filters(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the filters of the first convolution of each tower (Figure 3).

    Args:
        model: a network of this package.

    Returns:
        Dict from the stream, `context`, `fovea`, or `frame` where there is one tower over whole frames, to float32
        `[filter, time, height, width, 3]`; time is the number of frames that a filter covers.

    Raises:
        ConfigError: (a ValueError) the model has no such layer.
    """
    first_convs = info_of(model).first_convs
    if not first_convs:
        raise ConfigError(f"model must have a first convolution. Received: {model.name}, which has none")
    return {stream: _filters(model.get_layer(name)) for stream, name in first_convs.items()}


def _filters(layer: keras.layers.Layer) -> np.ndarray:
    """Split the channels, along which neighboring frames are joined (`TemporalWindows`)."""
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(layer.kernel, "float32"))
    height, width, channels, count = kernel.shape
    return kernel.reshape(height, width, channels // 3, 3, count).transpose(4, 2, 0, 1, 3)


def stream_views(model: keras.Model, clips: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each stream of a two-stream network sees, computed by the model's own layers (section 3.2).

    Args:
        model: a two-stream network, or one of its streams alone.
        clips: uint8 `[clip, time, height, width, 3]`.

    Returns:
        Dict from the stream, `context` or `fovea`, to uint8 `[clip, time, height, width, 3]`: the pixels that reach its
        tower, with the normalization undone, rounded.

    Raises:
        ConfigError: (a ValueError) the model has no streams.
    """
    info = info_of(model)
    if not info.views:
        raise ConfigError(f"model must be a two-stream net or one of its streams. Received: {model.name}")
    normalize = model.get_layer(info.pixels)
    frames = model.get_layer(info.frames)(normalize(np.asarray(clips)))
    return {
        stream: _pixels([model.get_layer(layer)(frame) for frame in frames], normalize)
        for stream, layer in info.views.items()
    }


def _pixels(views: list, normalize: keras.layers.Rescaling) -> np.ndarray:
    arrays = [keras.ops.convert_to_numpy(keras.ops.cast(view, "float32")) for view in views]
    pixels = (np.stack(arrays, axis=1) - normalize.offset) / normalize.scale
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
