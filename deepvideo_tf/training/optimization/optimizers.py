"""The optimizer of a run, and compiling a model with it."""

import keras
import numpy as np

from deepvideo_tf.config import TrainConfig
from deepvideo_tf.metrics import training_metrics
from deepvideo_tf.training.optimization.losses import loss_of


def compile_model(model: keras.Model, config: TrainConfig, *, num_devices: int = 1) -> None:
    """Compile a model with loss, optimizer and metrics, all built, so that a checkpoint can fill their states.

    Args:
        model: from clips, or features, to logits.
        config: the run's.
        num_devices: between which batches are divided.
    """
    model.compile(optimizer_of(config), loss_of(config), metrics=training_metrics())
    model.optimizer.build(model.trainable_variables)
    examples = np.zeros((num_devices, *model.input_shape[1:]), model.input.dtype)
    targets = np.zeros((num_devices, *model.output_shape[1:]))
    model.test_on_batch(examples, targets)  # builds the metrics, for which fit would draw a batch of its own
    model.reset_metrics()


def optimizer_of(
    config: TrainConfig, sgd: type[keras.optimizers.SGD] = keras.optimizers.SGD
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run, not built.

    Args:
        config: the run's.
        sgd: class of the optimizer `sgd`.

    Returns:
        A Keras optimizer.
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
