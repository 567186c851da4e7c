"""Training on all devices of one machine: each takes its share of every batch (`tf.distribute.MirroredStrategy`).

Differs from the paper, whose replicas are asynchronous (section 3.3): the steps are those of one device, but for
rounding.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from deepvideo_tf.training.executors.replica import Replica
from deepvideo_tf.training.executors.scheduled import ScheduledExecutor, StepResult
from deepvideo_tf.training.sources.base import Source


class MirroredExecutor(ScheduledExecutor):
    """Divides every batch between the devices of this machine."""

    name = "mirrored"

    def start(self) -> bool:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        self._strategy = tf.distribute.MirroredStrategy(devices)
        self._results: deque[tuple[dict[str, tf.Tensor], int]] = deque()
        return True

    def prepare(self, source: Source) -> None:
        super().prepare(source)
        self._replica = Replica(self._strategy, source.build_network, source.model, source.config)

        @tf.function(reduce_retracing=True)
        def step(*parts: tf.Tensor) -> dict[str, tf.Tensor]:
            results = self._strategy.run(self._replica.step, parts)
            return {name: self._sum(values) for name, values in results.items()}

        self._step = step

    def batches(self, epoch: int, first_step: int) -> Iterable[Any]:
        return self._source.batches(epoch, first_step)

    def schedule(self, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor], epoch: int, step: int, rate: float) -> None:
        count = self._strategy.num_replicas_in_sync
        clips = int(batch[0].shape[0])
        share = -(-clips // count)
        rows = tf.range(share * count) % clips  # clips that are seen again, but do not count, fill the last share
        is_real = tf.cast(tf.range(share * count) < clips, tf.float32)
        pixels, targets, weights = (tf.gather(part, rows) for part in batch)
        # Keras takes the mean over a share and divides it by the number of shares.
        weights *= is_real * (share * count / clips)
        parts = [self._shares(part, share) for part in (pixels, targets, weights, is_real)]
        self._results.append((self._step(*parts, tf.constant(rate, tf.float32)), clips))

    def finished(self, *, all_of_them: bool = False) -> Iterator[StepResult]:
        while self._results:
            result, clips = self._results.popleft()
            yield self._replica.sums_over_clips(result, clips), clips

    def _shares(self, part: tf.Tensor, share: int) -> Any:
        def of_replica(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            number = context.replica_id_in_sync_group
            return part[number * share : (number + 1) * share]

        return self._strategy.experimental_distribute_values_from_function(of_replica)

    def _sum(self, values: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)


def executor() -> MirroredExecutor:
    """Return the executor on all devices of this machine."""
    return MirroredExecutor()
