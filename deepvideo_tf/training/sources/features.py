"""Training the top layers on features of the frozen ones, which are computed once and kept in the run's folder."""

import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from deepvideo_tf.config import to_json
from deepvideo_tf.data.input.tables import TableBatches
from deepvideo_tf.storage.paths import AnyPath, on_disk
from deepvideo_tf.training.sources import feature_cache
from deepvideo_tf.training.sources.base import TrainingShards, epoch_order
from deepvideo_tf.training.sources.clips import ClipSource
from deepvideo_tf.training.weights import transfer

logger = logging.getLogger(__name__)

FEATURES_DIR = "features"  # in the run's folder, while it trains


class FeatureSource(ClipSource):
    """Trains the part of the network above its frozen layers."""

    reads_clips = False

    def __init__(self, shards: TrainingShards, workdir: AnyPath, share: tuple[int, int], num_devices: int) -> None:
        super().__init__(shards, workdir, share, num_devices)
        self._folder = Path(str(workdir)) / FEATURES_DIR
        self._frozen, self.model = transfer.split_model(self.network, self.config.finetune)

    @classmethod
    def check_folders(cls, shards_dir: Any, workdir: Any) -> None:
        on_disk("workdir, unless cached_views is 0,", workdir)  # the features are mapped into memory

    def prepare(self) -> None:
        identity = feature_cache.features_identity(self._frozen, json.dumps(to_json(self.config)), self.shards.hash)
        folder = self._folder / identity
        records = self.shards.train.records
        self._tables = [
            self._table(folder / f"train-{view}.npy", self._training_set(view, 0).take(self.steps_per_epoch), records)
            for view in range(self._num_views)
        ]
        self._validation = None
        validation = super().validation()
        if validation is not None and self.shards.validation is not None:
            unweighted = validation.map(lambda clips, targets: (clips, targets, tf.ones(tf.shape(clips)[0])))
            self._validation = self._table(folder / "validation.npy", unweighted, self.shards.validation.records)

    @property
    def _num_views(self) -> int:
        return min(self.config.cached_views, self.config.num_epochs)

    def _table(self, path: Path, batches: tf.data.Dataset, rows: int) -> np.ndarray:
        logger.info("features of %d clips: %s", rows, path.stem)
        return feature_cache.compute_features(path, self._frozen, batches, rows, len(self.shards.train.classes))

    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        table = self._tables[epoch % len(self._tables)]
        order = epoch_order(self.shards, epoch)
        return self._batches(table, order, first_step)

    def _batches(self, table: np.ndarray, order: np.ndarray, first_step: int = 0) -> TableBatches:
        def batch_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found = table[rows]
            return found["features"], found["target"], found["weight"]

        return TableBatches(batch_of, self.config.global_batch_size, order, first_step)

    def validation(self) -> Iterable[Any] | None:
        if self._validation is None:
            return None
        return self._batches(self._validation, np.arange(len(self._validation)))

    def record_names(self, epoch: int, step: int) -> list[str]:
        rows = epoch_order(self.shards, epoch)[step * self._batch_size : (step + 1) * self._batch_size]
        return self._names(epoch % self._num_views, rows)

    def finish(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


SOURCE = FeatureSource
