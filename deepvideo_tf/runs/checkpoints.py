"""A run's checkpoints: written whole or not at all, checked by hash, enough to go on at the exact step.

    RUN/checkpoints/step-00001200-5f2b9c0d1e7a4f36.weights.h5     the last three
    RUN/checkpoints/best-00000800-0a1b2c3d4e5f6071.weights.h5     the best by validation, if there is any

The name holds the number of steps and the beginning of the file's SHA-256, so that one rename publishes both. A file
holds the weights and the optimiser's state as Keras writes them, the states of dropout's random generators and of the
running metrics, and, as JSON, the configuration, the model card and the progress of the run. Only numbers and text are
read from it: the model is built by this package's own builders, never from a program stored in a file.
"""

import json
import logging
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig, from_json, to_json
from deepvideo_tf.errors import ConfigError, ModelFileError, TrainingError, first_line
from deepvideo_tf.models.registry import build_model, model_info
from deepvideo_tf.storage.files import cached_copy, hash_of
from deepvideo_tf.storage.paths import RemotePath, to_path
from deepvideo_tf.storage.writes import publish, reserve, staging_file

logger = logging.getLogger(__name__)

CHECKPOINTS_DIR = "checkpoints"
NAME = re.compile(r"(step|best)-(\d{8,})-([0-9a-f]{16})\.weights\.h5")
UNFINISHED_NAME = "unfinished.weights.h5"
KEPT = 3
HASH_DIGITS = 16
HDF5_OVERHEAD_BYTES = 4096  # of one variable, at most
DESCRIPTION_KEY = "deepvideo_tf"
STATES_KEY = "deepvideo_tf_states"


@dataclass(frozen=True)
class Run:
    """A trained model and what it takes to use it.

    Args:
        config: how it was trained.
        card: the model's classes, clip and shards.
        model: a `keras.Model` in float32, from what `inputs` gives to logits.
        checkpoint: path of the file that its weights come from.
        shards: a hash of the shards that it was trained on.
        inputs: from uint8 clips `[batch, time, height, width, 3]` to what the model takes: to the clips themselves, or
            to their histograms.
    """

    config: TrainConfig
    card: ModelCard
    model: keras.Model
    checkpoint: Path | RemotePath
    shards: str
    inputs: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Args:
        epoch: number of the epoch that it is in, from 0.
        step: steps of this epoch that are done; all of them, where only the validation is left to do.
        total_steps: steps done since the beginning.
        lowered: how many times the schedule has lowered the learning rate.
        best: (Hit@1, minus loss) of the best epoch so far, or None.
        waited: epochs since then, or since the rate was lowered.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    lowered: int = 0
    best: tuple[float, float] | None = None
    waited: int = 0


@dataclass(frozen=True)
class Description:
    """What a checkpoint tells of itself besides its numbers.

    Args:
        config: how the model is trained.
        card: its classes, clip and shards.
        shards: a hash of the train and validation shards, of their content too.
        progress: how far the run had come.
    """

    config: TrainConfig
    card: ModelCard
    shards: str
    progress: Progress


def has_checkpoints(workdir):
    """Whether a folder holds checkpoints, whole or not."""
    return bool(_listed(workdir, "step")) or bool(_listed(workdir, "best"))


def _listed(workdir, kind):
    """Checkpoints of a kind, the newest first."""
    folder = to_path(workdir) / CHECKPOINTS_DIR
    found = [(match, path) for path in _files(folder) if (match := NAME.fullmatch(path.name)) and match[1] == kind]
    return [path for match, path in sorted(found, key=lambda item: int(item[0][2]), reverse=True)]


def _files(folder):
    return folder.iterdir() if folder.is_dir() else ()


def save_checkpoint(workdir, model, metrics, description: Description, *, is_best=False):
    """Writes a checkpoint under a temporary name, renames it when it is whole, and removes those not kept.

    Args:
        workdir: the run's folder.
        model: the model, with the optimiser that trains it.
        metrics: list of arrays, the state of the running metrics (`metric_states`).
        description: how it is trained, and how far.
        is_best: whether to keep it as the best one, too.

    Raises:
        ModelFileError: the file cannot be written; the checkpoints that were there are still there.
        TrainingError: a weight is not finite; nothing is written.
    """
    _check_finite(model, description.progress)
    folder = to_path(workdir) / CHECKPOINTS_DIR
    try:
        folder.mkdir(exist_ok=True)
        with staging_file(folder, UNFINISHED_NAME) as local:
            _write(local, model, metrics, description)
            ending = f"{description.progress.total_steps:08d}-{_hash_of(local)}.weights.h5"
            publish(local, *(folder / f"{kind}-{ending}" for kind in (("best", "step") if is_best else ("step",))))
        remove_superseded(workdir, f"step-{ending}")
        for path in _listed(workdir, "best")[1:] if is_best else []:
            path.unlink()
    except (OSError, RuntimeError) as error:  # HDF5 raises either for a full disk
        raise ModelFileError(f"{folder}: no checkpoint can be written: {first_line(error)}") from None


def remove_superseded(workdir, newest):
    """Removes the checkpoints before the last three, and others of the newest step, as that from before its validation.

    Args:
        workdir: the run's folder.
        newest: name of a checkpoint that is known to be whole.
    """
    others = [path for path in _listed(workdir, "step") if path.name != newest]
    same_step = [path for path in others if NAME.fullmatch(path.name)[2] == NAME.fullmatch(newest)[2]]
    for path in same_step + [path for path in others if path not in same_step][KEPT - 1 :]:
        path.unlink()


def _check_finite(model, progress):
    for variable in model.trainable_variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise TrainingError(
                f"the weights of {variable.path} are not finite after step {progress.total_steps}: try a lower "
                "learning_rate; the checkpoint before is kept"
            )


