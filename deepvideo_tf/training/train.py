"""Training: Keras's own `compile`, `fit` and `evaluate` over the shards, in steps that can be interrupted anywhere."""

import contextlib
import csv
import functools
import hashlib
import io
import json
import logging
import math
import os
import platform
import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import FEATURE_HISTOGRAMS, STRATEGIES, ModelCard, TrainConfig, check_number, to_json
from deepvideo_tf.data.input.pipeline import (
    DEFAULT_MAX_BAD_FRACTION,
    check_clip,
    clips_by_class,
    make_dataset,
    naming_damage,
)
from deepvideo_tf.data.input.places import TrainingPlaces
from deepvideo_tf.data.input.reader import record_names
from deepvideo_tf.data.shards.build import Manifest, check_classes, manifest_path, read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError, TrainingError
from deepvideo_tf.formats.export_process import export_in_process
from deepvideo_tf.formats.saved_model import export_saved_model, exported_from, latest_version
from deepvideo_tf.runs.checkpoints import (
    CHECKPOINTS_DIR,
    Description,
    Progress,
    build_untrained,
    find_checkpoint,
    has_checkpoints,
    load_states,
    load_weights,
    metric_states,
    read_description,
    remove_superseded,
    save_checkpoint,
    set_aside_damaged,
    set_metric_states,
)
from deepvideo_tf.storage.paths import RemotePath, is_remote, on_disk, to_path
from deepvideo_tf.storage.writes import write_text_atomically
from deepvideo_tf.training import initialization, transfer
from deepvideo_tf.training.executors import processes
from deepvideo_tf.training.executors.cluster import cluster_of_environment
from deepvideo_tf.training.executors.downpour import Downpour, serve
from deepvideo_tf.training.executors.mirrored import Mirrored
from deepvideo_tf.training.executors.replica import clip_weights
from deepvideo_tf.training.optimization import after_epoch, compile_model, learning_rate_at
from deepvideo_tf.training.tensorboard import TensorBoard

logger = logging.getLogger(__name__)

NAMED_RECORDS = 3  # of a batch whose loss is not finite, in the message; a file has all of them
NON_FINITE_NAME = "non-finite-batch.json"


