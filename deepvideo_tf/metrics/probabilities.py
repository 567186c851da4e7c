"""From logits to the probabilities that are evaluated."""

import keras
import numpy as np
from keras import ops

from deepvideo_tf.config import ModelCard


def probabilities(card: ModelCard, logits: keras.KerasTensor | np.ndarray) -> np.ndarray:
    """Convert a model's logits to probabilities.

    Args:
        card: the model's card.
        logits: `[example, class]`.

    Returns:
        float32 `[example, class]`; rows sum to 1 if the loss is softmax.
    """
    activation = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}[card.loss]
    return ops.convert_to_numpy(activation(logits))
