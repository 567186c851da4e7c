"""Downpour SGD, the paper's own way of training on several machines (section 3.3), on TensorFlow's parameter servers.

The weights lie on parameter servers. Each worker takes a batch, fetches the weights, computes the gradients and has the
servers apply them, without waiting for the others. The chief hands out the batches, by the places where their records
lie, and keeps the run's books.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from deepvideo_tf.data.input.places import TrainingPlaces, read_training_batch
from deepvideo_tf.errors import ConfigError, ShardError, TrainingError, first_line
from deepvideo_tf.training.executors.cluster import Cluster, cluster_of_environment
from deepvideo_tf.training.executors.replica import Replica
from deepvideo_tf.training.executors.scheduled import ScheduledExecutor, StepResult
from deepvideo_tf.training.sources.base import Source, TrainingShards, augmentation_of, clip_weights

logger = logging.getLogger(__name__)

KNOCK_EVERY_S = 1.0
CHIEF_ENDED_S = 3.0  # of its machine saying that nothing listens there any more
CHIEF_LOST_S = 60.0  # of its machine saying nothing
SERVER_THREADS = 8  # at least: with fewer a server may wait for itself
BATCHES_AHEAD = 4  # handed out for each worker, at most


def serve(cluster: Cluster, job: str, index: int) -> None:
    """Serve as a parameter server or a worker until the chief, once it has been seen, is gone, or until SIGTERM.

    Args:
        cluster: from `cluster.cluster_of_environment`.
        job: `ps` or `worker`.
        index: number of this machine among those of its job.

    Raises:
        ConfigError: this machine cannot listen at its address.
    """
    threads = max(SERVER_THREADS, os.cpu_count() or 1)
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=threads)
    try:
        server = tf.distribute.Server(cluster, job_name=job, task_index=index, config=config)
    except tf.errors.OpError as error:
        raise ConfigError(f"{cluster[job][index]}: cannot be listened at: {first_line(error)}") from None
    logger.info("%s %d serves at %s until the chief at %s ends", job, index, cluster[job][index], cluster["chief"][0])
    ended = threading.Event()
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: ended.set()) if in_main else None
    try:
        _wait_for_end(cluster["chief"][0], ended)
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
    del server


def _wait_for_end(chief: str, ended: threading.Event) -> None:
    """Return when the event is set, or when the chief was there and is gone."""
    seen_s = None
    while not ended.wait(KNOCK_EVERY_S):
        problem, now_s = _knock(chief), time.monotonic()
        if problem is None:
            seen_s = now_s
        elif seen_s is not None:
            refused = isinstance(problem, ConnectionRefusedError)
            if now_s - seen_s > (CHIEF_ENDED_S if refused else CHIEF_LOST_S):
                return


def _knock(address: str) -> OSError | None:
    """Return None where something listens, else the OSError that says why not."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_EVERY_S).close()
    except OSError as problem:
        return problem
    return None


def _wait_for_all(cluster: Cluster) -> None:
    """Wait for the servers, and say so; TensorFlow would wait in silence."""
    said = False
    others = [(f"{job} {index}", place) for job in ("ps", "worker") for index, place in enumerate(cluster[job])]
    while missing := [f"{name} at {place}" for name, place in others if _knock(place) is not None]:
        if not said:
            logger.info("waiting for %s", ", ".join(missing))
        said = True
        time.sleep(KNOCK_EVERY_S)


def _report_lost_workers(record: logging.LogRecord) -> bool:
    """Log in one line what TensorFlow's coordinator logs in many; what ends the run comes as an exception as well."""
    if record.filename != "cluster_coordinator.py":
        return True
    if str(record.msg).startswith("Worker %s failed with") and isinstance(record.args, tuple):
        logger.warning("worker %s was lost: its batch goes to another one", str(record.args[0]).rpartition(":")[2])
    return False


