"""Training on the clips in the shards, augmented differently in every epoch."""

import logging
import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.data.input.pipeline import make_dataset
from deepvideo_tf.data.input.reader import record_names
from deepvideo_tf.runs.run import build_untrained
from deepvideo_tf.storage.paths import AnyPath
from deepvideo_tf.training.sources.base import Initialize, TrainingShards, augmentation_of, clip_weights
from deepvideo_tf.training.weights import initialization, transfer

logger = logging.getLogger(__name__)


class ClipSource:
    """Reads clips from the shards. Other sources build on it."""

    reads_clips = True
    predicts_clips = True

    def __init__(self, shards: TrainingShards, workdir: AnyPath, share: tuple[int, int], num_devices: int) -> None:
        self.shards, self.config = shards, shards.config
        self._workdir, self._share = workdir, share
        self._batch_size = self.config.global_batch_size // share[1]
        steps, left = divmod(shards.train.records // share[1], self._batch_size)
        # A last batch of what is left, if all devices can have a part of it.
        self.steps_per_epoch = steps + (left > 0 and left % num_devices == 0)
        self.network = self.build_network()
        self.model = self.network
        self._training: tf.data.Dataset | None = None

    @classmethod
    def check_folders(cls, shards_dir: Any, workdir: Any) -> None:
        pass

    def build_network(self) -> keras.Model:
        network = build_untrained(self.config, len(self.shards.train.classes))
        transfer.freeze(network, self.config.finetune)
        return network

    def initialize(self, initialize: Initialize) -> None:
        if FINETUNE_MODES[self.config.finetune].takes_weights:
            taken, new = transfer.take_weights(self.network, self.shards.card, self.config)
            init_from = self.config.init_from
            logger.info("weights from %s: %s; new: %s", init_from, ", ".join(taken), ", ".join(new) or "none")
            return
        initialize(self.network, lambda model: initialization.initialize_from_clips(model, self._first_clips()))

    def _first_clips(self) -> np.ndarray:
        """Return the first clips that training will see, uint8 `[clip, time, height, width, 3]`."""
        batches = self._training_set(0, 0).take(math.ceil(initialization.CLIPS / self.config.global_batch_size))
        return np.concatenate([clips for clips, _, _ in batches.as_numpy_iterator()])[: initialization.CLIPS]

    def prepare(self) -> None:
        pass

    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        if self._training is None:
            self._training = self._training_set(epoch, first_step)
        return self._training  # each pass over the dataset is the next epoch's

    def _training_set(self, first_epoch: int, first_step: int) -> tf.data.Dataset:
        """Return batches of clips, targets and the clips' weights."""
        batches = make_dataset(
            self.shards.folder,
            "train",
            self.config.clip,
            batch_size=self._batch_size,
            worker=self._share,
            training=True,
            seed=self.config.seed,
            first_epoch=first_epoch,
            first_step=first_step,
            max_bad_fraction=self.shards.max_bad_fraction,
            **augmentation_of(self.config),
        )
        class_weights = self.shards.class_weights  # read here, outside of the graph

        def with_weights(clips: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return clips, targets, clip_weights(targets, class_weights)

        return batches.map(with_weights)

    def validation(self) -> Any:
        if self.shards.validation is None:
            return None
        return make_dataset(
            self.shards.folder,
            "validation",
            self.config.clip,
            batch_size=self._batch_size,
            worker=self._share,
            multi_label=self.config.loss == "sigmoid",
            max_bad_fraction=self.shards.max_bad_fraction,
        )

    def record_names(self, epoch: int, step: int) -> list[str]:
        end = min((step + 1) * self._batch_size, self.shards.train.records // self._share[1])
        return self._names(epoch, range(step * self._batch_size, end))

    def _names(self, epoch: int | None, rows: Iterable[int]) -> list[str]:
        """Return the names of clips by their rows in an epoch; with None, in the order of the shards."""
        return record_names(
            self.shards.folder,
            "train",
            seed=self.config.seed,
            epoch=epoch,
            rows=rows,
            worker=self._share,
            max_bad_fraction=self.shards.max_bad_fraction,
        )

    def finish(self) -> None:
        pass


SOURCE = ClipSource
