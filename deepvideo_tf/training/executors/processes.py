"""Training by several processes, on one machine or many: Keras's data parallelism on the JAX backend.

Each process reads its own shards and computes the gradients of its part of every batch; JAX averages them, so that all
hold the same weights after every step. The first process alone writes. Outside of `joined` there is one process, and
nothing here needs JAX.
"""

import contextlib
import hashlib
import logging

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ProcessSpec
from deepvideo_tf.errors import ConfigError, DeepVideoError, first_line

logger = logging.getLogger(__name__)

MEETING_TIMEOUT_S = 300  # how long the processes wait for each other at the beginning
# Of a machine that is gone without a word; one whose process died is missed at once, by its closed connection.
HEARTBEAT_TIMEOUT_S = 20
TOO_MUCH_MEMORY = "RESOURCE_EXHAUSTED"  # JAX's word; another try would end the same


class LostProcessError(DeepVideoError):
    """Another process of the run is gone; what it takes is to begin again from the last checkpoint."""


@contextlib.contextmanager
def joined(place: ProcessSpec):
    """Meets the other processes, and trains with them on all devices of all of them until the end of the `with`.

    Args:
        place: which process this one is.

    Yields:
        None.

    Raises:
        ConfigError: JAX is not there, Keras runs on another backend, or the others do not come.
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
        any_of_all(False)  # whose first call makes the connections
        yield
        leave()  # after a failure nobody may wait for anybody
    except jax.errors.JaxRuntimeError as error:
        if place.count == 1 or TOO_MUCH_MEMORY in str(error):
            raise
        raise LostProcessError(f"another process of the run is lost: {first_line(error)}") from error
    finally:
        keras.distribution.set_distribution(None)


def _meet(jax, place):
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


def leave():
    """Waits until all processes have come here, and parts from them: what one does now is not the others' concern."""
    if worker()[1] > 1:
        import jax

        jax.distributed.shutdown()  # nothing, the second time


def worker():
    """Which of the processes that train together this one is.

    Returns:
        (number, how many); (0, 1) outside of `joined`.
    """
    if keras.distribution.distribution() is None:
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def local_devices():
    """Number of devices between which this process's part of a batch is divided."""
    if keras.distribution.distribution() is None:
        return 1
    import jax

    return jax.local_device_count()


@contextlib.contextmanager
def by_itself():
    """What is built and computed inside the `with` is of this process alone, and not divided between all devices."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def padded(batches, size, steps):
    """Gives every process as many batches of one size, so that all devices have something to do in every step.

    Args:
        batches: dataset of (clips, targets), of at most `steps` batches of at most `size` clips.
        size: clips in each batch.
        steps: number of batches.

    Returns:
        `tf.data.Dataset` of (clips, targets, weights) of `steps` batches. What is added has targets of 0 and weight 0,
        the rest weight 1.
    """
    clips, targets = batches.element_spec
    none = tf.zeros([0, *clips.shape[1:]], clips.dtype), tf.zeros([0, *targets.shape[1:]], targets.dtype)
    batches = batches.concatenate(tf.data.Dataset.from_tensors(none).repeat(steps)).take(steps)
    batches = batches.map(lambda *batch: _padded_batch(batch, size))
    return batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def _padded_batch(batch, size):
    count = tf.shape(batch[0])[0]
    longer = [tf.pad(part, [[0, size - count], *[[0, 0]] * (part.shape.rank - 1)]) for part in batch]
    weights = tf.sequence_mask(count, size, tf.float32)
    return *(tf.ensure_shape(part, [size, *part.shape[1:]]) for part in longer), weights


def of_first(arrays):
    """The first process's arrays, in all processes; all have to call it.

    Args:
        arrays: list of NumPy arrays, of the same shapes in all processes.

    Returns:
        List of arrays.
    """
    if worker()[1] == 1:
        return arrays
    from jax.experimental import multihost_utils

    return [np.asarray(array) for array in multihost_utils.broadcast_one_to_all(arrays)]


def text_of_first(text, max_bytes=256):
    """The first process's text, in all processes; all have to call it."""
    content = np.frombuffer(text.encode().ljust(max_bytes, b"\0"), np.uint8)
    return of_first([content])[0].tobytes().rstrip(b"\0").decode()


def any_of_all(flag):
    """Whether a flag is set in any process; all have to call it."""
    if worker()[1] == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def check_the_same(what, text):
    """Refuses processes that were started with something else.

    Args:
        what: what is compared, for the message.
        text: of this process.

    Raises:
        ConfigError: in the processes whose text is not the first one's.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    differs = text_of_first(digest) != digest
    if any_of_all(differs):
        raise ConfigError(f"all processes must have the same {what}" + (", this one has others" if differs else ""))
