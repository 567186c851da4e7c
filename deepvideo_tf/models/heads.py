"""Heads: from the feature maps that all towers end in to logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras

from deepvideo_tf.models.info import LayerGroup
from deepvideo_tf.models.layers import DATA_FORMAT, HIDDEN_INITIALIZER, scaled

HIDDEN_UNITS = 4096  # each of the two hidden dense layers
LOGITS = "logits"
ENDS = "ends"  # joins the feature maps along their channels, where there are several

Rates = float | tuple[float, float]


@dataclass(frozen=True)
class Head:
    """A head and what others need to know of its layers.

    Args:
        build: from the ends, a list of `[batch, height, width, channel]`, `num_classes`, `width` (scale of the numbers
            of units) and `dropout` (a rate, or a pair, of the first hidden layer and of the one below the logits) to
            logits, float32 `[batch, num_classes]`.
        vector: the layer that makes a vector of the feature maps, joined along their channels.
        joined: the first layer with weights.
        groups: by fine-tuning mode, the layers that it trains.
        hidden: the hidden dense layers, in order.
    """

    build: Callable[..., keras.KerasTensor]
    vector: str
    joined: str
    groups: Mapping[str, LayerGroup]
    hidden: tuple[str, ...] = ()


def dropout_pair(dropout: Rates) -> tuple[float, float]:
    """Return the dropout rates after the first and the second hidden dense layer."""
    if isinstance(dropout, (tuple, list)) and len(dropout) == 2:
        first, second = dropout
        return first, second
    return (dropout, dropout)  # type: ignore[return-value]  # `check_number` reports anything but a number


def _joined(ends: list[keras.KerasTensor]) -> keras.KerasTensor:
    return keras.layers.Concatenate(name=ENDS)(ends) if len(ends) > 1 else ends[0]


def _logits(x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    small_normal = keras.initializers.RandomNormal(stddev=0.01)
    # float32 whatever the policy: a softmax of half-precision logits loses the small probabilities.
    return keras.layers.Dense(num_classes, kernel_initializer=small_normal, dtype="float32", name=LOGITS)(x)


def _hidden(ends: list[keras.KerasTensor], *, num_classes: int, width: float, dropout: Rates) -> keras.KerasTensor:
    """FC(4096)-FC(4096)-classes (section 3.1)."""
    x = keras.layers.Flatten(data_format=DATA_FORMAT, name="flatten")(_joined(ends))
    for number, rate in zip((6, 7), dropout_pair(dropout), strict=True):
        x = keras.layers.Dense(
            scaled(HIDDEN_UNITS, width),
            activation="relu",
            kernel_initializer=HIDDEN_INITIALIZER,
            name=f"fc{number}",
        )(x)
        x = keras.layers.Dropout(rate, name=f"dropout{number}")(x)
    return _logits(x, num_classes)


def _average(ends: list[keras.KerasTensor], *, num_classes: int, width: float, dropout: Rates) -> keras.KerasTensor:
    """Global average pooling, dropout, classes; `width` changes nothing here."""
    del width
    x = keras.layers.GlobalAveragePooling2D(data_format=DATA_FORMAT, name="average")(_joined(ends))
    x = keras.layers.Dropout(dropout_pair(dropout)[1], name="dropout")(x)
    return _logits(x, num_classes)


HEADS = {
    "hidden": Head(
        _hidden,
        vector="flatten",
        joined="fc6",
        groups={
            "top": LayerGroup(("dropout7", LOGITS), features="fc7"),
            "top3": LayerGroup(("fc6", "dropout6", "fc7", "dropout7", LOGITS), features="flatten"),
        },
        hidden=("fc6", "fc7"),
    ),
    "average": Head(
        _average,
        vector="average",
        joined=LOGITS,
        groups={"top": LayerGroup(("dropout", LOGITS), features="average")},
    ),
}
