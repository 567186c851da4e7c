"""The base class of metrics that are means over examples: clips in training, clips and videos in evaluation."""

from typing import Any

import keras
import numpy as np


class ClipMetric(keras.metrics.MeanMetricWrapper):
    """The mean of a value per example, computed with `keras.ops` in training and with NumPy in evaluation.

    Args:
        name: the metric's name; history columns are `<name>` and `val_<name>`, results of an evaluation
            `clip_<name>` and `video_<name>`.
        dtype: the dtype of its state; None for Keras's default.
    """

    def __init__(self, name: str, dtype: str | None = None) -> None:
        super().__init__(self.values, name=name, dtype=dtype)

    def values(self, targets: keras.KerasTensor, outputs: keras.KerasTensor) -> keras.KerasTensor:
        """Compute the value of each example from a model's outputs; the gradient is not used.

        Args:
            targets: `[example, class]`, above 0 where a label is true.
            outputs: logits, `[example, class]`.

        Returns:
            float32 `[example]`.
        """
        raise NotImplementedError

    def numpy_values(self, is_true: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Compute the value of each example from its scores.

        Args:
            is_true: bool `[example, class]`.
            scores: probabilities, float `[example, class]`.

        Returns:
            bool or float `[example]`.
        """
        raise NotImplementedError

    def chance(self, num_labels: np.ndarray, num_classes: int, weights: np.ndarray | None = None) -> float | None:
        """Compute the expected mean if the classes were ranked at random.

        Args:
            num_labels: the number of true labels of each example, int `[example]`.
            num_classes: the number of classes.
            weights: how many times each example counts, `[example]`; None for once.

        Returns:
            The expected mean, or None if it is not known.
        """
        return None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
