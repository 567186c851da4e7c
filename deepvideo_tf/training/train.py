"""Training: make an executor and a source, then loop over steps that can be interrupted anywhere."""

import contextlib
import hashlib
import json
import logging
import math
import platform
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import keras

from deepvideo_tf.config import TrainConfig, check_number, to_json
from deepvideo_tf.data.input.pipeline import naming_damage
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models.precision import dtype_policy
from deepvideo_tf.runs.checkpoints import (
    CHECKPOINTS_DIR,
    find_checkpoint,
    has_checkpoints,
    remove_superseded,
    save_checkpoint,
    set_aside_damaged,
)
from deepvideo_tf.runs.run import build_untrained
from deepvideo_tf.runs.state import Description, Progress, load_states, load_weights, read_description
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.paths import AnyPath, to_path
from deepvideo_tf.storage.writes import write_text_atomically
from deepvideo_tf.training.executors import make_executor
from deepvideo_tf.training.executors.base import Executor, MetricStates
from deepvideo_tf.training.loop import OnEpoch, OnStep, TrainingLoop
from deepvideo_tf.training.optimization.optimizers import compile_model
from deepvideo_tf.training.sources import source_type
from deepvideo_tf.training.sources.base import Source, TrainingShards, read_training_shards

logger = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    shards_dir: Any,
    workdir: Any,
    *,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    checkpoint_minutes: float = 10.0,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    strategy: str | None = None,
) -> bool:
    """Train a model on the `train` shards (section 3.3).

    Called again with the same arguments, it resumes at the step of the last checkpoint and ends with the same weights
    as if nothing had happened, bit by bit on a CPU. There is a checkpoint after each epoch, every few minutes, and when
    the run is asked to stop (SIGINT, SIGTERM). A finished run is left as it is. If the shards have a `validation`
    split, its metrics are computed after every epoch, and the best epoch's weights are kept, too. TensorBoard gets the
    same numbers, and with matplotlib, at most once a minute, pictures of filters, predictions and confusion.

    Within `executors.processes.joined` several processes train together, each on its own shards, and must all call this
    with the same arguments. Only the first of them writes, into a folder that all of them see. Each step is still of
    `global_batch_size` clips; which clips come together, and which of an epoch's last ones are left out since not all
    devices can have one, depends on the number of processes.

    Args:
        config: what the run is.
        shards_dir: the folder of shards.
        workdir: the run's folder, made if it does not exist. Gets `config.json`, `history.csv`, `checkpoints/` and
            `tensorboard/`.
        max_bad_fraction: fraction of the stored clips that may be damaged; they are skipped with a warning.
        checkpoint_minutes: minutes from one checkpoint within an epoch to the next.
        on_step: called before the first and after each step with the clips seen so far and those of the whole run, for
            a progress bar.
        on_epoch: called after each epoch with its number, from 1, and its metrics and learning rate, a dict.
        strategy: where the steps are computed. None, one device; `mirrored`, all devices of this machine, each with its
            share of every batch; `downpour`, several machines, asynchronously, as `TF_CONFIG` names them: the chief
            trains, a parameter server or a worker serves until the chief ends. It is not part of what a run is: a run
            may resume with another one.

    Returns:
        False if this process is not the one that writes the run.

    Raises:
        ShardError: the shards are missing, unfinished or damaged, or the validation shards do not fit the others.
        ConfigError: an argument is outside its range, or the shards cannot give the clips that the model needs, or have
            a single class.
        ModelFileError: the folder holds another run, cannot be written, or another process trains there; or the run to
            start from does not fit.
        TrainingError: the loss became NaN or infinite.
        KeyboardInterrupt: the run was asked to stop, and is saved.
    """
    check_number("checkpoint_minutes", checkpoint_minutes, least=0)
    check_number("max_bad_fraction", max_bad_fraction, least=0, below=1)
    source_class, executor = source_type(config), make_executor(strategy)
    source_class.check_folders(shards_dir, workdir)
    executor.check(config, source_class)
    if not executor.start():
        return False
    shards = read_training_shards(shards_dir, config, max_bad_fraction)
    is_first = executor.share.process == 0
    with (
        _only_trainer(workdir) if is_first else contextlib.nullcontext(),
        dtype_policy(config.dtype_policy),
        naming_damage(shards_dir, *shards.splits),
    ):
        folder = to_path(workdir)
        checkpoint, there = _newest_checkpoint(folder, shards, executor)
        keras.utils.set_random_seed(config.seed)
        source = source_class(shards, folder, executor.share, executor.num_devices)
        progress, metric_states = _begin(source, executor, folder, checkpoint, there)
        if progress.epoch < config.num_epochs:
            if is_first:
                _write_config(folder, shards)
            source.prepare()
            executor.prepare(source)
            TrainingLoop(
                source,
                executor,
                folder,
                progress,
                metric_states,
                checkpoint_s=60 * checkpoint_minutes,
                on_step=on_step,
                on_epoch=on_epoch,
            ).run()
            if is_first:
                source.finish()
    executor.leave()
    return is_first


def is_finished(workdir: Any, config: TrainConfig) -> bool:
    """Return whether a run is trained to its end, so that only its export may be left to do.

    Args:
        workdir: the run's folder.
        config: its configuration.

    Returns:
        Whether no step is left.

    Raises:
        ModelFileError: there are checkpoints, and all are damaged.
    """
    if not has_checkpoints(workdir):
        return False
    return read_description(find_checkpoint(workdir, best=False)).progress.epoch >= config.num_epochs


