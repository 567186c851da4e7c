"""What a model costs, layer by layer, read off the layers themselves."""

import math
from dataclasses import dataclass

import keras

from deepvideo_tf.errors import ConfigError


@dataclass(frozen=True)
class LayerDescription:
    """One layer of a model.

    Args:
        name: the layer's name.
        shape: of what it gives for one clip: `(time, height, width, channel)`, or `(unit,)` where nothing of time and
            space is left. Time counts the columns that share the layer.
        parameters: numbers in its weights, which all columns share.
        multiply_adds: of its convolution or matrix product for one clip, all columns together. As the field counts
            them: biases, ReLU, pooling and normalisation, which have no weights, count nothing.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def describe(model):
    """Tells what each layer of a model gives and costs.

    Args:
        model: a model of this package, or a part of one.

    Returns:
        List of `LayerDescription`, in the order of the layers. The sums of its parameters and multiply-adds are the
        model's.

    Raises:
        ConfigError: (a ValueError) the model is not a functional one; or a layer with weights is neither of the two, so
            that there is no rule to count its work by.
    """
    if isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
        raise ConfigError(f"model must be a functional keras.Model. Received: {type(model).__name__}")
    # A shared layer is one layer, called once a column. How often this model calls it stands in the model's own
    # configuration; the layer itself also remembers the calls of other models that share it.
    calls = {layer["name"]: len(layer["inbound_nodes"]) for layer in model.get_config()["layers"]}
    return [
        LayerDescription(
            layer.name,
            _shape(layer, calls[layer.name]),
            layer.count_params(),
            _multiply_adds(layer) * calls[layer.name],
        )
        for layer in model.layers
    ]


def _shape(layer, calls):
    if isinstance(layer.output, list):
        return (len(layer.output), *layer.output[0].shape[1:])
    shape = layer.output.shape[1:]
    return (calls, *shape) if len(shape) == 3 else shape


def _multiply_adds(layer):
    """Of one call."""
    if isinstance(layer, keras.layers.Conv2D):
        _, height, width, _ = layer.output.shape
        return math.prod(layer.kernel.shape) * height * width
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape)
    if layer.weights:
        raise ConfigError(
            f"model must have weights in Conv2D and Dense layers only. Received: {layer.name}, a {type(layer).__name__}"
        )
    return 0
