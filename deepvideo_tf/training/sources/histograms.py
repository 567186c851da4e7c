"""Training the paper's baseline on histograms of features, which are computed once and kept beside the shards."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from deepvideo_tf.storage.paths import on_disk
from deepvideo_tf.training.sources.base import Initialize, epoch_order
from deepvideo_tf.training.sources.clips import ClipSource


class HistogramSource(ClipSource):
    """Trains on one of several fixed views of each clip, drawn in every epoch."""

    reads_clips = False
    predicts_clips = False

    @classmethod
    def check_folders(cls, shards_dir: Any, workdir: Any) -> None:
        on_disk("of feature_histograms, shards_dir", shards_dir)  # the vectors are mapped into memory

    def initialize(self, initialize: Initialize) -> None:
        from deepvideo_tf.baseline.cache import learn_codebooks
        from deepvideo_tf.models.feature_histograms import set_codebooks

        assert self.config.options is not None  # TrainConfig sees to that
        codebooks = learn_codebooks(self.shards.folder, self.config.clip, self.config.options.words)
        set_codebooks(self.network, codebooks)

    def prepare(self) -> None:
        self._train = self._vectors("train", self.config.cached_views)
        self._validation = None if self.shards.validation is None else self._vectors("validation", 1)

    def _vectors(self, split: str, num_views: int) -> Any:
        from deepvideo_tf.baseline.cache import clip_vectors
        from deepvideo_tf.models.feature_histograms import codebooks_of

        return clip_vectors(
            self.shards.folder,
            split,
            self.config.clip,
            codebooks_of(self.network),
            num_views,
            max_bad_fraction=self.shards.max_bad_fraction,
        )

    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        rng = np.random.default_rng([self.config.seed, epoch, 1])
        views = rng.integers(self._train.num_views, size=len(self._train))
        return self._batches(self._train, epoch_order(self.shards, epoch), views, self.shards.class_weights, first_step)

    def validation(self) -> Iterable[Any] | None:
        if self._validation is None:
            return None
        rows = np.arange(len(self._validation))
        return self._batches(self._validation, rows, np.zeros_like(rows), np.ones(len(self.shards.train.classes)))

    def _batches(
        self, vectors: Any, order: np.ndarray, views: np.ndarray, class_weights: np.ndarray, first_step: int = 0
    ) -> Iterable[Any]:
        return vectors.batches(
            self.config.global_batch_size,
            order,
            views,
            multi_label=self.config.loss == "sigmoid",
            class_weights=class_weights,
            first_step=first_step,
        )

    def record_names(self, epoch: int, step: int) -> list[str]:
        rows = epoch_order(self.shards, epoch)[step * self._batch_size : (step + 1) * self._batch_size]
        return self._names(None, rows)


SOURCE = HistogramSource
