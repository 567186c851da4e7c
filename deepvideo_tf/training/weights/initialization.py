"""Initial weights fitted to the data, so that every model of the paper learns from scratch."""

import keras
import numpy as np

from deepvideo_tf.models.registry import info_of
from deepvideo_tf.models.responses import before_activation

CLIPS = 64  # enough for the mean of a unit to be known within an eighth of its spread


def initialize_from_clips(model: keras.Model, clips: np.ndarray) -> None:
    """Set biases and scales of a new model so that its units tell these clips apart.

    Layer by layer, from the pixels up, every unit's bias is set so that its mean before the activation is 0, and the
    kernel is scaled so that the layer's spread falls by the same factor from layer to layer, from that of the
    normalized pixels to 1 in the last hidden layer: then one learning rate suits them all. The top layer is set to
    zeros. The method follows Mishkin and Matas (2016) and Kraehenbuehl and others (2016).

    A layer followed by batch normalization keeps its initial weights, since normalization takes its mean and scale
    away; the order of the others is the model's (`ModelInfo.fitted`).

    Differs from the paper, which does not state its initialization. What all clips have in common, such as a still
    background, causes most of the responses of a new network: 25 times as much as the differences between clips, in the
    last hidden layer of slow fusion on depth videos. Gradients then first work against the common part, and ReLUs die.

    Args:
        model: a model of this package, with its initial weights.
        clips: uint8 `[batch, time, height, width, 3]`, some tens of them, as training will see them.
    """
    info = info_of(model)
    normalize = model.get_layer(info.pixels)
    pixels = clips * np.float32(normalize.scale) + np.float32(normalize.offset)
    pixel_spread = max(1.0, np.sqrt(np.square(pixels).mean()))
    for number, names in enumerate(info.fitted, start=1):
        for name in names:
            layer = model.get_layer(name)
            kernel, bias = layer.get_weights()
            responses = before_activation(model, [layer], clips)[name]
            mean = responses.mean(axis=0, dtype=np.float64)
            spread = np.sqrt(np.square(responses - mean).mean(dtype=np.float64))
            sees_difference = (
                spread > 1e-3 * np.abs(mean).max()
            )  # otherwise it is rounding, which must not be amplified
            scale = pixel_spread ** (1 - number / len(info.fitted)) / spread if sees_difference else 1.0
            layer.set_weights([kernel * scale, (bias - mean) * scale])
    head = model.get_layer(info.head)
    head.set_weights([np.zeros_like(value) for value in head.get_weights()])
