"""Initial weights that suit the data, so that every model of the paper learns from scratch."""

import numpy as np

from deepvideo_tf.models.responses import before_activation
PIXEL_MEAN = 117.0

LAYERS = 7  # conv1 to conv5, fc6, fc7
CLIPS = 64  # enough for the mean of a unit to be known within an eighth of its spread


def initialize_from_clips(model, clips):
    """Sets biases and scales of a new model so that its units tell these clips apart.

    Layer by layer, from the pixels up, every unit's bias is set so that its mean before the ReLU is 0, and the kernel
    is scaled so that the layer's spread goes down by the same factor from layer to layer, from that of raw pixels to 1
    in the last hidden layer: then one learning rate suits them all. The top layer becomes zeros, so that there is no
    opinion that all layers would first have to unlearn. In the manner of Mishkin and Matas (2016) and of Kraehenbuehl
    and others (2016).

    Differs from the paper, which does not state its initialisation. What all clips have in common, such as a still
    background, is most of what a fresh net answers to: 25 times what tells them apart, in the last hidden layer of slow
    fusion on depth videos. Gradients then first fight the common part, and ReLUs die of it.

    Args:
        model: a model of this package, with its initial weights.
        clips: uint8 `[batch, time, height, width, 3]`, some tens of them, as training will see them.
    """
    pixel_spread = max(1.0, np.sqrt(np.square(clips - np.float32(PIXEL_MEAN)).mean()))
    for layer in model.layers:
        if layer.name == "logits":
            layer.set_weights([np.zeros_like(value) for value in layer.get_weights()])
        elif layer.weights:
            kernel, bias = layer.get_weights()
            answers = before_activation(model, [layer], clips)[layer.name]
            mean = answers.mean(axis=0, dtype=np.float64)
            spread = np.sqrt(np.square(answers - mean).mean(dtype=np.float64))
            number = int(layer.name[-1])  # of conv1 to fc7
            sees_difference = spread > 1e-3 * np.abs(mean).max()  # else it is rounding, not to be blown up
            scale = pixel_spread ** (1 - number / LAYERS) / spread if sees_difference else 1.0
            layer.set_weights([kernel * scale, (bias - mean) * scale])
