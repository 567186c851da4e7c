"""What a checkpoint holds: numbers in HDF5, and JSON that describes the run.

A file holds the weights and the optimizer's state as Keras writes them, the states of dropout's random generators and
of the running metrics, and, as JSON, the configuration, the model card and the progress of the run. Only numbers and
text are read from it: the model is built by this package's own builders, never from a program stored in a file.
"""

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig, from_json, to_json
from deepvideo_tf.errors import ModelFileError, TrainingError, first_line
from deepvideo_tf.storage.files import cached_copy
from deepvideo_tf.storage.paths import AnyPath
from deepvideo_tf.storage.writes import reserve

HDF5_OVERHEAD_BYTES = 4096  # of one variable, at most
DESCRIPTION_KEY = "deepvideo_tf"
STATES_KEY = "deepvideo_tf_states"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        epoch: number of the epoch that it is in, from 0.
        step: steps of this epoch that are done; all of them, where only the validation is left to do.
        total_steps: steps done since the run began.
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
    """What a checkpoint says about its run.

    Args:
        config: how the model is trained.
        card: its classes, clip and shards.
        shards: a hash of the train and validation shards and of their content.
        progress: how far the run was.
    """

    config: TrainConfig
    card: ModelCard
    shards: str
    progress: Progress


def write_state(path: Path, model: keras.Model, metrics: list[np.ndarray], description: Description) -> None:
    """Write the content of a checkpoint.

    Args:
        path: a file on the disk.
        model: with the optimizer that trains it.
        metrics: states of the running metrics (`metric_states`).
        description: of the run.

    Raises:
        OSError: the file cannot be written.
        RuntimeError: the same, raised by HDF5.
        TrainingError: a weight is not finite; nothing is written.
    """
    for variable in model.trainable_variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise TrainingError(
                f"the weights of {variable.path} are not finite after step {description.progress.total_steps}: try a "
                "lower learning_rate; the checkpoint before is kept"
            )
    text = json.dumps(to_json(description))
    variables = {id(variable): variable for variable in (*model.variables, *model.optimizer.variables)}.values()
    # HDF5 crashes when the disk is full: better not to begin.
    reserve(path, len(text) + sum(math.prod(variable.shape) * 4 + HDF5_OVERHEAD_BYTES for variable in variables))
    model.save_weights(path, overwrite=True)
    with h5py.File(path, "a") as file:
        # A dataset, not an attribute: attributes end at 64 KiB, which ten thousand class names exceed.
        file.create_dataset(DESCRIPTION_KEY, data=np.frombuffer(text.encode(), np.uint8))
        states = file.create_group(STATES_KEY)
        generators = [keras.ops.convert_to_numpy(variable) for variable in generators_of(model)]
        for number, array in enumerate([*generators, *metrics]):
            states.create_dataset(str(number), data=array)


def generators_of(model: keras.Model) -> list[keras.Variable]:
    """Return the counters of dropout's random generators, which Keras's weights files leave out."""
    of_weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in of_weights]


def metric_states(model: keras.Model) -> list[np.ndarray]:
    """Return the states of the running metrics of a compiled model."""
    return [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]


def set_metric_states(model: keras.Model, states: list[np.ndarray]) -> None:
    """Set what `metric_states` returned."""
    for variable, state in zip(model.metrics_variables, states, strict=True):
        variable.assign(state)


def read_description(path: AnyPath) -> Description:
    """Read how a run was trained and what its model is, without building it.

    Args:
        path: of a checkpoint.

    Returns:
        What the checkpoint says about its run.

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
            Progress(**data["progress"] | {"best": best and tuple(best)}),  # JSON has no tuples
        )
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path}: not a whole checkpoint: {first_line(error)}") from None


def load_weights(path: AnyPath, model: keras.Model) -> None:
    """Fill a model, and its optimizer if it has one, from a checkpoint.

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


def load_states(path: AnyPath, model: keras.Model) -> list[np.ndarray]:
    """Set the random generators of a model to where a checkpoint left them.

    Args:
        path: of the checkpoint.
        model: the model, with the weights of the checkpoint.

    Returns:
        The states of the running metrics, for `set_metric_states`.

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
