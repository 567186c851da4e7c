"""A second model where a `tf.distribute` strategy keeps its variables, trained in place of the source's own one.

The source's model stays an ordinary one: validation, checkpoints, pictures and exports use it. It gets the weights and
the optimizer's state when they are wanted.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.metrics import training_metrics
from deepvideo_tf.runs.state import generators_of
from deepvideo_tf.training.optimization.losses import loss_of
from deepvideo_tf.training.optimization.optimizers import optimizer_of


class Replica:
    """The second model.

    Args:
        strategy: where its variables are kept.
        build: makes an untrained model, with frozen layers.
        local: the source's own model, compiled, whose weights and optimizer state the replica begins with.
        config: the run's.
        sgd: class of the optimizer `sgd`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        build: Callable[[], keras.Model],
        local: keras.Model,
        config: TrainConfig,
        sgd: type[keras.optimizers.SGD] = keras.optimizers.SGD,
    ) -> None:
        self._local, self._metrics = local, training_metrics()
        self._num_shares, self._max_norm = strategy.num_replicas_in_sync, 0.0
        if self._num_shares > 1:
            self._max_norm, config = config.max_gradient_norm, replace(config, max_gradient_norm=0.0)
        with strategy.scope():
            self._model = build()
            self._model.compile(optimizer_of(config, sgd), loss_of(config))
            self._model.optimizer.build(self._model.trainable_variables)
            _copy(local, self._model)

    def pull(self) -> None:
        """Copy weights and optimizer state into the source's own model."""
        _copy(self._model, self._local)

    def _summed(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the clipped sum over all shares, divided by their number, since Keras will sum them up again.

        Keras would clip the gradients of each share before it sums them up.
        """
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._max_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._max_norm)
        return [gradient / self._num_shares for gradient in gradients]

    def step(
        self, clips: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, is_real: tf.Tensor, rate: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Compute one step, within `strategy.run`.

        Args:
            clips: uint8 `[clip, time, height, width, 3]`.
            targets: float32 `[clip, class]`.
            weights: float32 `[clip]`, of each clip in the loss.
            is_real: float32 `[clip]`, 0 for clips that only fill a batch.
            rate: learning rate, float32 scalar.

        Returns:
            This share's part of the mean loss, and its sums of the other metrics over clips; float32 scalars.
        """
        model = self._model
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            loss = model.compute_loss(y=targets, y_pred=logits, sample_weight=weights)
            scaled = model.optimizer.scale_loss(loss)
        model.optimizer.learning_rate.assign(rate)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        if self._num_shares > 1:
            gradients = self._summed(gradients)
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        sums = {metric.name: tf.reduce_sum(metric.values(targets, logits) * is_real) for metric in self._metrics}
        return {"loss": tf.cast(loss, tf.float32), **sums}

    def sums_over_clips(self, result: dict[str, tf.Tensor], clips: int) -> dict[str, float]:
        """Return a step's results as sums over its clips, the loss first, in the order of the running metrics.

        Args:
            result: what `step` returned, summed over all shares.
            clips: number of clips in the batch.

        Returns:
            Sums by the names of metrics.
        """
        names = [metric.name for metric in self._metrics]
        return {"loss": float(result["loss"]) * clips} | {name: float(result[name]) for name in names}


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Copy all that a step changes: weights, counters of dropout's random generators, optimizer state."""
    for variable, copied in zip(_state(source), _state(target), strict=True):
        copied.assign(np.asarray(keras.ops.convert_to_numpy(variable)))


def _state(model: keras.Model) -> Iterable[keras.Variable]:
    return [*model.weights, *generators_of(model), *model.optimizer.variables]
