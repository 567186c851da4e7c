"""A run's folder: its checkpoint and what makes it usable by others.

A checkpoint is one file, `checkpoint.weights.h5`: the weights, the optimiser's state (hence the number of steps done)
and, as JSON, the configuration and the model card with the class names. It is replaced by one rename. Only numbers and
text are read from it: the model is built by this package's own builders, never from a program stored in a file.
"""

import json
import math
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig, from_json, to_json
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models.registry import build_model

CHECKPOINT_NAME = "checkpoint.weights.h5"
DESCRIPTION_KEY = "deepvideo_tf"


@dataclass(frozen=True)
class Run:
    """A trained model and what it takes to use it.

    Args:
        config: how it was trained.
        card: the model's classes, clip and shards.
        model: a `keras.Model` in float32, from uint8 clips to logits.
    """

    config: TrainConfig
    card: ModelCard
    model: keras.Model


@dataclass(frozen=True)
class Description:
    """What a checkpoint tells of itself besides its weights.

    Args:
        config: how the model is trained.
        card: its classes, clip and shards.
        shards_fingerprint: the fingerprint of the shards it is trained on.
    """

    config: TrainConfig
    card: ModelCard
    shards_fingerprint: str


def checkpoint_path(workdir):
    """Where the checkpoint of a run stands."""
    return Path(workdir) / CHECKPOINT_NAME


def save_checkpoint(workdir, model, description: Description):
    """Writes the checkpoint of a run under a temporary name and renames it when it is whole.

    Args:
        workdir: the run's folder.
        model: the compiled model.
        description: how it is trained, and what it is.

    Raises:
        ModelFileError: the file cannot be written; the checkpoint that was there is still there.
    """
    path = checkpoint_path(workdir)
    temporary = path.with_name("unfinished-" + path.name)
    text = json.dumps(to_json(description))
    variables = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}.values()
    needed = sum(math.prod(variable.shape) * 4 for variable in variables)
    try:
        # HDF5 prints a traceback of its own when the disk is full: better not to begin.
        free = shutil.disk_usage(path.parent).free
        if free < needed:
            raise OSError(f"it needs {needed} bytes, the disk has {free} left")
        model.save_weights(temporary, overwrite=True)
        with h5py.File(temporary, "a") as file:
            # A dataset, not an attribute: attributes end at 64 KiB, which ten thousand class names pass.
            file.create_dataset(DESCRIPTION_KEY, data=np.frombuffer(text.encode(), np.uint8))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # HDF5 tells of a full disk by either
        raise ModelFileError(f"{path}: cannot be written: {str(error).splitlines()[0]:.200}") from None


def read_description(workdir):
    """Reads how a run was trained and what its model is, without building it.

    Args:
        workdir: the run's folder.

    Returns:
        `Description`.

    Raises:
        ModelFileError: there is no checkpoint, or it is damaged or not one of this package's.
    """
    path = checkpoint_path(workdir)
    if not path.is_file():
        raise ModelFileError(f"{workdir}: expected the folder of a trained run with {CHECKPOINT_NAME}, found none")
    try:
        with h5py.File(path, "r") as file:
            data = json.loads(file[DESCRIPTION_KEY][()].tobytes())
        config = from_json(TrainConfig, data["config"], path)
        return Description(config, from_json(ModelCard, data["card"], path), data["shards_fingerprint"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: not a whole checkpoint: {str(error).splitlines()[0]:.200}") from None


def load_weights(workdir, model):
    """Fills a model, and its optimiser if it is compiled with one, from the checkpoint of a run.

    Args:
        workdir: the run's folder.
        model: a model with the same layers.

    Raises:
        ModelFileError: the checkpoint is damaged or belongs to another model.
    """
    path = checkpoint_path(workdir)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns where it leaves a layer as it was
            model.load_weights(path)
    except (OSError, KeyError, ValueError, RuntimeError, UserWarning) as error:
        raise ModelFileError(f"{path}: its weights do not load: {str(error).splitlines()[0]:.200}") from None


def load_run(workdir):
    """Loads a trained model.

    Args:
        workdir: the folder that `train` wrote.

    Returns:
        `Run`.

    Raises:
        ModelFileError: there is no checkpoint, or it is damaged.
    """
    description = read_description(workdir)
    config, card = description.config, description.card
    try:
        model = build_model(card.model, len(card.classes), **config.model_arguments())
    except ConfigError as error:
        raise ModelFileError(f"{checkpoint_path(workdir)}: {error}") from None
    load_weights(workdir, model)
    return Run(config, card, model)