def train(
    config: TrainConfig,
    shards_dir,
    workdir,
    *,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
    checkpoint_minutes=10.0,
    on_step=None,
    on_epoch=None,
    strategy=None,
):
    """Trains a model on the `train` shards and ends by exporting it (section 3.3), if it is a network.

    Run again with the same arguments, it goes on at the step of the last checkpoint and ends with the same weights as
    if nothing had happened, bit by bit on a CPU. There is a checkpoint after each epoch, every few minutes, and when
    the run is told to stop (SIGINT, SIGTERM). A finished run is left as it is. If the shards have a `validation` split,
    its loss and Hit@1 are computed after every epoch, and the best epoch's weights are the ones that are exported.
    TensorBoard gets the same numbers, and with matplotlib, at most once a minute, pictures of filters, predictions and
    confusion.

    Within `processes.joined` several processes train together, each on its own shards, and must all call this with the
    same arguments. Only the first of them writes, into a folder that all of them see. Each step is of
    `global_batch_size` clips still; which clips come together, and which of an epoch's last ones are left out since not
    all devices can have one, depends on how many processes there are.

    Of `feature_histograms` the features are computed first, and kept beside the shards (`baseline/cache.py`). It is not
    exported: its features are no part of a graph.

    Args:
        config: what the run is.
        shards_dir: the folder of shards.
        workdir: the run's folder; made if it is not there. Gets `config.json`, `history.csv`, `checkpoints/`,
            `tensorboard/` and `saved_model/<version>`.
        max_bad_fraction: the part of the stored clips that may be damaged, and are skipped with a warning.
        checkpoint_minutes: time from one checkpoint within an epoch to the next.
        on_step: called before the first and after each step with the clips seen so far and those to be seen in all, for
            a progress bar.
        on_epoch: called after each epoch with its number, from 1, and its losses, Hit@1 and learning rate, a dict.
        strategy: how many devices train. None, one; `mirrored`, all of this machine, each with its share of every
            batch; `downpour`, several machines, asynchronously, as `TF_CONFIG` has it: the chief does what is said
            above, a parameter server or a worker serves until it ends. It is no part of what a run is, which may go on
            with another one.

    Returns:
        Path of the exported SavedModel's version folder; None where there is none, or another process makes it.

    Raises:
        ShardError: the shards are missing, unfinished or damaged, or the validation shards do not go with them.
        ConfigError: an argument is outside its range, or the shards cannot give the clips that the model needs, or have
            a single class.
        ModelFileError: the folder holds another run, cannot be written, or another process trains there; or the run to
            start from does not fit.
        TrainingError: the loss became NaN or infinite.
        KeyboardInterrupt: the run was told to stop, and has saved where it was.
    """
    check_number("checkpoint_minutes", checkpoint_minutes, least=0)
    check_number("max_bad_fraction", max_bad_fraction, least=0, below=1)
    _check_on_disk(config, shards_dir, workdir)
    _check_strategy(strategy, config)
    devices: Downpour | Mirrored | None = Mirrored() if strategy == "mirrored" else None
    if strategy == "downpour":
        cluster, job, index = cluster_of_environment()
        if job != "chief":
            serve(cluster, job, index)
            return None
        devices = Downpour(cluster)  # before anything lies on a device
    manifest = read_manifest(shards_dir, "train")
    if len(manifest.classes) < 2:
        raise ConfigError(f"{shards_dir}: expected shards of 2 classes or more, found 1: {manifest.classes[0]!r}")
    check_clip(manifest, config.clip, shards_dir)
    _check_validation(manifest, shards_dir)
    _check_processes(config)
    is_first = processes.worker()[0] == 0
    with _only_trainer(workdir) if is_first else contextlib.nullcontext():
        with _dtype_policy(config.dtype_policy), naming_damage(shards_dir, "train", *_validation_split(shards_dir)):
            run = _begin(config, manifest, shards_dir, workdir, max_bad_fraction)
            run.checkpoint_s, run.on_step, run.on_epoch = 60 * checkpoint_minutes, on_step, on_epoch
            run.devices = devices
            if run.progress.epoch < config.num_epochs:
                if run.writes:
                    _write_config(run)
                _train_all_epochs(run)
        processes.leave()
        if config.model == FEATURE_HISTOGRAMS or not is_first:
            return None
        export_dir = to_path(workdir) / "saved_model"
        exported = latest_version(export_dir)
        if exported is not None and exported_from(exported) == find_checkpoint(workdir, best=True).name:
            return exported
        export = export_saved_model if keras.backend.backend() == "tensorflow" else export_in_process
        return export(workdir, export_dir)


def is_finished(workdir, config):
    """Whether a run has been trained to its end, so that only its export may be left to do.

    Args:
        workdir: the run's folder.
        config: its `TrainConfig`.

    Returns:
        bool.

    Raises:
        ModelFileError: there are checkpoints, and all are damaged.
    """
    if not has_checkpoints(workdir):
        return False
    return read_description(find_checkpoint(workdir, best=False)).progress.epoch >= config.num_epochs


def save_run(model, config: TrainConfig, shards_dir, workdir):
    """Saves a model that `model.fit` has trained as a run, as `train` would have left it.

    Whatever takes a run then takes it: evaluation, exports, prediction, and other runs that start from it. The state of
    its optimiser is not kept: the run is finished.

    Args:
        model: a network of this package.
        config: what the model is: `model`, `clip`, `width` and `loss` must be its own, the rest is kept as a note.
        shards_dir: the folder of the shards that it was trained on.
        workdir: the run's folder; made if it is not there.

    Raises:
        ConfigError: `config` is of another model.
        ShardError: the shards are missing or unfinished.
        ModelFileError: the folder holds a run, or cannot be written.
        TrainingError: a weight is not finite.
    """
    manifest = read_manifest(shards_dir, "train")
    check_clip(manifest, config.clip, shards_dir)
    saved = build_untrained(config, len(manifest.classes))
    shapes = [[tuple(weight.shape) for weight in one.weights] for one in (model, saved)]
    if model.input_shape != saved.input_shape or shapes[0] != shapes[1]:
        raise ConfigError(
            f"config must be of the model: it is of a {saved.name} of {saved.count_params():,} parameters for clips "
            f"{list(saved.input_shape[1:])} and {len(manifest.classes)} classes. Received: a {model.name} of "
            f"{model.count_params():,} for {list(model.input_shape[1:])}"
        )
    saved.set_weights(model.get_weights())
    compile_model(saved, config)
    card = ModelCard(config.model, manifest.classes, config.clip, manifest.spec, config.loss)
    steps_per_epoch = math.ceil(manifest.records / config.global_batch_size)
    progress = Progress(epoch=config.num_epochs, total_steps=config.num_epochs * steps_per_epoch)
    with _only_trainer(workdir):
        if has_checkpoints(workdir):
            raise ModelFileError(f"{workdir}: holds a run; give another folder")
        save_checkpoint(workdir, saved, [], Description(config, card, _shards_hash(shards_dir), progress))


