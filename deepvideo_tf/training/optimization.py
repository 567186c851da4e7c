"""The loss, the optimiser and the learning rate of a run (section 3.3)."""

import math
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from deepvideo_tf.metrics.hit_at_k import HitAtK
from deepvideo_tf.training.executors import processes

PLATEAU_DIVISOR = 10  # the paper lowers the rate and does not say by how much; AlexNet divides it by 10


def compile_model(model, config):
    """Compiles a model with the loss, the optimiser and Hit@1, all built, so that a checkpoint can fill their states.

    Args:
        model: from clips, or features, to logits.
        config: `TrainConfig`.
    """
    model.compile(optimizer_of(config), loss_of(config), metrics=[HitAtK(1)])
    model.optimizer.build(model.trainable_variables)
    size = processes.local_devices()
    examples = np.zeros((size, *model.input_shape[1:]), model.input.dtype)
    targets = np.zeros((size, *model.output_shape[1:]))
    model.test_on_batch(examples, targets)  # builds the metrics, for which fit would draw a batch of its own
    model.reset_metrics()


def optimizer_of(config, sgd=keras.optimizers.SGD):
    """The optimiser of a run, not built.

    Args:
        config: `TrainConfig`.
        sgd: the class that is `sgd`.

    Returns:
        Keras optimiser.
    """
    common = {
        "name": config.optimizer,  # Keras's own names are numbered, and would make equal checkpoints differ
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.max_gradient_norm or None,
    }
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(**common)
    return sgd(momentum=float(config.momentum), **common)  # Keras refuses 0


def loss_of(config):
    """The loss from logits: float32 `[batch, class]` targets and logits to `[batch]`.

    Args:
        config: `TrainConfig`, of which `loss` and `label_smoothing` count.

    Returns:
        Keras loss, or function of (targets, logits).
    """
    if config.loss == "softmax":
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)

    def sum_of_binary_crossentropies(targets, logits):
        smoothed = targets * (1 - config.label_smoothing) + config.label_smoothing / 2
        # Keras takes the mean over the classes; the sum keeps the rate's meaning, however many there are.
        return ops.sum(ops.binary_crossentropy(smoothed, logits, from_logits=True), axis=-1)

    return sum_of_binary_crossentropies


def learning_rate_at(config, step, num_steps, lowered):
    """The learning rate of a step.

    Args:
        config: `TrainConfig`.
        step: number of the step, from 0.
        num_steps: steps of the whole run.
        lowered: how many times the plateau schedule has lowered the rate.

    Returns:
        The rate, a float above 0.
    """
    rate = config.learning_rate
    if config.schedule == "plateau":
        rate /= PLATEAU_DIVISOR**lowered
    elif config.schedule == "cosine":
        rate *= (1 + math.cos(math.pi * step / num_steps)) / 2
    return rate * min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else rate


def after_epoch(progress, config, logs):
    """The progress of a run after a whole epoch: whether it is the best one, and whether the rate is to be lowered.

    The epoch with the highest validation Hit@1 is the best, of equal ones that with the lowest validation loss. Where
    there is no validation, that with the lowest training loss.

    Args:
        progress: `Progress` with all steps of the epoch done.
        config: `TrainConfig`.
        logs: the epoch's `loss` and, if there is validation, `val_loss` and `val_hit_at_1`.

    Returns:
        `Progress` at the beginning of the next epoch, and whether this one was the best.
    """
    reached = (logs["val_hit_at_1"], -logs["val_loss"]) if "val_loss" in logs else (0.0, -logs["loss"])
    is_best = progress.best is None or reached > progress.best
    progress = replace(progress, epoch=progress.epoch + 1, step=0)
    if is_best:
        return replace(progress, best=reached, waited=0), True
    if progress.waited + 1 >= config.plateau_epochs:
        return replace(progress, lowered=progress.lowered + 1, waited=0), False
    return replace(progress, waited=progress.waited + 1), False