class _LockedSGD(keras.optimizers.SGD):
    """SGD whose steps wait for one another, variable by variable.

    Keras reads a momentum, computes and writes it: of two workers that do so at once, one would lose its gradient.
    """

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        if not self.momentum:
            super().update_step(gradient, variable, learning_rate)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_locking=True,
        )


class DownpourExecutor(ScheduledExecutor):
    """The chief's side: a cluster, and a model on its parameter servers. On other machines `start` serves the chief."""

    name = "downpour"

    def start(self) -> bool:
        cluster, job, index = cluster_of_environment()
        if job != "chief":
            serve(cluster, job, index)
            return False
        _wait_for_all(cluster)
        logging.getLogger("tensorflow").addFilter(_report_lost_workers)  # once, however often it is added
        spec = tf.train.ClusterSpec(cluster)
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, task_type="chief", task_id=0, rpc_layer="grpc"
        )
        self._strategy = tf.distribute.ParameterServerStrategy(resolver)
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self._strategy)
        self._max_pending = BATCHES_AHEAD * len(cluster["worker"])
        self._pending: deque[tuple[int, Any]] = deque()  # clips and future results
        return True

    def prepare(self, source: Source) -> None:
        super().prepare(source)
        self._replica = Replica(self._strategy, source.build_network, source.model, source.config, _LockedSGD)
        self._step = self._step_function(source.shards)

    def pull_weights(self) -> None:
        with _losses_in_one_line():
            super().pull_weights()

    def batches(self, epoch: int, first_step: int) -> Iterable[list[tuple[str, int]]]:
        """Return batches of (path, offset in bytes): the workers read the clips themselves."""
        shards = self._source.shards
        places = TrainingPlaces(
            str(shards.folder.absolute()), "train", seed=shards.config.seed, max_bad_fraction=shards.max_bad_fraction
        )
        return places.batches(epoch, first_step, shards.config.global_batch_size)

    def schedule(self, batch: list[tuple[str, int]], epoch: int, step: int, rate: float) -> None:
        paths, offsets = zip(*batch, strict=True)
        arguments = (
            tf.constant(paths),
            tf.constant(offsets, tf.int64),
            tf.constant(epoch, tf.int64),
            tf.constant(step, tf.int64),
            tf.constant(rate, tf.float32),
        )
        with _losses_in_one_line():
            self._pending.append((len(batch), self._coordinator.schedule(self._step, args=arguments)))

    def finished(self, *, all_of_them: bool = False) -> Iterator[StepResult]:
        while len(self._pending) > (0 if all_of_them else self._max_pending):
            clips, future = self._pending.popleft()
            with _losses_in_one_line():
                result = future.fetch()
            yield self._replica.sums_over_clips(result, clips), clips

    def _step_function(self, shards: TrainingShards) -> Any:
        config, class_weights = shards.config, shards.class_weights

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([], tf.float32),
            ]
        )
        def read_and_step(
            paths: tf.Tensor, offsets: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor, rate: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            clips, targets = read_training_batch(
                paths,
                offsets,
                epoch,
                number,
                shards.train,
                config.clip,
                batch_size=config.global_batch_size,
                seed=config.seed,
                **augmentation_of(config),
            )
            weights = clip_weights(targets, class_weights)
            step = self._replica.step
            return self._strategy.run(step, (clips, targets, weights, tf.ones_like(weights), rate))

        return read_and_step


def executor() -> DownpourExecutor:
    """Return the executor on the cluster of TF_CONFIG."""
    return DownpourExecutor()


@contextlib.contextmanager
def _losses_in_one_line() -> Iterator[None]:
    """Raise a one-line error for what has happened to the cluster."""
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.DataLossError) as error:
        raise ShardError(f"a worker cannot read its clips: {first_line(error)}") from None
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
        raise TrainingError(
            "a parameter server was lost: the same command, on all machines, goes on from the last checkpoint"
        ) from None
