"""Batches of the rows of a table whose numbers were computed before."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


class TableBatches(keras.utils.PyDataset):
    """One epoch's batches of a table, in an order that is a function of seed and epoch.

    Args:
        batch_of: returns the batch for a part of `order`.
        batch_size: rows in a batch; the last one may be smaller.
        order: which rows, in the order in which they are seen: int `[row]`, or `[row, k]` where `k` numbers tell a row.
        first_step: batches that are left out, because they have been seen.
    """

    def __init__(self, batch_of: Callable[[np.ndarray], Any], batch_size: int, order: np.ndarray, first_step: int = 0):
        super().__init__()
        self._batch_of = batch_of
        self._batch_size = batch_size
        self._order = order[first_step * batch_size :]

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> Any:
        return self._batch_of(self._order[index * self._batch_size : (index + 1) * self._batch_size])
