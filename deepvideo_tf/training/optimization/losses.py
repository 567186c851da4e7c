"""The losses of training, from logits."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from deepvideo_tf.config import TrainConfig

Loss = Callable[[Any, Any], Any]  # from targets and logits, `[batch, class]`, to losses, `[batch]`


def loss_of(config: TrainConfig) -> Loss:
    """Return the loss of a run: of `config`, only `loss` and `label_smoothing` count."""
    if config.loss == "softmax":
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)

    def sum_of_binary_crossentropies(targets: Any, logits: Any) -> Any:
        smoothed = targets * (1 - config.label_smoothing) + config.label_smoothing / 2
        # Keras takes the mean over the classes; the sum keeps the rate's meaning, however many there are.
        return ops.sum(ops.binary_crossentropy(smoothed, logits, from_logits=True), axis=-1)

    return sum_of_binary_crossentropies
