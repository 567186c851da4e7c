"""Starting from another run's weights, and training only some of the layers (section 4.2)."""

import logging

import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models.inflation import inflate_weights
from deepvideo_tf.models.registry import info_of
from deepvideo_tf.runs.run import load_run

logger = logging.getLogger(__name__)


def take_weights(model: keras.Model, card: ModelCard, config: TrainConfig) -> tuple[list[str], list[str]]:
    """Fill a new model from the run that `config.init_from` names (section 4.2).

    Every layer is taken, through `inflate_weights` where the models differ, except the top one, which is taken only if
    both runs have the same classes in the same order; a new one begins at 0.

    Args:
        model: the new model.
        card: its card.
        config: its configuration.

    Returns:
        Names of the layers that were taken, and of those that are new.

    Raises:
        ModelFileError: there is no such run, or its weights do not fit.
    """
    assert config.init_from is not None  # TrainConfig sees to that
    source = load_run(config.init_from)
    for name in ("tower", "width", "lrn_beta"):
        there, here = getattr(source.config, name), getattr(config, name)
        if there != here:
            raise ModelFileError(f"{config.init_from}: has {name}={there}, expected {here} as here")
    try:
        inflate_weights(source.model, model)
    except ConfigError as error:
        raise ModelFileError(f"{config.init_from}: its weights do not fit a {card.model}: {error}") from None
    new = []
    if source.card.classes != card.classes:
        head = model.get_layer(info_of(model).head)
        head.set_weights([np.zeros_like(value) for value in head.get_weights()])
        new = [head.name]
    taken = [layer.name for layer in model.layers if layer.weights and layer.name not in new]
    return taken, new


def freeze(model: keras.Model, finetune: str) -> None:
    """Freeze the layers that a mode does not train: `top`, `top3`, `all` or `scratch`."""
    group = info_of(model).group(finetune)
    for layer in model.layers:
        layer.trainable = group is None or layer.name in group.layers


def split_model(model: keras.Model, finetune: str) -> tuple[keras.Model, keras.Model]:
    """Split a model where its frozen layers end.

    Args:
        model: a model of this package.
        finetune: a mode that freezes layers.

    Returns:
        The frozen part, from clips to features, and the trained part, from features to logits. They share the model's
        layers.
    """
    group = info_of(model).group(finetune)
    assert group is not None
    features = model.get_layer(group.features).output
    inputs = keras.Input(features.shape[1:], dtype="float32", name="features")
    x = inputs
    for name in group.layers:
        x = model.get_layer(name)(x)
    return keras.Model(model.input, features), keras.Model(inputs, x)
