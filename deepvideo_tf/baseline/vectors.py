"""The vectors of a split's clips as a table, and batches of its rows."""

from collections.abc import Sequence

import numpy as np

from deepvideo_tf.data.input.tables import TableBatches


class ClipVectors:
    """The vectors of all clips of a split, read from the disk as they are used.

    Args:
        files: structured arrays, one per shard, of `vectors`, float16 `[view, dim]`, and `labels`, bool `[class]`.
        num_rows: clips that the split has; where damaged ones are missing, the first ones are repeated.
    """

    def __init__(self, files: Sequence[np.ndarray], num_rows: int):
        self._files = files
        self._ends = np.cumsum([len(file) for file in files])
        self.num_rows = num_rows
        self.num_views: int = files[0].dtype["vectors"].shape[0]

    def __len__(self) -> int:
        return self.num_rows

    def rows(self, numbers: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors and labels of some clips.

        Args:
            numbers: int `[row]`, which clips.
            views: int `[row]`, which view of each.

        Returns:
            float16 `[row, dim]` and bool `[row, class]`.
        """
        found = []
        for number, view in zip(np.asarray(numbers) % self._ends[-1], views, strict=True):
            file = int(np.searchsorted(self._ends, number, side="right"))
            row = self._files[file][int(number - (self._ends[file] - len(self._files[file])))]
            found.append((row["vectors"][view], row["labels"]))
        vectors, labels = zip(*found, strict=True)
        return np.stack(vectors), np.stack(labels)

    def batches(
        self,
        batch_size: int,
        order: np.ndarray,
        views: np.ndarray,
        *,
        multi_label: bool,
        class_weights: Sequence[float] | np.ndarray,
        first_step: int = 0,
    ) -> TableBatches:
        """Return one epoch's batches.

        Args:
            batch_size: clips in a batch; the last one may be smaller.
            order: int `[row]`, numbers of the clips, in the order in which they are seen.
            views: int `[row]`, which view of each.
            multi_label: whether the target of each label is 1, instead of 1 divided equally among them.
            class_weights: how much a clip of each class counts, `[class]`.
            first_step: batches that are left out, because they have been seen.

        Returns:
            `TableBatches` of (vectors, targets, weights), all float32.
        """

        def batch_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            vectors, labels = self.rows(rows[:, 0], rows[:, 1])
            shares = labels / labels.sum(axis=1, keepdims=True)
            weights = (shares @ np.asarray(class_weights)).astype(np.float32)
            return vectors.astype(np.float32), (labels if multi_label else shares).astype(np.float32), weights

        return TableBatches(batch_of, batch_size, np.stack([order, views], axis=1), first_step)
