"""Weights of one model for a related one: from one frame to several, from the full frame to two streams.

Where a layer of the target sees the same thing several times (neighboring frames, the ends of several towers), the
source's weights are repeated for each and divided by their number. On a still clip the layer then outputs what the
source's does.
"""

import math

import keras
import numpy as np

from deepvideo_tf.config import STREAMS
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.info import ModelInfo
from deepvideo_tf.models.layers import LocalResponseNormalization
from deepvideo_tf.models.registry import info_of


def inflate_weights(source: keras.Model, target: keras.Model) -> list[str]:
    """Set a model's weights from those of a related one.

    - From `single_frame` to `early_fusion`, `slow_fusion` and `late_fusion`: a clip of one frame repeated gets the
      logits that the source outputs for that frame.
    - From a full-frame network to the two-stream network of the same fusion, or to one of its streams: each stream's
      tower gets the full-frame tower's weights. The head's first layer takes the mean over the streams.
    - Both at once, as from `single_frame` to `multires_slow_fusion`; or from `multires` to `multires_slow_fusion`.

    Args:
        source: a model of this package.
        target: another one, of the same tower, width and `lrn_beta`. The crop sizes may differ as long as the towers
            end in maps of one size, as those of 170 pixels for the full frame and 178 for two streams do (section 3.2).

    Returns:
        Names of the target's layers that keep their own weights: `["logits"]` if the numbers of classes differ, else an
        empty list.

    Raises:
        ConfigError: (a ValueError) the weights of a layer do not fit a whole number of times, or the two normalize
            differently. The target is unchanged.
    """
    kinds = [(info_of(model).tower, _betas(model)) for model in (source, target)]
    for name, there, here in zip(("tower", "lrn_beta"), *kinds, strict=True):
        if there != here:
            raise ConfigError(f"source must have the target's {name}, {here}. Received: {there}")
    head, source_head = info_of(target).head, info_of(source).head
    weights, left = {}, []
    for layer in target.layers:
        if layer.name == head and source.get_layer(source_head).units != layer.units:
            left.append(layer.name)
        elif layer.weights:
            weights[layer] = _inflated(source, target, layer)
    for layer, values in weights.items():
        layer.set_weights(values)
    return left


def _betas(model: keras.Model) -> set[float]:
    return {layer.beta for layer in model.layers if isinstance(layer, LocalResponseNormalization)}


def _inflated(source: keras.Model, target: keras.Model, layer: keras.layers.Layer) -> list[np.ndarray]:
    """Return the weights for a layer of the target."""
    related = _related(source, layer.name)
    values = []
    for old, new in zip(related.get_weights(), layer.weights, strict=True):
        there, here = _axes(source, related, old.shape), _axes(target, layer, tuple(new.shape))
        times = [into // out_of for into, out_of in zip(here, there, strict=True)]
        fits = [size * count for size, count in zip(there, times, strict=True)] == list(here)
        if not fits or times[0] != 1 or times[3] != 1:
            raise ConfigError(
                f"source must fit {layer.name} of {target.name}, whose kernel joins {here} (positions, streams, "
                f"channels, units), with as many positions and units, and as many streams and channels or a whole part "
                f"of them. Received: {related.name} of {source.name}, {there}"
            )
        # The outputs of several frames or towers are joined along the channels, also where a dense layer sees them
        # flattened.
        repeated = np.tile(old.reshape(there), times) / math.prod(times)
        values.append(repeated.reshape(new.shape))
    return values


def _related(source: keras.Model, name: str) -> keras.layers.Layer:
    """Return the source's layer of that name, or the full frame's: `conv1` for `fovea_conv1`."""
    prefix, _, rest = name.partition("_")
    names = [name, rest] if prefix in STREAMS else [name]
    for layer in source.layers:
        if layer.name in names:
            return layer
    raise ConfigError(f"source must have a layer {' or '.join(names)}. Received: {source.name}, which has none")


def _axes(model: keras.Model, layer: keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Split the shape of a weight: positions in space, streams at each, channels of each stream, and units."""
    info: ModelInfo = info_of(model)
    *inputs, units = shape
    if not inputs:
        return 1, 1, 1, units
    *space, channels = inputs
    if layer.name == info.joined:
        joined, streams = model.get_layer(info.vector).input.shape[-1], len(info.first_convs)
        return channels // joined, streams, joined // streams, units
    return math.prod(space), 1, channels, units
