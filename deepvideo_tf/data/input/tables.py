"""Batches of rows of a table that was computed before training."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs, targets and weights


class TableBatches(keras.utils.PyDataset):
    """One epoch's batches, in an order that is given.

    Args:
        read: from a part of `order` to the batch of these rows.
        order: int `[row, ...]`: what `read` takes for each row, in the order in which the rows are seen.
        batch_size: rows in a batch; the last one may be smaller.
        first_step: batches that are left out, since they have been seen.
    """

    def __init__(
        self, read: Callable[[np.ndarray], Batch], order: np.ndarray, batch_size: int, first_step: int = 0
    ) -> None:
        super().__init__()
        self._read, self._batch_size = read, batch_size
        self._order = order[first_step * batch_size :]

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: Any) -> Batch:
        return self._read(self._order[index * self._batch_size : (index + 1) * self._batch_size])
