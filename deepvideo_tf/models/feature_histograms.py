"""The baseline's classifier: a perceptron with ReLU over the histograms of a clip (section 4.1)."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from keras import layers
from threadpoolctl import threadpool_limits

from deepvideo_tf.baseline.codebooks import Codebook, clip_vector, vector_dims
from deepvideo_tf.baseline.features import KIND_DIMS, KINDS
from deepvideo_tf.config import FEATURE_HISTOGRAMS
from deepvideo_tf.models.info import ModelInfo
from deepvideo_tf.models.registry import register_model

HIDDEN_UNITS = 1024  # of a layer at width 1; the paper does not say how many
CODEBOOKS_LAYER = "codebooks"
LOGITS = "logits"


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class Codebooks(layers.Layer):
    """Pass the input on; the weights are the codebooks that the input is made with, so that checkpoints have them.

    Args:
        num_words: words of each codebook.
        **kwargs: arguments of every Keras layer, such as `name`.
    """

    def __init__(self, num_words: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_words = num_words

    def build(self, input_shape: tuple) -> None:
        fixed: dict[str, Any] = {"trainable": False, "dtype": "float32"}
        for kind, dims in KIND_DIMS.items():
            self.add_weight(shape=(self.num_words, dims), initializer="zeros", name=kind, **fixed)
            self.add_weight(shape=(), initializer="ones", name=f"{kind}_width", **fixed)

    def call(self, inputs: Any) -> Any:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_words": self.num_words}


def info(tower: str = "") -> ModelInfo:
    """Return what the classifier says about itself.

    Args:
        tower: not used: it has none.

    Returns:
        `ModelInfo`.
    """
    del tower
    return ModelInfo(
        FEATURE_HISTOGRAMS,
        section="4.1",
        head=LOGITS,
        export_obstacle="its features are not part of a graph",
        inputs=vectors_of,
    )


@register_model(FEATURE_HISTOGRAMS, info)
def build_classifier(
    num_classes: int, *, num_words: int, hidden_layers: int, width: float, dropout: tuple[float, float]
) -> keras.Model:
    """Build the classifier.

    Args:
        num_classes: number of logits.
        num_words: words of each codebook.
        hidden_layers: 1 or 2.
        width: scale of the hidden units, of which there are `HIDDEN_UNITS` at 1.
        dropout: rates after the hidden layers, a pair: after the first of two, and below the top layer.

    Returns:
        A `keras.Model` from `histograms`, float32 `[batch, vector_dims]`, to logits, float32 `[batch, num_classes]`.
        The top layer starts at 0.
    """
    # float16 on the disk alone: TensorFlow reports it as an error on processors that do not compute with it.
    inputs = keras.Input((vector_dims(num_words),), dtype="float32", name="histograms")
    x = Codebooks(num_words, name=CODEBOOKS_LAYER)(inputs)
    units = max(1, round(HIDDEN_UNITS * width))
    for number in range(hidden_layers):
        is_last = number == hidden_layers - 1
        x = layers.Dense(units, activation="relu", name=f"hidden{number + 1}")(x)
        x = layers.Dropout(dropout[is_last], name=f"dropout{number + 1}")(x)
    logits = layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32", name=LOGITS)(x)
    return keras.Model(inputs, logits, name=FEATURE_HISTOGRAMS)


def set_codebooks(model: keras.Model, codebooks: Mapping[str, Codebook]) -> None:
    """Set the codebooks that a classifier's inputs are made with.

    Args:
        model: from `build_classifier`.
        codebooks: dict from each of `KINDS` to its `Codebook`.
    """
    weights = [part for kind in KINDS for part in (codebooks[kind].words, codebooks[kind].width)]
    model.get_layer(CODEBOOKS_LAYER).set_weights([np.asarray(part, np.float32) for part in weights])


def codebooks_of(model: keras.Model) -> dict[str, Codebook]:
    """Return the codebooks of a classifier: dict from each of `KINDS` to its `Codebook`."""
    weights = iter(model.get_layer(CODEBOOKS_LAYER).get_weights())
    return {kind: Codebook(next(weights), float(next(weights))) for kind in KINDS}


def vectors_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that makes clips into the inputs of a classifier.

    Args:
        model: from `build_classifier`, with its codebooks.

    Returns:
        Function from uint8 clips `[batch, time, height, width, 3]` to float32 `[batch, vector_dims]`, with the values
        that float16 has.
    """
    codebooks = codebooks_of(model)

    def vectors(clips: np.ndarray) -> np.ndarray:
        # OpenCV and NumPy release the interpreter's lock. Matrix products with threads of their own would only wait for
        # each other, and add up in another order than where training computes them.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(lambda clip: clip_vector(clip, codebooks), clips))).astype(np.float32)

    return vectors
