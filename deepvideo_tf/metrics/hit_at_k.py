"""Hit@k (section 4.1), as a Keras metric and in NumPy; average precision; and the probabilities that they judge."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class HitAtK(keras.metrics.MeanMetricWrapper):
    """The part of the examples with at least one true label among the k highest scores (section 4.1).

    Ties are resolved against the model: a wrong class with the same score as the best true one counts as above it, so
    that a model which answers the same for all classes scores 0 and not 1. A score that is not a number is the lowest.

    Args:
        k: how many of the highest scores count, 1 or more.
        name: the metric's name; None for `hit_at_<k>`.
        dtype: the dtype of its state.

    Raises:
        ValueError: `k` is not a whole number of 1 or more.
    """

    def __init__(self, k=1, name=None, dtype=None):
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a whole number, 1 or more. Received: {k!r}")
        self.k = k
        super().__init__(self.values, name=name or f"hit_at_{k}", dtype=dtype)

    def values(self, targets, scores):
        """Whether each example is a hit, 1 or 0: float32 `[example]`.

        Args:
            targets: `[example, class]`, above 0 where a label is true.
            scores: `[example, class]`.

        Returns:
            Tensor.
        """
        is_true = ops.cast(targets, "float32") > 0
        scores = ops.cast(scores, "float32")
        scores = ops.where(ops.isnan(scores), float("-inf"), scores)
        best_true = ops.max(ops.where(is_true, scores, float("-inf")), axis=-1, keepdims=True)
        wrong_above = ops.logical_and(ops.logical_not(is_true), scores >= best_true)
        has_label = ops.any(is_true, axis=-1)
        hit = ops.sum(ops.cast(wrong_above, "int32"), axis=-1) < self.k
        return ops.cast(ops.logical_and(hit, has_label), "float32")

    def get_config(self):
        return {"k": self.k, "name": self.name, "dtype": self.dtype}


def hits_at_k(is_true, scores, k):
    """Whether each example is a hit, with ties resolved as `HitAtK` does.

    Args:
        is_true: bool `[example, class]`.
        scores: float `[example, class]`.
        k: how many of the highest scores count.

    Returns:
        bool `[example]`.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    best_true = np.where(is_true, scores, -np.inf).max(axis=-1, keepdims=True)
    wrong_above = (~is_true & (scores >= best_true)).sum(axis=-1)
    return is_true.any(axis=-1) & (wrong_above < k)


def average_precision(is_true, scores):
    """Average precision of each class: the mean, over its positives, of the precision at their scores (Table 2).

    Equal scores share one threshold, so that the order of the examples does not matter. A score that is not a number is
    the lowest.

    Args:
        is_true: bool `[example, class]`.
        scores: float `[example, class]`.

    Returns:
        float64 `[class]`; NaN where a class has no positive.
    """
    once = np.ones((1, len(is_true)), np.uint16)
    columns = zip(is_true.T, scores.T, strict=True)
    return np.array([weighted_average_precision(*column, once)[0] for column in columns])


def weighted_average_precision(is_true, scores, weights):
    """Average precision of one class where each example counts several times, as in a bootstrap resample.

    Args:
        is_true: bool `[example]`.
        scores: float `[example]`.
        weights: whole numbers `[resample, example]`, how many times each example counts.

    Returns:
        float64 `[resample]`; NaN where no positive counts.
    """
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    falling = -scores[order]
    places = np.flatnonzero(is_true[order])
    last_equal = np.searchsorted(falling, falling[places], side="right") - 1
    # Each example falls to the first positive that scores no higher; those below all of them are left over.
    steps = np.empty(len(order), np.intp)
    steps[order] = np.searchsorted(last_equal, np.arange(len(order)))
    at_steps = np.stack([np.bincount(steps, row, len(places) + 1)[:-1] for row in weights])
    of_positives = weights[:, order[places]].astype(float)
    true_above = np.cumsum(of_positives, axis=1)[:, np.searchsorted(places, last_equal, side="right") - 1]
    precision = true_above / np.maximum(np.cumsum(at_steps, axis=1), 1)
    with np.errstate(invalid="ignore"):
        return (of_positives * precision).sum(axis=1) / of_positives.sum(axis=1)


def probabilities(card, logits):
    """What a model answers, from its logits.

    Args:
        card: its `ModelCard`.
        logits: `[example, class]`.

    Returns:
        float32 `[example, class]`, NumPy; rows sum to 1 where the loss is softmax.
    """
    activation = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}[card.loss]
    return ops.convert_to_numpy(activation(logits))
