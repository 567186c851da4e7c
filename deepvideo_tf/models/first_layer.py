"""What the first layer of a model looks for, and what it is shown."""

import keras
import numpy as np

from deepvideo_tf.config import STREAMS
from deepvideo_tf.errors import ConfigError

FULL_FRAME = "frame"  # what the one tower of a full-frame net is called


def first_layer_filters(model):
    """The filters of the first convolution of each tower (Figure 3).

    Args:
        model: a network of this package.

    Returns:
        Dict from the stream, `context`, `fovea`, or `frame` where there is one tower over whole frames, to float32
        `[filter, time, height, width, 3]`; time is the frames that a filter reaches over.

    Raises:
        ConfigError: (a ValueError) the model has no such layer.
    """
    layers = {layer.name: layer for layer in model.layers}
    named = {FULL_FRAME: "conv1"} | {stream: f"{stream}_conv1" for stream in STREAMS}
    found = {stream: _filters(layers[name]) for stream, name in named.items() if name in layers}
    if not found:
        raise ConfigError(f"model must have a first convolution, conv1. Received: {model.name}, which has none")
    return found


def _filters(layer):
    """Neighbouring frames lie one after the other along the channels (`TemporalWindows`)."""
    kernel = keras.ops.convert_to_numpy(keras.ops.cast(layer.kernel, "float32"))
    height, width, channels, count = kernel.shape
    return kernel.reshape(height, width, channels // 3, 3, count).transpose(4, 2, 0, 1, 3)


def stream_views(model, clips):
    """What each stream of a two-stream net sees, by the model's own layers (section 3.2).

    Args:
        model: a two-stream net, or one of its streams alone.
        clips: uint8 `[clip, time, height, width, 3]`.

    Returns:
        Dict from the stream, `context` or `fovea`, to uint8 `[clip, time, height, width, 3]`: the pixels that reach its
        tower, with the mean added again and rounded.

    Raises:
        ConfigError: (a ValueError) the model has no streams.
    """
    layers = {layer.name: layer for layer in model.layers}
    streams = [stream for stream in STREAMS if stream in layers]
    if not streams:
        raise ConfigError(f"model must be a two-stream net or one of its streams. Received: {model.name}")
    subtract_mean = layers["subtract_mean"]
    frames = layers["frames"](subtract_mean(np.asarray(clips)))
    return {stream: _pixels([layers[stream](frame) for frame in frames], subtract_mean.offset) for stream in streams}


def _pixels(views, offset):
    stacked = np.stack([keras.ops.convert_to_numpy(keras.ops.cast(view, "float32")) for view in views], axis=1)
    return np.clip(np.rint(stacked - offset), 0, 255).astype(np.uint8)
