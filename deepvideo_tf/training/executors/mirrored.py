"""Training on all devices of one machine: each takes its share of every batch (`tf.distribute.MirroredStrategy`)."""

import tensorflow as tf

from deepvideo_tf.training.executors.replica import Replica


class Mirrored:
    """Trains with the same steps as one device, but for rounding.

    Differs from the paper, whose replicas are asynchronous (section 3.3).
    """

    def __init__(self):
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        self._strategy = tf.distribute.MirroredStrategy(
            [device.name for device in tf.config.list_logical_devices(kind)]
        )
        self._results: list = []

    def prepare(self, build, local, config):
        """Builds the model on all devices, with the weights and the optimiser's state of the run's own.

        Args:
            build: function that makes an untrained model, its layers frozen that are to be.
            local: the run's own model, compiled.
            config: `TrainConfig`.
        """
        self._replica = Replica(self._strategy, build, local, config)

        @tf.function(reduce_retracing=True)
        def step(*parts):
            losses, hits = self._strategy.run(self._replica.step, parts)
            return self._sum(losses), self._sum(hits)

        self._step = step

    def fetch_weights(self):
        """Copies weights and optimiser's state into the run's own model."""
        self._replica.fetch()

    def schedule(self, batch, epoch, step, rate):
        """Trains a batch.

        Args:
            batch: clips, targets and the clips' weights, tensors.
            epoch: number of the epoch, of no use here.
            step: number of the batch, of no use here.
            rate: the learning rate.
        """
        count = self._strategy.num_replicas_in_sync
        clips = int(batch[0].shape[0])
        share = -(-clips // count)
        rows = tf.range(share * count) % clips  # clips that are seen again, but do not count, fill the last share
        is_real = tf.cast(tf.range(share * count) < clips, tf.float32)
        pixels, targets, weights = (tf.gather(part, rows) for part in batch)
        # Keras takes the mean over a share and divides it by the number of shares.
        weights *= is_real * (share * count / clips)
        parts = [self._shares(part, share) for part in (pixels, targets, weights, is_real)]
        self._results.append((*self._step(*parts, tf.constant(rate, tf.float32)), clips))

    def finished(self, *, all_of_them=False):
        """As `Downpour.finished`.

        Args:
            all_of_them: of no use here.

        Yields:
            Mean loss, hits and clips of batches, in the order of the steps.
        """
        while self._results:
            loss, hits, clips = self._results.pop(0)
            yield float(loss), float(hits), clips

    def _shares(self, part, share):
        def of_replica(context):
            number = context.replica_id_in_sync_group
            return part[number * share : (number + 1) * share]

        return self._strategy.experimental_distribute_values_from_function(of_replica)

    def _sum(self, values):
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
