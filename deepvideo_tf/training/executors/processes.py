"""Training by several processes, on one machine or many: Keras's data parallelism on the JAX backend.

Each process reads its own shards and computes the gradients of its part of every batch; JAX averages them, so that all
hold the same weights after every step. Only the first process writes. Outside of `joined` nothing here needs JAX.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ProcessSpec, TrainConfig
from deepvideo_tf.data.shards.manifest import Manifest
from deepvideo_tf.errors import ConfigError, DeepVideoError, first_line
from deepvideo_tf.training.executors.base import Metrics, Share, Steps
from deepvideo_tf.training.executors.local import LocalExecutor, check_clips
from deepvideo_tf.training.sources.base import Source

logger = logging.getLogger(__name__)

MEETING_TIMEOUT_S = 300  # how long the processes wait for each other at the beginning
# Of a machine that is gone without a word; one whose process died is missed at once, by its closed connection.
HEARTBEAT_TIMEOUT_S = 20
MAX_TEXT_BYTES = 256  # that processes agree on
TOO_MUCH_MEMORY = "RESOURCE_EXHAUSTED"  # JAX's word; another try would end the same


class LostProcessError(DeepVideoError):
    """Another process of the run is gone: the run must resume from the last checkpoint."""


@contextlib.contextmanager
def joined(place: ProcessSpec) -> Iterator[None]:
    """Meet the other processes, and train with them on all devices of all of them until the end of the `with`.

    Args:
        place: which process this one is.

    Yields:
        None.

    Raises:
        ConfigError: JAX is missing, Keras runs on another backend, or the others do not come.
        LostProcessError: another process was lost.
    """
    try:
        import jax
    except ImportError:
        raise ConfigError("num_processes needs the extra: pip install 'deepvideo-tf[jax]'") from None
    if keras.backend.backend() != "jax":
        raise ConfigError(
            f"num_processes needs Keras's JAX backend: KERAS_BACKEND=jax. Received: {keras.backend.backend()}"
        )
    tf.config.set_visible_devices([], "GPU")  # it only reads the clips, and would take the memory
    if place.count > 1:
        _meet(jax, place)
    devices = keras.distribution.list_devices()
    distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)
    try:
        executor().any_process(False)  # the first message makes the connections
        yield
        executor().leave()  # after a failure nobody may wait for anybody
    except jax.errors.JaxRuntimeError as error:
        if place.count == 1 or TOO_MUCH_MEMORY in str(error):
            raise
        raise LostProcessError(f"another process of the run is lost: {first_line(error)}") from error
    finally:
        keras.distribution.set_distribution(None)


def _meet(jax: ModuleType, place: ProcessSpec) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        logger.info("process %d of %d: meeting the others at %s", place.number, place.count, place.coordinator_address)
        jax.distributed.initialize(
            place.coordinator_address,
            num_processes=place.count,
            process_id=place.number,
            initialization_timeout=MEETING_TIMEOUT_S,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            cluster_detection_method="deactivate",
        )
    except RuntimeError as error:
        raise ConfigError(
            f"expected {place.count} processes at {place.coordinator_address} within {MEETING_TIMEOUT_S} s; "
            f"process {place.number}: {first_line(error)}"
        ) from None


def are_joined() -> bool:
    """Return whether this process is within `joined`."""
    return keras.distribution.distribution() is not None


class ProcessesExecutor(LocalExecutor):
    """Trains with the other processes of `joined`, by Keras's `fit` under JAX's data parallelism."""

    is_distributed = True

    def __init__(self) -> None:
        import jax

        self.share = Share(jax.process_index(), jax.process_count())
        self.num_devices = jax.local_device_count()

    def check(self, config: TrainConfig, source: type[Source]) -> None:
        devices = self.share.num_processes * self.num_devices
        if config.global_batch_size % devices:
            raise ConfigError(
                f"global_batch_size must be a multiple of the {devices} devices of {self.share.num_processes} "
                f"processes. Received: {config.global_batch_size}"
            )
        check_clips("num_processes", config, source)

    def evaluate(self, batches: Iterable[Any], steps: Steps) -> Metrics:
        """Return the metrics over validation batches, filled up so that all processes have as many.

        Clips that only fill a batch have neither loss nor hits, but are counted in the means: these are scaled back.
        """
        shards = self._source.shards
        assert shards.validation is not None
        size = shards.config.global_batch_size // self.share.num_processes
        num_steps = _num_padded_steps(shards.validation, size, self.share.num_processes)
        scale = num_steps * shards.config.global_batch_size / shards.validation.records
        found = super().evaluate(padded(batches, size, num_steps), steps)
        return {name: scale * value for name, value in found.items()}

    def any_process(self, flag: bool) -> bool:
        if self.share.num_processes == 1:
            return flag
        from jax.experimental import multihost_utils

        return bool(multihost_utils.process_allgather(np.array(flag)).any())

    def agree(self, text: str) -> str:
        content = np.frombuffer(text.encode().ljust(MAX_TEXT_BYTES, b"\0"), np.uint8)
        return self._of_first([content])[0].tobytes().rstrip(b"\0").decode()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        distribution = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(distribution)

    def initialize(self, model: keras.Model, function: Callable[[keras.Model], None]) -> None:
        weights = model.get_weights()
        if self.share.process == 0:
            with self.alone():
                own = keras.models.clone_model(model)
                own.set_weights(weights)
                function(own)
                weights = own.get_weights()
        model.set_weights(self._of_first(weights))

    def leave(self) -> None:
        if self.share.num_processes > 1:
            import jax

            jax.distributed.shutdown()  # the second call does nothing

    def _of_first(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Return the first process's arrays. All processes must call it, with arrays of the same shapes."""
        if self.share.num_processes == 1:
            return arrays
        from jax.experimental import multihost_utils

        return [np.asarray(array) for array in multihost_utils.broadcast_one_to_all(arrays)]


def _num_padded_steps(manifest: Manifest, size: int, count: int) -> int:
    """Return the number of batches of the process with most clips: process i reads every shard i modulo `count`."""
    most = max(sum(shard["records"] for shard in manifest.shards[index::count]) for index in range(count))
    return math.ceil(most / size)


def padded(batches: tf.data.Dataset, size: int, steps: int) -> tf.data.Dataset:
    """Give every process as many batches of one size, so that all devices have something to do in every step.

    Args:
        batches: dataset of (clips, targets), of at most `steps` batches of at most `size` clips.
        size: clips in each batch.
        steps: number of batches.

    Returns:
        Dataset of (clips, targets, weights) of `steps` batches. What is added has targets of 0 and weight 0, the rest
        weight 1.
    """
    clips, targets = batches.element_spec
    none = tf.zeros([0, *clips.shape[1:]], clips.dtype), tf.zeros([0, *targets.shape[1:]], targets.dtype)
    batches = batches.concatenate(tf.data.Dataset.from_tensors(none).repeat(steps)).take(steps)
    batches = batches.map(lambda *batch: _padded_batch(batch, size))
    return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def _padded_batch(batch: tuple[tf.Tensor, ...], size: int) -> tuple[tf.Tensor, ...]:
    count = tf.shape(batch[0])[0]
    longer = [tf.pad(part, [[0, size - count], *[[0, 0]] * (part.shape.rank - 1)]) for part in batch]
    weights = tf.sequence_mask(count, size, tf.float32)
    return *(tf.ensure_shape(part, [size, *part.shape[1:]]) for part in longer), weights


def executor() -> ProcessesExecutor:
    """Return the executor on all devices of all processes; only within `joined`."""
    return ProcessesExecutor()
