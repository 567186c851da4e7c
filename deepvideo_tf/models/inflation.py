"""Weights from one model of the paper to its kin: from one frame to several, from the full frame to two streams.

Where a layer of the target sees the same thing several times over (neighbouring frames, the ends of several towers),
the source's weights are repeated for each and divided by their number. On a clip that stands still they then answer as
the source does.
"""

import math

import numpy as np

from deepvideo_tf.config import STREAMS
from deepvideo_tf.errors import ConfigError


def inflate_weights(source, target):
    """Sets a model's weights from those of a kin.

    - From `single_frame` to `early_fusion`, `slow_fusion` and `late_fusion`: a clip of one frame repeated gets the
      logits that the source gives for that frame.
    - From a full-frame net to the two-stream net of the same fusion, or to one of its streams: each stream's tower gets
      the full-frame tower's weights, and answers for its own view as the full-frame tower would. The first dense layer
      takes the mean over the streams.
    - Both at once, as from `single_frame` to `multires_slow_fusion`; or from `multires` to `multires_slow_fusion`.

    Args:
        source: a model of this package.
        target: another one, of the same width and `lrn_beta`. The crop sizes may differ as long as the towers end in
            maps of one size, as those of 170 pixels for the full frame and 178 for two streams do (section 3.2).

    Returns:
        Names of the target's layers that keep their own weights: `["logits"]` if the numbers of classes differ, else an
        empty list.

    Raises:
        ConfigError: (a ValueError) the weights of a layer do not fit a whole number of times, or the two normalise
            differently. The target is unchanged.
    """
    betas = [{layer.beta for layer in model.layers if hasattr(layer, "beta")} for model in (source, target)]
    if betas[0] != betas[1]:
        raise ConfigError(f"source must have the target's lrn_beta, {betas[1]}. Received: {betas[0]}")
    weights, left = {}, []
    for layer in target.layers:
        if layer.name == "logits" and source.get_layer("logits").units != layer.units:
            left.append(layer.name)
        elif layer.weights:
            weights[layer] = _inflated(source, target, layer)
    for layer, values in weights.items():
        layer.set_weights(values)
    return left


def _inflated(source, target, layer):
    """Kernel and bias for a layer of the target."""
    kin = _kin(source, layer.name)
    there, here = _kernel_shape(source, kin), _kernel_shape(target, layer)
    times = [new // old for new, old in zip(here, there, strict=True)]
    fits = [old * count for old, count in zip(there, times, strict=True)] == list(here)
    if not fits or times[0] != 1 or times[3] != 1:
        raise ConfigError(
            f"source must fit {layer.name} of {target.name}, whose kernel joins {here} (positions, streams, channels, "
            f"units), with as many positions and units, and as many streams and channels or a whole part of them. "
            f"Received: {kin.name} of {source.name}, {there}"
        )
    kernel, bias = kin.get_weights()
    # What several frames or towers give is joined along the channels, also where a dense layer sees it flattened.
    repeated = np.tile(kernel.reshape(there), times) / math.prod(times)
    return [repeated.reshape(layer.kernel.shape), bias]


def _kin(source, name):
    """The source's layer of that name, or the full frame's: `conv1` for `fovea_conv1`."""
    prefix, _, rest = name.partition("_")
    names = [name, rest] if prefix in STREAMS else [name]
    for layer in source.layers:
        if layer.name in names:
            return layer
    raise ConfigError(f"source must have a layer {' or '.join(names)}. Received: {source.name}, which has none")


def _kernel_shape(model, layer):
    """What a layer's kernel joins: places in space, streams at each, channels of each stream, and units."""
    if layer.name == "fc6":
        _, height, width, channels = model.get_layer("flatten").input.shape
        names = {item.name for item in model.layers}
        streams = len(names & {f"{stream}_conv5" for stream in STREAMS}) or 1
        return height * width, streams, channels // streams, layer.units
    *space, channels, units = layer.kernel.shape
    return math.prod(space), 1, channels, units
