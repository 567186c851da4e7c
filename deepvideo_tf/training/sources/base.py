"""What a source is: batches of what is trained on, and the model that takes them."""

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ModelCard, TrainConfig
from deepvideo_tf.data.input.pipeline import check_clip, clips_by_class
from deepvideo_tf.data.shards.manifest import Manifest, check_classes, manifest_path, read_manifest
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.storage.paths import AnyPath, to_path

Initialize = Callable[[keras.Model, Callable[[keras.Model], None]], None]  # `Executor.initialize`


@dataclass(frozen=True)
class TrainingShards:
    """The shards that a run is trained and validated on, checked against its configuration.

    Args:
        folder: of the shards.
        config: the run's.
        train: manifest of the train split.
        validation: manifest of the validation split, if there is one.
        max_bad_fraction: fraction of the stored clips that may be damaged.
    """

    folder: AnyPath
    config: TrainConfig
    train: Manifest
    validation: Manifest | None
    max_bad_fraction: float

    @property
    def splits(self) -> list[str]:
        return ["train"] if self.validation is None else ["train", "validation"]

    @property
    def card(self) -> ModelCard:
        return ModelCard(self.config.model, self.train.classes, self.config.clip, self.train.spec, self.config.loss)

    @functools.cached_property
    def hash(self) -> str:
        """Of everything that a run is trained and validated on."""
        manifests = [self.train] if self.validation is None else [self.train, self.validation]
        parts = [text for one in manifests for text in (one.split, one.fingerprint, one.content_sha256)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property  # it may read all shards
    def class_weights(self) -> np.ndarray:
        """How much a clip of each class counts, `[class]`; 1 on average over the clips."""
        if self.config.class_weights == "none":
            return np.ones(len(self.train.classes))
        counts = clips_by_class(self.folder, "train", max_bad_fraction=self.max_bad_fraction)
        present = counts > 0
        return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)


def read_training_shards(shards_dir: Any, config: TrainConfig, max_bad_fraction: float) -> TrainingShards:
    """Read the manifests of a run's shards.

    Args:
        shards_dir: the folder of shards.
        config: the run's.
        max_bad_fraction: fraction of the stored clips that may be damaged.

    Returns:
        `TrainingShards`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged, or the validation shards do not fit the others.
        ConfigError: the shards cannot give the clips that the model needs, or have a single class.
    """
    train = read_manifest(shards_dir, "train")
    if len(train.classes) < 2:
        raise ConfigError(f"{shards_dir}: expected shards of 2 classes or more, found 1: {train.classes[0]!r}")
    check_clip(train, config.clip, shards_dir)
    validation = None
    if manifest_path(shards_dir, "validation").exists():
        validation = read_manifest(shards_dir, "validation")
        check_classes(f"{shards_dir} (train)", train.classes, f"{shards_dir} (validation)", validation.classes)
        if validation.spec != train.spec:
            raise ShardError(f"{shards_dir}: expected validation shards with the train shards' settings, found others")
    return TrainingShards(to_path(shards_dir), config, train, validation, max_bad_fraction)


class Source(Protocol):
    """What is trained on.

    A source is made, its `model` is compiled, its weights are loaded or initialized, and only then it is prepared.

    Args:
        shards: what it is trained on.
        workdir: the run's folder.
        share: index of this process, and the number of processes that train together.
        num_devices: number of this process's devices.
    """

    reads_clips: bool  # rather than what is computed from them first
    predicts_clips: bool  # whether `network` takes clips
    shards: TrainingShards
    config: TrainConfig
    network: keras.Model  # the whole model, what checkpoints hold
    model: keras.Model  # the part whose weights are stepped
    steps_per_epoch: int

    def __init__(self, shards: TrainingShards, workdir: AnyPath, share: tuple[int, int], num_devices: int) -> None: ...

    @classmethod
    def check_folders(cls, shards_dir: Any, workdir: Any) -> None:
        """Raise ConfigError where what is computed first needs a disk and is not on one."""

    def build_network(self) -> keras.Model:
        """Return another network like this one, untrained, with the same layers frozen."""

    def initialize(self, initialize: Initialize) -> None:
        """Give a new network its first weights."""

    def prepare(self) -> None:
        """Compute what is computed once. Resumable."""

    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        """Return what is left of an epoch: batches of inputs, targets and weights."""

    def validation(self) -> Iterable[Any] | None:
        """Return the batches of the validation split; None without one."""

    def record_names(self, epoch: int, step: int) -> list[str]:
        """Return the names of this process's clips in a step, for the report of a loss that is not finite."""

    def finish(self) -> None:
        """Remove what is only needed while the run trains."""


def clip_weights(targets: tf.Tensor, class_weights: np.ndarray) -> tf.Tensor:
    """Return how much each clip counts.

    Args:
        targets: float32 `[clip, class]`.
        class_weights: float `[class]`.

    Returns:
        The weights, float32 `[clip]`.
    """
    return tf.linalg.matvec(targets, tf.cast(class_weights, tf.float32)) / tf.reduce_sum(targets, axis=1)


def augmentation_of(config: TrainConfig) -> dict[str, Any]:
    """Return what a run's augmentation is, as `make_dataset` takes it."""
    return {
        "colour_jitter": config.colour_jitter,
        "time_jitter": config.time_jitter,
        "mixup_alpha": config.mixup_alpha,
        "multi_label": config.loss == "sigmoid",
    }


def epoch_order(shards: TrainingShards, epoch: int) -> np.ndarray:
    """Return the order in which an epoch sees the rows of a table over the train split, int `[row]`."""
    return np.random.default_rng([shards.config.seed, epoch]).permutation(shards.train.records)
