"""What the layers of a model answer to clips."""

import keras
import numpy as np


def before_activation(model, layers, clips):
    """Runs a model and keeps what some of its layers give before their activations.

    Args:
        model: a `keras.Model` of this package.
        layers: convolutions and dense layers of it.
        clips: uint8 `[batch, time, height, width, 3]`.

    Returns:
        Dict from a layer's name to its answers, float32 `[answer, unit]`: for all clips, columns and places.
    """
    seen: dict[str, list] = {layer.name: [] for layer in layers}
    activations = [layer.activation for layer in layers]
    for layer, activation in zip(layers, activations, strict=True):
        layer.activation = _remembering(activation, seen[layer.name])
    try:
        model(clips, training=False)
    finally:
        for layer, activation in zip(layers, activations, strict=True):
            layer.activation = activation
    return {name: np.concatenate([answers.reshape(-1, answers.shape[-1]) for answers in seen[name]]) for name in seen}


def _remembering(activation, seen):
    def remember(answers):
        seen.append(keras.ops.convert_to_numpy(keras.ops.cast(answers, "float32")))
        return activation(answers)

    return remember