def _write(path, model, metrics, description):
    text = json.dumps(to_json(description))
    variables = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}.values()
    # HDF5 crashes when the disk is full: better not to begin.
    reserve(path, len(text) + sum(math.prod(variable.shape) * 4 + HDF5_OVERHEAD_BYTES for variable in variables))
    model.save_weights(path, overwrite=True)
    with h5py.File(path, "a") as file:
        # A dataset, not an attribute: attributes end at 64 KiB, which ten thousand class names pass.
        file.create_dataset(DESCRIPTION_KEY, data=np.frombuffer(text.encode(), np.uint8))
        states = file.create_group(STATES_KEY)
        for number, array in enumerate([*_generator_states(model), *metrics]):
            states.create_dataset(str(number), data=array)


def generators_of(model):
    """The counters of dropout's random generators, which Keras's weights files leave out: a list of variables."""
    of_weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in of_weights]


def _generator_states(model):
    return [keras.ops.convert_to_numpy(variable) for variable in generators_of(model)]


def metric_states(model):
    """The state of the running metrics of a compiled model, a list of arrays."""
    return [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]


def set_metric_states(model, states):
    """Sets what `metric_states` gave."""
    for variable, state in zip(model.metrics_variables, states, strict=True):
        variable.assign(state)


def _hash_of(path):
    return hash_of(cached_copy(path))[:HASH_DIGITS]


def find_checkpoint(workdir, *, best):
    """The checkpoint to use: the newest whose content is what its name says; damaged ones are told of.

    Args:
        workdir: the run's folder.
        best: whether to prefer the best by validation, as for judging and serving a model, to the newest, as for going
            on. Either stands in for the other.

    Returns:
        Its path.

    Raises:
        ModelFileError: there is none, or they are all damaged.
    """
    kinds = ("best", "step") if best else ("step", "best")
    candidates = [path for kind in kinds for path in _listed(workdir, kind)]
    if not candidates:
        raise ModelFileError(f"{workdir}: expected the folder of a trained run, found no {CHECKPOINTS_DIR} in it")
    for path in candidates:
        if _hash_of(path) == NAME.fullmatch(path.name)[3]:
            return path
        logger.warning("%s: damaged (its content has another hash than its name says); left for the one before", path)
    raise ModelFileError(f"{candidates[0]}: damaged, and so are all others in its folder")


def set_aside_damaged(workdir):
    """Renames damaged checkpoints, so that they do not count among those that are kept.

    Args:
        workdir: the run's folder.
    """
    for path in _listed(workdir, "best") + _listed(workdir, "step"):
        if _hash_of(path) != NAME.fullmatch(path.name)[3]:
            path.rename(path.with_name(f"damaged-{path.name}"))


def read_description(path):
    """Reads how a run was trained and what its model is, without building it.

    Args:
        path: of a checkpoint.

    Returns:
        `Description`.

    Raises:
        ModelFileError: it is damaged or not one of this package's.
    """
    try:
        with h5py.File(cached_copy(path), "r") as file:
            data = json.loads(file[DESCRIPTION_KEY][()].tobytes())
        best = data["progress"]["best"]
        return Description(
            from_json(TrainConfig, data["config"], path),
            from_json(ModelCard, data["card"], path),
            data["shards"],
            Progress(**data["progress"] | {"best": best and tuple(best)}),  # JSON knows no tuples
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: not a whole checkpoint: {first_line(error)}") from None


def load_weights(path, model):
    """Fills a model, and its optimiser if it has one, from a checkpoint.

    Args:
        path: of the checkpoint.
        model: a model with the same layers.

    Raises:
        ModelFileError: the checkpoint is damaged or belongs to another model.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns where it leaves a layer as it was
            model.load_weights(cached_copy(path))
    except (OSError, KeyError, ValueError, RuntimeError, UserWarning) as error:
        raise ModelFileError(f"{path}: its weights do not load: {first_line(error)}") from None


def load_states(path, model):
    """Sets the random generators of a model to where a checkpoint left them.

    Args:
        path: of the checkpoint.
        model: the model, with the weights of the checkpoint.

    Returns:
        The state of the running metrics, for `set_metric_states`.

    Raises:
        ModelFileError: the checkpoint is damaged or belongs to another model.
    """
    try:
        with h5py.File(cached_copy(path), "r") as file:
            states = [file[STATES_KEY][str(number)][()] for number in range(len(file[STATES_KEY]))]
        for generator in generators_of(model):
            generator.assign(states.pop(0))
    except (OSError, KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: not a whole checkpoint: {first_line(error)}") from None
    return states


def load_run(workdir):
    """Loads a trained model: the best by validation where there are validation shards, else the newest.

    Args:
        workdir: the folder that `train` wrote.

    Returns:
        `Run`.

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
    return Run(config, card, model, path, description.shards, inputs_of(config, model))


def build_untrained(config, num_classes):
    """Builds the model of a run, a network or the perceptron over histograms.

    Args:
        config: `TrainConfig`.
        num_classes: number of logits.

    Returns:
        A `keras.Model`.

    Raises:
        ConfigError: an argument is outside its range.
        ModelFileError: the packages that make histograms are missing.
    """
    return build_model(config.model, num_classes, **config.model_arguments())


def inputs_of(config, model):
    """What makes clips into the inputs of a run's model: `Run.inputs`.

    Args:
        config: `TrainConfig`.
        model: from `build_untrained`, with its weights.

    Returns:
        Function from uint8 clips `[batch, time, height, width, 3]` to what the model takes: the same, or the float32
        vectors `[batch, dimension]` of `feature_histograms`.
    """
    return model_info(config.model).inputs(model)