@dataclass
class _TrainingRun:
    """A run that is being trained: what stays the same, then what changes."""

    config: TrainConfig
    card: ModelCard
    manifest: Manifest
    shards_dir: Path | RemotePath
    shards: str  # their hash when the run began
    workdir: Path | RemotePath
    max_bad_fraction: float
    model: keras.Model  # from clips to logits
    frozen: keras.Model | None  # from clips to features, if these are cached
    trained: keras.Model  # the model, or its part from features to logits
    steps_per_epoch: int
    progress: Progress
    metrics: list | None = None  # of an epoch that was interrupted
    checkpoint_s: float = 0.0
    on_step: Any = None
    on_epoch: Any = None
    saved_at_s: float = 0.0
    told_to_stop: bool = False
    tensorboard: Any = None
    devices: Downpour | Mirrored | None = None
    worker: tuple[int, int] = (0, 1)  # which process this is, of those that train together, and how many these are

    @property
    def writes(self):
        """Whether this process is the one that writes the run."""
        return self.worker[0] == 0

    def description(self):
        return Description(self.config, self.card, self.shards, self.progress)

    @functools.cached_property  # it may take a look at all shards
    def class_weights(self):
        return _class_weights(self)


def _check_strategy(strategy, config):
    if strategy not in (None, *STRATEGIES):
        raise ConfigError(f"strategy must be None or one of {', '.join(STRATEGIES)}. Received: {strategy!r}")
    if strategy is not None and (config.model == FEATURE_HISTOGRAMS or _caches_features(config)):
        raise ConfigError(
            f"strategy {strategy} trains networks on clips, not on features that are computed first: train "
            f"{FEATURE_HISTOGRAMS} without it, and with finetune={config.finetune} give cached_views=0"
        )
    if strategy is not None and config.dtype_policy == "mixed_float16":
        raise ConfigError(f"strategy {strategy} takes dtype_policy float32 or mixed_bfloat16, not mixed_float16")


def _caches_features(config):
    return config.finetune in transfer.TRAINED_LAYERS and config.cached_views > 0


def _begin(config, manifest, shards_dir, workdir, max_bad_fraction):
    """A new run, or the one in the folder where its last checkpoint left it."""
    card = ModelCard(config.model, manifest.classes, config.clip, manifest.spec, config.loss)
    shards = _shards_hash(shards_dir)
    worker = processes.worker()
    processes.check_the_same("flags and shards", json.dumps([to_json(config), shards]))
    checkpoint = _newest_checkpoint(workdir, worker)
    if checkpoint is not None:
        there = read_description(checkpoint)
        _check_workdir(workdir, there, Description(config, card, shards, there.progress))
        if worker[0] == 0:
            set_aside_damaged(workdir)
    keras.utils.set_random_seed(config.seed)
    model = build_untrained(config, len(card.classes))
    if checkpoint is None and config.finetune != "scratch":
        taken, new = transfer.take_weights(model, card, config)
        logger.info("weights from %s: %s; new: %s", config.init_from, ", ".join(taken), ", ".join(new) or "none")
    transfer.freeze(model, config.finetune)
    frozen, trained = None, model
    if _caches_features(config):
        frozen, trained = transfer.split_model(model, config.finetune)
    compile_model(trained, config)
    if trained is not model:
        model.compile(trained.optimizer)  # so that its checkpoints hold the optimiser's state
    run = _TrainingRun(
        config,
        card,
        manifest,
        to_path(shards_dir),
        shards,
        to_path(workdir),
        max_bad_fraction,
        model,
        frozen,
        trained,
        _steps_per_epoch(manifest, config, worker),
        Progress(),
        worker=worker,
    )
    if checkpoint is not None:
        load_weights(checkpoint, model)
        run.progress = there.progress
        run.metrics = load_states(checkpoint, model)
        if run.writes:
            remove_superseded(workdir, checkpoint.name)  # which a kill may have prevented
    elif config.model == FEATURE_HISTOGRAMS:
        _learn_codebooks(run)
    elif config.finetune == "scratch":
        _initialize(run)
    return run


