"""The responses of a model's layers to clips."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


def before_activation(
    model: keras.Model, layers: Sequence[keras.layers.Layer], clips: np.ndarray
) -> dict[str, np.ndarray]:
    """Run a model and keep the outputs of some of its layers before their activations.

    Args:
        model: a model of this package.
        layers: convolutions and dense layers of it.
        clips: uint8 `[batch, time, height, width, 3]`.

    Returns:
        Dict from a layer's name to its responses, float32 `[response, unit]`: for all clips, columns and positions.
    """
    seen: dict[str, list[np.ndarray]] = {layer.name: [] for layer in layers}
    activations = [layer.activation for layer in layers]
    for layer, activation in zip(layers, activations, strict=True):
        layer.activation = _remembering(activation, seen[layer.name])
    try:
        model(clips, training=False)
    finally:
        for layer, activation in zip(layers, activations, strict=True):
            layer.activation = activation
    return {name: np.concatenate([array.reshape(-1, array.shape[-1]) for array in seen[name]]) for name in seen}


def _remembering(activation: Callable[[Any], Any], seen: list[np.ndarray]) -> Callable[[Any], Any]:
    def remember(responses: Any) -> Any:
        seen.append(keras.ops.convert_to_numpy(keras.ops.cast(responses, "float32")))
        return activation(responses)

    return remember