def save_run(model: keras.Model, config: TrainConfig, shards_dir: Any, workdir: Any) -> None:
    """Save a model that `model.fit` has trained as a run, as `train` would have left it.

    Everything that takes a run then takes it: evaluation, exports, prediction, and other runs that start from it. The
    state of its optimizer is not kept: the run is finished.

    Args:
        model: a network of this package.
        config: what the model is: `model`, `clip`, `width` and `loss` must be its own, the rest is kept as a note.
        shards_dir: the folder of the shards that it was trained on.
        workdir: the run's folder, made if it does not exist.

    Raises:
        ConfigError: `config` is of another model.
        ShardError: the shards are missing or unfinished.
        ModelFileError: the folder holds a run, or cannot be written.
        TrainingError: a weight is not finite.
    """
    shards = read_training_shards(shards_dir, config, DEFAULT_MAX_BAD_FRACTION)
    saved = build_untrained(config, len(shards.train.classes))
    shapes = [[tuple(weight.shape) for weight in one.weights] for one in (model, saved)]
    if model.input_shape != saved.input_shape or shapes[0] != shapes[1]:
        raise ConfigError(
            f"config must be of the model: it is of a {saved.name} of {saved.count_params():,} parameters for clips "
            f"{list(saved.input_shape[1:])} and {len(shards.train.classes)} classes. Received: a {model.name} of "
            f"{model.count_params():,} for {list(model.input_shape[1:])}"
        )
    saved.set_weights(model.get_weights())
    compile_model(saved, config)
    steps_per_epoch = math.ceil(shards.train.records / config.global_batch_size)
    progress = Progress(epoch=config.num_epochs, total_steps=config.num_epochs * steps_per_epoch)
    with _only_trainer(workdir):
        if has_checkpoints(workdir):
            raise ModelFileError(f"{workdir}: holds a run; give another folder")
        save_checkpoint(workdir, saved, [], Description(config, shards.card, shards.hash, progress))


def _check_same(executor: Executor, shards: TrainingShards) -> None:
    """Raise ConfigError in all processes unless they were started with the same configuration and shards."""
    text = json.dumps([to_json(shards.config), shards.hash])
    digest = hashlib.sha256(text.encode()).hexdigest()
    differs = executor.agree(digest) != digest
    if executor.any_process(differs):
        raise ConfigError(
            f"all processes must have the same flags and shards{', this one has others' if differs else ''}"
        )


def _newest_checkpoint(workdir: AnyPath, shards: TrainingShards, executor: Executor) -> tuple[AnyPath | None, Progress]:
    """Return the checkpoint that all processes resume from and its progress; None at the beginning."""
    _check_same(executor, shards)
    is_first = executor.share.process == 0
    found = find_checkpoint(workdir, best=False) if is_first and has_checkpoints(workdir) else None
    name = executor.agree(found.name if found else "")
    if not name:
        return None, Progress()
    path = workdir / CHECKPOINTS_DIR / name
    if executor.any_process(not path.exists()):
        raise ModelFileError(f"{path}: expected in all processes, which must see one folder; not all do")
    there = read_description(path)
    _check_workdir(workdir, there, Description(shards.config, shards.card, shards.hash, there.progress))
    if is_first:
        set_aside_damaged(workdir)
    return path, there.progress


def _begin(
    source: Source,
    executor: Executor,
    workdir: AnyPath,
    checkpoint: AnyPath | None,
    progress: Progress,
) -> tuple[Progress, MetricStates]:
    """Compile the source's model, and give it its first weights or those of a checkpoint."""
    compile_model(source.model, source.config, num_devices=executor.num_devices)
    if source.model is not source.network:
        source.network.compile(source.model.optimizer)  # so that its checkpoints hold the optimizer's state
    if checkpoint is None:
        source.initialize(executor.initialize)
        return progress, []
    load_weights(checkpoint, source.network)
    metric_states = load_states(checkpoint, source.network)
    if executor.share.process == 0:
        remove_superseded(workdir, checkpoint.name)  # which a kill may have prevented
    return progress, metric_states


@contextlib.contextmanager
def _only_trainer(workdir: Any) -> Iterator[None]:
    try:
        workdir = to_path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        with locked(workdir / ".train.lock", ModelFileError(f"{workdir}: another process is training there")):
            yield
    except BrokenPipeError:
        raise  # of whoever reads the progress
    except OSError as error:
        raise ModelFileError(f"{error.filename or workdir}: cannot be written: {error.strerror or error}") from None


def _check_workdir(workdir: Any, there: Description, here: Description) -> None:
    if there.config != here.config:
        old, new = to_json(there.config), to_json(here.config)
        changed = ", ".join(
            f"{name}={old.get(name)} there, {new[name]} here" for name in new if old.get(name) != new[name]
        )
        raise ModelFileError(
            f"{workdir}: holds a run with another configuration ({changed}); give another folder, and init_from to "
            "begin with its weights"
        )
    if there != here:
        raise ModelFileError(f"{workdir}: holds a run on other train or validation shards; give another folder")


def _write_config(workdir: AnyPath, shards: TrainingShards) -> None:
    data = {
        "config": to_json(shards.config),
        "card": to_json(shards.card),
        "shards_dir": str(shards.folder),
        "versions": {"python": platform.python_version()}
        | dict(sorted((item.name, item.version) for item in metadata.distributions())),
    }
    write_text_atomically(workdir / "config.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")