def _newest_checkpoint(workdir, worker):
    """The newest checkpoint, or None; all processes begin with the one that the first of them finds."""
    number, count = worker
    found = find_checkpoint(workdir, best=False) if number == 0 and has_checkpoints(workdir) else None
    if count == 1:
        return found
    name = processes.text_of_first(found.name if found else "")
    if not name:
        return None
    path = to_path(workdir) / CHECKPOINTS_DIR / name
    if processes.any_of_all(not path.exists()):
        raise ModelFileError(f"{path}: expected in all processes, which must see one folder; not all do")
    return path


def _steps_per_epoch(manifest, config, worker):
    """Steps of `global_batch_size` clips, and one of what is left if the devices of all processes can share it."""
    size = config.global_batch_size // worker[1]
    steps, left = divmod(manifest.records // worker[1], size)
    return steps + (left > 0 and left % processes.local_devices() == 0)


def _check_processes(config):
    """Refuses what several processes or devices cannot do together."""
    if keras.distribution.distribution() is None:
        return
    _, count = processes.worker()
    devices = count * processes.local_devices()
    if config.global_batch_size % devices:
        raise ConfigError(
            f"global_batch_size must be a multiple of the {devices} devices of {count} processes. "
            f"Received: {config.global_batch_size}"
        )
    if config.model == FEATURE_HISTOGRAMS:
        raise ConfigError(f"{config.model} is trained by one process, without num_processes")
    if _caches_features(config):
        raise ConfigError(f"cached_views must be 0 with num_processes. Received: {config.cached_views}")


def _initialize(run):
    """Fits a new model to the first clips that it will see, or that the first process will."""
    if run.writes:
        batches = _training_set(run, first_epoch=0)
        batches = batches.take(math.ceil(initialization.CLIPS / run.config.global_batch_size))
        clips = np.concatenate([clips for clips, _, _ in batches.as_numpy_iterator()])[: initialization.CLIPS]
    if keras.distribution.distribution() is None:
        initialization.initialize_from_clips(run.model, clips)
        return
    weights = run.model.get_weights()
    if run.writes:
        with processes.by_itself():
            alone = keras.models.clone_model(run.model)
            alone.set_weights(weights)
            initialization.initialize_from_clips(alone, clips)
            weights = alone.get_weights()
    run.model.set_weights(processes.of_first(weights))


def _learn_codebooks(run):
    from deepvideo_tf.baseline.cache import learn_codebooks
    from deepvideo_tf.baseline.classifier import set_codebooks

    set_codebooks(run.model, learn_codebooks(run.shards_dir, run.config.clip, run.config.histogram_words))


def _validation_split(shards_dir):
    return ["validation"] if manifest_path(shards_dir, "validation").exists() else []


def _shards_hash(shards_dir):
    """A hash of everything that a run is trained and judged on."""
    manifests = [read_manifest(shards_dir, split) for split in ["train", *_validation_split(shards_dir)]]
    parts = [part for manifest in manifests for part in (manifest.split, manifest.fingerprint, manifest.content_sha256)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _check_validation(manifest, shards_dir):
    """Validation shards must be judged by the same classes, and hold the same kind of clips."""
    if not _validation_split(shards_dir):
        return
    validation = read_manifest(shards_dir, "validation")
    check_classes(f"{shards_dir} (train)", manifest.classes, f"{shards_dir} (validation)", validation.classes)
    if validation.spec != manifest.spec:
        raise ShardError(f"{shards_dir}: expected validation shards with the train shards' settings, found others")


def _check_on_disk(config, shards_dir, workdir):
    """What is computed first is mapped into memory, which takes a file."""
    if config.model == FEATURE_HISTOGRAMS:
        on_disk("of feature_histograms, shards_dir", shards_dir)
    if _caches_features(config):
        on_disk("workdir, unless cached_views is 0,", workdir)


@contextlib.contextmanager
def _only_trainer(workdir):
    try:
        workdir = to_path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        lock = workdir / ".train.lock"
        with contextlib.nullcontext() if is_remote(lock) else filelock.FileLock(lock, timeout=0):  # a bucket has none
            yield
    except filelock.Timeout:
        raise ModelFileError(f"{workdir}: another process is training there") from None
    except BrokenPipeError:
        raise  # of whoever reads the progress
    except OSError as error:
        raise ModelFileError(f"{error.filename or workdir}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_workdir(workdir, there, here):
    if there.config != here.config:
        old, new = to_json(there.config), to_json(here.config)
        changed = ", ".join(f"{name}={old[name]} there, {new[name]} here" for name in new if old[name] != new[name])
        raise ModelFileError(
            f"{workdir}: holds a run with another configuration ({changed}); give another folder, and init_from to "
            "begin with its weights"
        )
    if there != here:
        raise ModelFileError(f"{workdir}: holds a run on other train or validation shards; give another folder")


def _write_config(run):
    data = {
        "config": to_json(run.config),
        "card": to_json(run.card),
        "shards_dir": str(run.shards_dir),
        "versions": {"python": platform.python_version()}
        | dict(sorted((item.name, item.version) for item in metadata.distributions())),
    }
    write_text_atomically(run.workdir / "config.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _train_all_epochs(run):
    if run.config.model == FEATURE_HISTOGRAMS:
        datasets = _histogram_datasets(run)
    else:
        datasets = _cached_datasets(run) if run.frozen else _datasets(run)
    if run.devices is not None:
        datasets = _move_to_devices(run, datasets[0]), datasets[1]
    if run.writes:
        run.tensorboard = _tensorboard(run)
    with _stopping_at_signals(run):
        _tell_step(run)
        while run.progress.epoch < run.config.num_epochs:
            _train_epoch(run, *datasets)
    if run.writes:
        run.tensorboard.close()
    if run.writes and not is_remote(run.workdir):
        shutil.rmtree(run.workdir / transfer.FEATURES_DIR, ignore_errors=True)


def _tensorboard(run):
    tensorboard = TensorBoard(
        run.workdir / "tensorboard",
        run.card,
        run.model,
        run.shards_dir,
        next(iter(_validation_split(run.shards_dir)), "train"),
        run.max_bad_fraction,
    )
    # The baseline's clips take other processes and seconds each; a model that is divided between devices answers only
    # if all processes ask it.
    if run.config.model != FEATURE_HISTOGRAMS and keras.distribution.distribution() is None:
        tensorboard.draw_pictures()
    return tensorboard


def _datasets(run):
    """The training set, as a function of epoch and first step, and the validation set or None."""
    epoch, step = run.progress.epoch, run.progress.step
    if step >= run.steps_per_epoch:  # of this epoch only the validation is left
        epoch, step = epoch + 1, 0
    training = _training_set(run, epoch, step)
    # Each pass over the dataset is the next epoch's.
    return (lambda epoch, first_step: training), _validation_set(run)


def _training_set(run, first_epoch, first_step=0):
    """Batches of clips, targets and the clips' weights."""
    config = run.config
    batches = make_dataset(
        run.shards_dir,
        "train",
        config.clip,
        batch_size=config.global_batch_size // run.worker[1],
        worker=run.worker,
        training=True,
        seed=config.seed,
        first_epoch=first_epoch,
        first_step=first_step,
        max_bad_fraction=run.max_bad_fraction,
        **_augmentation(config),
    )
    class_weights = run.class_weights  # read here, outside of the graph

    def with_weights(clips, targets):
        return clips, targets, clip_weights(targets, class_weights)

    return batches.map(with_weights)


def _augmentation(config):
    return {
        "colour_jitter": config.colour_jitter,
        "time_jitter": config.time_jitter,
        "mixup_alpha": config.mixup_alpha,
        "multi_label": config.loss == "sigmoid",
    }


def _move_to_devices(run, training):
    """Builds the model where a strategy wants it; the training set as that takes it."""
    config = run.config

    def build():
        model = build_untrained(config, len(run.card.classes))
        transfer.freeze(model, config.finetune)
        return model

    if isinstance(run.devices, Mirrored):
        run.devices.prepare(build, run.model, config)
        return training
    run.devices.prepare(build, run.model, run.manifest, config, _augmentation(config), run.class_weights)
    folder = run.shards_dir if is_remote(run.shards_dir) else os.path.abspath(run.shards_dir)
    places = TrainingPlaces(folder, "train", seed=config.seed, max_bad_fraction=run.max_bad_fraction)
    return lambda epoch, first_step: places.batches(epoch, first_step, config.global_batch_size)


def _class_weights(run):
    """How much a clip of each class counts, `[class]`; 1 on average over the clips."""
    if run.config.class_weights == "none":
        return np.ones(len(run.card.classes))
    counts = clips_by_class(run.shards_dir, "train", max_bad_fraction=run.max_bad_fraction)
    present = counts > 0
    return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)


def _validation_set(run):
    """Batches of clips and targets; None where there are no validation shards."""
    for split in _validation_split(run.shards_dir):
        size = run.config.global_batch_size // run.worker[1]
        batches = make_dataset(
            run.shards_dir,
            split,
            run.config.clip,
            batch_size=size,
            worker=run.worker,
            multi_label=run.config.loss == "sigmoid",
            max_bad_fraction=run.max_bad_fraction,
        )
        if keras.distribution.distribution() is None:
            return batches
        return processes.padded(batches, size, _padded_steps(run))
    return None


def _padded_steps(run):
    """Steps of a validation in which all processes have as many batches as the one with most clips."""
    count = run.worker[1]
    manifest = read_manifest(run.shards_dir, "validation")
    most = max(sum(shard["records"] for shard in manifest.shards[number::count]) for number in range(count))
    return math.ceil(most / (run.config.global_batch_size // count))


def _validation_scale(run):
    """What undoes that clips of padding, which have neither loss nor hits, are counted in the means."""
    if keras.distribution.distribution() is None:
        return 1.0
    records = read_manifest(run.shards_dir, "validation").records
    return _padded_steps(run) * run.config.global_batch_size / records


def _cached_datasets(run):
    """As `_datasets`, of features that are computed first."""
    config, validation = run.config, _validation_set(run)
    identity = transfer.features_identity(run.frozen, json.dumps(to_json(config)), run.shards)
    folder = run.workdir / transfer.FEATURES_DIR / identity

    def table(name, batches, rows):
        logger.info("features of %d clips: %s", rows, name)
        return transfer.compute_features(folder / f"{name}.npy", run.frozen, batches, rows, len(run.card.classes))

    tables = []
    for view in range(min(config.cached_views, config.num_epochs)):
        batches = _training_set(run, view).take(run.steps_per_epoch)
        tables.append(table(f"train-{view}", batches, run.manifest.records))

    def training(epoch, first_step):
        order = _cached_order(run, epoch)
        return transfer.FeatureBatches(tables[epoch % len(tables)], config.global_batch_size, order, first_step)

    if validation is not None:
        rows = read_manifest(run.shards_dir, "validation").records
        unweighted = validation.map(lambda clips, targets: (clips, targets, tf.ones(tf.shape(clips)[0])))
        cached = table("validation", unweighted, rows)
        validation = transfer.FeatureBatches(cached, config.global_batch_size, np.arange(rows))
    return training, validation


def _histogram_datasets(run):
    """As `_datasets`, of histograms that are computed first; each clip is seen in another view each epoch."""
    from deepvideo_tf.baseline.cache import VectorBatches, clip_vectors
    from deepvideo_tf.baseline.classifier import codebooks_of

    config, codebooks = run.config, codebooks_of(run.model)

    def vectors(split, num_views):
        return clip_vectors(
            run.shards_dir, split, config.clip, codebooks, num_views, max_bad_fraction=run.max_bad_fraction
        )

    def batches(vectors, order, views, class_weights, first_step=0):
        return VectorBatches(
            vectors,
            config.global_batch_size,
            order,
            views,
            multi_label=config.loss == "sigmoid",
            class_weights=class_weights,
            first_step=first_step,
        )

    train = vectors("train", config.cached_views)

    def training(epoch, first_step):
        views = np.random.default_rng([config.seed, epoch, 1]).integers(train.num_views, size=len(train))
        return batches(train, _cached_order(run, epoch), views, run.class_weights, first_step)

    for split in _validation_split(run.shards_dir):
        judged = vectors(split, 1)
        every = np.arange(len(judged))
        return training, batches(judged, every, np.zeros_like(every), np.ones(len(run.card.classes)))
    return training, None


def _cached_order(run, epoch):
    """The order in which an epoch sees the rows of its table of features."""
    return np.random.default_rng([run.config.seed, epoch]).permutation(run.manifest.records)


def _train_epoch(run, training, validation):
    """Trains what is left of an epoch, judges it, and keeps it."""
    epoch, first_step = run.progress.epoch, run.progress.step
    if first_step < run.steps_per_epoch and run.devices is not None:
        _train_on_devices(run, training(epoch, first_step))
    elif first_step < run.steps_per_epoch:
        run.trained.fit(
            training(epoch, first_step),
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=run.steps_per_epoch - first_step,
            shuffle=False,  # the dataset shuffles
            verbose=0,
            callbacks=[_EveryStep(run)],
        )
    else:
        set_metric_states(run.trained, run.metrics)
    run.metrics = metric_states(run.trained)
    logs = {"learning_rate": _learning_rate(run, run.progress.total_steps - 1), **_metrics_of(run.trained)}
    if validation is not None:
        run.trained.evaluate(validation, verbose=0, callbacks=[_WhileJudging(run)])
        scale = _validation_scale(run)
        logs |= {f"val_{name}": scale * value for name, value in _metrics_of(run.trained).items()}
    _check_finite(run, logs)
    run.progress, is_best = after_epoch(run.progress, run.config, logs)
    if run.writes:
        _write_history(run.workdir, epoch, logs)
        run.tensorboard.write(epoch, logs)
    run.metrics = None  # the next epoch begins with none, here and after an interruption
    _save(run, is_best=is_best and validation is not None)
    if run.writes and run.on_epoch is not None:
        run.on_epoch(epoch + 1, logs)
    if _is_told_to_stop(run):
        _stop(run)


def _train_on_devices(run, batches):
    """Trains what is left of an epoch: as `fit` with `_EveryStep`, but many steps may be under way."""
    devices, progress = run.devices, run.progress
    run.saved_at_s = time.monotonic()
    run.metrics = run.metrics or [np.zeros_like(state) for state in metric_states(run.trained)]

    def count(finished):
        for loss, hits, clips in finished:
            if not math.isfinite(loss):
                raise _non_finite(run, loss)
            run.metrics = [
                state + more for state, more in zip(run.metrics, (loss * clips, clips, hits, clips), strict=True)
            ]
            run.progress = replace(run.progress, step=run.progress.step + 1, total_steps=run.progress.total_steps + 1)
            _tell_step(run)

    for ahead, batch in enumerate(batches):
        devices.schedule(
            batch, progress.epoch, progress.step + ahead, _learning_rate(run, progress.total_steps + ahead)
        )
        count(devices.finished())
        if run.told_to_stop or time.monotonic() - run.saved_at_s > run.checkpoint_s:
            count(devices.finished(all_of_them=True))
            devices.fetch_weights()
            _save(run)
        if run.told_to_stop:
            _stop(run)
    count(devices.finished(all_of_them=True))
    devices.fetch_weights()
    set_metric_states(run.trained, run.metrics)


def _tell_step(run):
    if run.writes and run.on_step is not None:
        records, size = run.manifest.records, run.config.global_batch_size
        seen = run.progress.epoch * records + min(run.progress.step * size, records)
        run.on_step(seen, run.config.num_epochs * records)


def _metrics_of(model):
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _learning_rate(run, step):
    return learning_rate_at(run.config, step, run.steps_per_epoch * run.config.num_epochs, run.progress.lowered)


def _check_finite(run, logs):
    bad = [f"{name}={value}" for name, value in logs.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"{', '.join(bad)} after step {run.progress.total_steps}: try a lower learning_rate")


def _save(run, *, is_best=False):
    if run.writes:
        save_checkpoint(run.workdir, run.model, run.metrics or [], run.description(), is_best=is_best)
    run.saved_at_s = time.monotonic()


def _is_told_to_stop(run):
    """Whether this process, or another of the run, was told to: they all stop after the same step."""
    return processes.any_of_all(run.told_to_stop)


def _stop(run):
    raise KeyboardInterrupt(
        f"interrupted; saved in {run.workdir} after step {run.progress.total_steps}: the same command goes on from it"
    )


@contextlib.contextmanager
def _stopping_at_signals(run):
    """Lets the first SIGINT or SIGTERM end the run after the step that it is in; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        if run.told_to_stop:
            raise KeyboardInterrupt
        run.told_to_stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _EveryStep(keras.callbacks.Callback):
    """Sets the learning rate, counts, watches over the loss, saves from time to time."""

    def __init__(self, run):
        super().__init__()
        self._run = run

    def on_epoch_begin(self, epoch, logs=None):
        self._run.saved_at_s = time.monotonic()
        if self._run.metrics:  # of the part of the epoch that was trained before an interruption
            set_metric_states(self.model, self._run.metrics)

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = _learning_rate(self._run, self._run.progress.total_steps)

    def on_train_batch_end(self, batch, logs=None):
        run = self._run
        if not math.isfinite(logs["loss"]):
            raise _non_finite(run, logs["loss"])
        progress = run.progress
        run.progress = replace(progress, step=progress.step + 1, total_steps=progress.total_steps + 1)
        _tell_step(run)
        is_told_to_stop = _is_told_to_stop(run)
        if is_told_to_stop or time.monotonic() - run.saved_at_s > run.checkpoint_s:
            run.metrics = metric_states(self.model)  # of Keras's callbacks, `model` has what JAX keeps elsewhere
            _save(run)
        if is_told_to_stop:
            _stop(run)


class _WhileJudging(keras.callbacks.Callback):
    """Saves and leaves when told so: the epoch's steps are done, its validation will be done again."""

    def __init__(self, run):
        super().__init__()
        self._run = run

    def on_test_batch_end(self, batch, logs=None):
        if _is_told_to_stop(self._run):
            self.model.reset_metrics()  # brings back what JAX keeps elsewhere while it judges
            _save(self._run)
            _stop(self._run)


def _non_finite(run, loss):
    """What to say of a step whose loss is not finite; the names of its clips are kept in a file."""
    epoch, step = run.progress.epoch, run.progress.step
    number, count = run.worker
    size = run.config.global_batch_size // count
    rows = range(step * size, min((step + 1) * size, run.manifest.records // count))
    if run.frozen or run.config.model == FEATURE_HISTOGRAMS:
        rows = _cached_order(run, epoch)[rows.start : rows.stop]
        epoch = epoch % min(run.config.cached_views, run.config.num_epochs) if run.frozen else None
    names = record_names(
        run.shards_dir,
        "train",
        seed=run.config.seed,
        epoch=epoch,
        rows=rows,
        worker=run.worker,
        max_bad_fraction=run.max_bad_fraction,
    )
    data = {"step": run.progress.total_steps + 1, "epoch": run.progress.epoch, "loss": str(loss), "clips": names}
    path = run.workdir / (NON_FINITE_NAME if run.writes else f"{number}-{NON_FINITE_NAME}")
    kept = "the last checkpoint is kept" if has_checkpoints(run.workdir) else "there is no checkpoint yet"
    write_text_atomically(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    shown = ", ".join(names[:NAMED_RECORDS]) + (", ..." if len(names) > NAMED_RECORDS else "")
    return TrainingError(
        f"the loss is {loss} at step {run.progress.total_steps + 1}: try a lower learning_rate, or look at the "
        f"{len(names)} clips of its batch, which {path} names ({shown}); {kept}"
    )


def _write_history(workdir, epoch, logs):
    """Adds an epoch to `history.csv`, in place of those that an interrupted process may have written after it."""
    path = workdir / "history.csv"
    # Whatever a user's spreadsheet has made of it: what is no row of ours is left out.
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows = list(csv.DictReader(io.StringIO(before)))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *logs], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for row in rows if (number := row.get("epoch") or "").isdecimal() and int(number) < epoch)
    writer.writerow({"epoch": epoch, **logs})
    write_text_atomically(path, text.getvalue())
