"""A trained run, loaded."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models.registry import build_model, model_info
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import load_weights, read_description
from deepvideo_tf.storage.paths import AnyPath, PathLike


@dataclass(frozen=True)
class Run:
    """A trained model and what it takes to use it.

    Args:
        config: how it was trained.
        card: the model's classes, clip and shards.
        model: in float32, from what `inputs` returns to logits.
        checkpoint: the file that its weights come from.
        shards: a hash of the shards that it was trained on.
        inputs: from uint8 clips `[batch, time, height, width, 3]` to what the model takes: the clips themselves, or
            their histograms.
    """

    config: TrainConfig
    card: ModelCard
    model: keras.Model
    checkpoint: AnyPath
    shards: str
    inputs: Callable[[np.ndarray], np.ndarray]


def load_run(workdir: PathLike) -> Run:
    """Load a trained model: the best by validation where there are validation shards, else the newest.

    Args:
        workdir: the run's folder.

    Returns:
        The run, its model in float32.

    Raises:
        ModelFileError: there is no checkpoint, or all are damaged.
    """
    path = find_checkpoint(workdir, best=True)
    description = read_description(path)
    config, card = description.config, description.card
    try:
        model = build_untrained(config, len(card.classes))
    except (ConfigError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    load_weights(path, model)
    return Run(config, card, model, path, description.shards, model_info(config.model).inputs(model))


def build_untrained(config: TrainConfig, num_classes: int) -> keras.Model:
    """Build the model of a run.

    Args:
        config: the run's.
        num_classes: number of logits.

    Returns:
        The model, with random weights.

    Raises:
        ConfigError: an argument is outside its range.
        ModelFileError: the packages that the model needs are missing.
    """
    return build_model(config.model, num_classes, **config.model_arguments())
