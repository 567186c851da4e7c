"""A second model where a `tf.distribute` strategy keeps its variables, trained in place of the run's own one.

The run's own model stays an ordinary one: it is what validation, checkpoints, pictures and exports use, and gets the
weights and the optimiser's state when they are wanted.
"""

from dataclasses import replace

import keras
import tensorflow as tf

from deepvideo_tf.metrics.hit_at_k import HitAtK
from deepvideo_tf.runs.checkpoints import generators_of
from deepvideo_tf.training.optimization import loss_of, optimizer_of


def clip_weights(targets, class_weights):
    """How much each clip counts, float32 `[clip]`, from targets `[clip, class]` and the weights of the classes."""
    return tf.linalg.matvec(targets, tf.cast(class_weights, tf.float32)) / tf.reduce_sum(targets, axis=1)


class Replica:
    """The second model.

    Args:
        strategy: a `tf.distribute.Strategy`.
        build: function that makes an untrained model, its layers frozen that are to be.
        local: the run's own model, compiled, whose weights and optimiser's state it begins with.
        config: `TrainConfig`.
        sgd: the class that is the optimiser `sgd`.
    """

    def __init__(self, strategy, build, local, config, sgd=keras.optimizers.SGD):
        self._local, self._hit = local, HitAtK(1)
        self._shares, self._max_norm = strategy.num_replicas_in_sync, 0.0
        if self._shares > 1:
            self._max_norm, config = config.max_gradient_norm, replace(config, max_gradient_norm=0.0)
        with strategy.scope():
            self._model = build()
            self._model.compile(optimizer_of(config, sgd), loss_of(config))
            self._model.optimizer.build(self._model.trainable_variables)
            _copy(local, self._model)

    def fetch(self):
        """Copies weights and optimiser's state into the run's own model."""
        _copy(self._model, self._local)

    def _summed(self, gradients):
        """The gradients of all shares, clipped, and divided, since Keras will sum them up once more.

        Keras would clip those of each share before it sums them up.
        """
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._max_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._max_norm)
        return [gradient / self._shares for gradient in gradients]

    def step(self, clips, targets, weights, is_real, rate):
        """One step, within `strategy.run`.

        Args:
            clips: uint8 `[clip, time, height, width, 3]`.
            targets: float32 `[clip, class]`.
            weights: float32 `[clip]`, how much each one counts in the loss.
            is_real: float32 `[clip]`, 0 of those that only fill a batch.
            rate: the learning rate, float32 scalar.

        Returns:
            This replica's part of the mean loss, and its hits; float32 scalars.
        """
        model = self._model
        with tf.GradientTape() as tape:
            logits = model(clips, training=True)
            loss = model.compute_loss(y=targets, y_pred=logits, sample_weight=weights)
            scaled = model.optimizer.scale_loss(loss)
        model.optimizer.learning_rate.assign(rate)
        variables = model.trainable_variables
        gradients = tape.gradient(scaled, variables)
        if self._shares > 1:
            gradients = self._summed(gradients)
        model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.cast(loss, tf.float32), tf.reduce_sum(self._hit.values(targets, logits) * is_real)


def _copy(source, target):
    """Copies all that a step changes: weights, the counters of dropout's random generators, the optimiser's state."""
    pairs = zip(_state(source), _state(target), strict=True)
    for variable, copied in pairs:
        copied.assign(keras.ops.convert_to_numpy(variable))


def _state(model):
    return [*model.weights, *generators_of(model), *model.optimizer.variables]
