"""What a model costs, layer by layer, computed from the layers themselves."""

import math
from dataclasses import dataclass

import keras

from deepvideo_tf.errors import ConfigError

# The layers whose kernels are multiplied with their inputs, and those whose weights count 0: batch normalization is one
# multiply-add per value, which a deployed model has folded into the convolution before it.
MULTIPLYING = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
FREE = (keras.layers.BatchNormalization,)


@dataclass(frozen=True)
class LayerDescription:
    """One layer of a model.

    Args:
        name: the layer's name.
        shape: of its output for one clip: `(time, height, width, channel)`, or `(unit,)` where time and space are gone.
            Time counts the columns that share the layer.
        parameters: numbers in its weights, which all columns share.
        multiply_adds: of its convolution or matrix product for one clip, all columns together. As usual in the field,
            biases, ReLU, pooling and normalization, batch normalization included, count 0.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int


def describe(model: keras.Model) -> list[LayerDescription]:
    """Compute what each layer of a model outputs and costs.

    Args:
        model: a model of this package, or a part of one.

    Returns:
        List of `LayerDescription`, in the order of the layers. The sums of its parameters and multiply-adds are the
        model's.

    Raises:
        ConfigError: (a ValueError) the model is not a functional one; or a layer with weights is not a Conv2D,
            DepthwiseConv2D, SeparableConv2D, Dense or BatchNormalization, and its cost cannot be counted.
    """
    if isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
        raise ConfigError(f"model must be a functional keras.Model. Received: {type(model).__name__}")
    # A shared layer is one layer, called once per column. The model's own configuration says how often this model calls
    # it; the layer itself also remembers the calls of other models that share it.
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


def _shape(layer: keras.layers.Layer, calls: int) -> tuple[int, ...]:
    if isinstance(layer.output, list):
        return (len(layer.output), *layer.output[0].shape[1:])
    shape = layer.output.shape[1:]
    return (calls, *shape) if len(shape) == 3 else shape


def _multiply_adds(layer: keras.layers.Layer) -> int:
    """Return the multiply-adds of one call."""
    if isinstance(layer, MULTIPLYING):
        kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
        per_output = sum(math.prod(kernel.shape) for kernel in kernels if kernel is not None)
        return per_output * math.prod(layer.output.shape[1:-1])
    if layer.weights and not isinstance(layer, FREE):
        known = ", ".join(kind.__name__ for kind in (*MULTIPLYING, *FREE))
        raise ConfigError(
            f"model must have weights in layers of these kinds only: {known}. Received: {layer.name}, a "
            f"{type(layer).__name__}"
        )
    return 0
