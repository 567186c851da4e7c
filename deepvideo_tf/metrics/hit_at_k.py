"""Hit@k (section 4.1)."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from deepvideo_tf.metrics.clip_metric import ClipMetric


@keras.saving.register_keras_serializable(package="deepvideo_tf")
class HitAtK(ClipMetric):
    """The fraction of examples with at least one true label among the k highest scores (section 4.1).

    Ties are resolved against the model: a wrong class with the same score as the best true one is ranked above it, so
    that a model with equal outputs for all classes scores 0, not 1. NaN is the lowest score.

    Args:
        k: how many of the highest scores count, 1 or more.
        name: the metric's name; None for `hit_at_<k>`.
        dtype: the dtype of its state.

    Raises:
        ValueError: `k` is not an integer of 1 or more.
    """

    def __init__(self, k: int = 1, name: str | None = None, dtype: str | None = None) -> None:
        if not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be an integer of 1 or more. Received: {k!r}")
        self.k = k
        super().__init__(name or f"hit_at_{k}", dtype)

    def values(self, targets: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        is_true = ops.cast(targets, "float32") > 0
        scores = ops.cast(outputs, "float32")
        scores = ops.where(ops.isnan(scores), float("-inf"), scores)
        best_true = ops.max(ops.where(is_true, scores, float("-inf")), axis=-1, keepdims=True)
        wrong_above = ops.logical_and(ops.logical_not(is_true), scores >= best_true)
        has_label = ops.any(is_true, axis=-1)
        hit = ops.sum(ops.cast(wrong_above, "int32"), axis=-1) < self.k
        return ops.cast(ops.logical_and(hit, has_label), "float32")

    def numpy_values(self, is_true: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return hits_at_k(is_true, scores, self.k)

    def chance(self, num_labels: np.ndarray, num_classes: int, weights: np.ndarray | None = None) -> float:
        ways, counts = math.comb(num_classes, self.k), range(num_labels.max() + 1)
        missed = np.array([math.comb(num_classes - count, self.k) / ways for count in counts])
        return float(1 - np.average(missed[num_labels], weights=weights))

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k} | super().get_config()


def hits_at_k(is_true: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Compute which examples are hits, with ties resolved as `HitAtK` does.

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
