"""Training: Keras's own `compile` and `fit` over the shards, with a checkpoint after every epoch."""

import contextlib
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path

import filelock
import keras

from deepvideo_tf.config import ModelCard, TrainConfig, to_json
from deepvideo_tf.data.dataset import DEFAULT_MAX_BAD_FRACTION, check_clip, make_dataset, naming_damage
from deepvideo_tf.data.shards import check_classes, manifest_path, read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError, TrainingError
from deepvideo_tf.exporting import export_saved_model, latest_version
from deepvideo_tf.files import write_text_atomically
from deepvideo_tf.models.registry import build_model
from deepvideo_tf.training.checkpoints import (
    Description,
    checkpoint_path,
    load_weights,
    read_description,
    save_checkpoint,
)
from deepvideo_tf.training.metrics import HitAtK

MOMENTUM = 0.9  # section 3.3


def train(config: TrainConfig, shards_dir, workdir, *, max_bad_fraction=DEFAULT_MAX_BAD_FRACTION, verbose=0):
    """Trains a model on the `train` shards and ends by exporting it (section 3.3).

    Run again with the same arguments, it goes on after the last whole epoch; a finished run is left as it is. If the
    shards have a `validation` split, its loss and Hit@1 are computed after every epoch.

    Args:
        config: what the run is.
        shards_dir: the folder of shards.
        workdir: the run's folder; made if it is not there. Gets `config.json`, `history.csv`, `checkpoint.weights.h5`
            and `saved_model/<version>`.
        max_bad_fraction: the part of the stored clips that may be damaged, and are skipped with a warning.
        verbose: 0 for silence, 1 for Keras's progress bar, 2 for a line an epoch.

    Returns:
        Path of the exported SavedModel's version folder.

    Raises:
        ShardError: the shards are missing, unfinished or damaged, or the validation shards do not go with them.
        ConfigError: the shards cannot give the clips that the model needs, or have a single class.
        ModelFileError: the folder holds another run, cannot be written, or another process trains there.
        TrainingError: the loss became NaN or infinite.
    """
    manifest = read_manifest(shards_dir, "train")
    if len(manifest.classes) < 2:
        raise ConfigError(f"{shards_dir}: expected shards of 2 classes or more, found 1: {manifest.classes[0]!r}")
    check_clip(manifest, config.clip, shards_dir)
    _check_validation(manifest, shards_dir)
    card = ModelCard(config.model, manifest.classes, config.clip, manifest.spec)
    with _only_trainer(workdir), _dtype_policy(config.dtype_policy):
        _check_workdir(workdir, config, card, manifest)
        keras.utils.set_random_seed(config.seed)
        steps_per_epoch = math.ceil(manifest.records / config.global_batch_size)
        model = _compiled_model(config, card, steps_per_epoch)
        first_epoch = 0
        if checkpoint_path(workdir).exists():
            load_weights(workdir, model)
            first_epoch = int(model.optimizer.iterations) // steps_per_epoch
        if first_epoch < config.num_epochs:
            _write_config(workdir, config, card, shards_dir)
            _trim_history(workdir, first_epoch)
            with naming_damage(shards_dir, "train"):
                datasets = _datasets(config, shards_dir, first_epoch, max_bad_fraction)
                _fit(model, config, card, manifest, datasets, workdir, first_epoch, verbose)
        export_dir = Path(workdir) / "saved_model"
        is_exported = first_epoch >= config.num_epochs and latest_version(export_dir) is not None
        return latest_version(export_dir) if is_exported else export_saved_model(workdir, export_dir)


def _check_validation(manifest, shards_dir):
    """Validation shards must be judged by the same classes, and hold the same kind of clips."""
    if not manifest_path(shards_dir, "validation").exists():
        return
    validation = read_manifest(shards_dir, "validation")
    check_classes(f"{shards_dir} (train)", manifest.classes, f"{shards_dir} (validation)", validation.classes)
    if validation.spec != manifest.spec:
        raise ShardError(f"{shards_dir}: expected validation shards with the train shards' settings, found others")


@contextlib.contextmanager
def _only_trainer(workdir):
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(Path(workdir) / ".train.lock", timeout=0):
            yield
    except filelock.Timeout:
        raise ModelFileError(f"{workdir}: another process is training there") from None
    except OSError as error:
        raise ModelFileError(f"{error.filename or workdir}: cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_workdir(workdir, config, card, manifest):
    if not checkpoint_path(workdir).exists():
        return
    there = read_description(workdir)
    if there.card != card or there.shards_fingerprint != manifest.fingerprint:
        raise ModelFileError(
            f"{workdir}: holds a run of another model, other classes or other shards; give another folder"
        )
    if there.config != config:
        old, new = to_json(there.config), to_json(config)
        changed = ", ".join(f"{name}={old[name]} there, {new[name]} here" for name in new if old[name] != new[name])
        raise ModelFileError(f"{workdir}: holds a run with another configuration ({changed}); give another folder")


def _trim_history(workdir, first_epoch):
    """Takes out of `history.csv` the epochs that will be trained again: their checkpoint was never written."""
    path = Path(workdir) / "history.csv"
    if path.exists():
        header, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
        kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) < first_epoch]
        write_text_atomically(path, header + "".join(kept))


def _compiled_model(config, card, steps_per_epoch):
    model = build_model(config.model, len(card.classes), **config.model_arguments())
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps_per_epoch * config.num_epochs)
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=MOMENTUM, weight_decay=config.weight_decay)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=[HitAtK(1)])
    model.optimizer.build(model.trainable_variables)  # so that a checkpoint can fill its state
    return model


def _write_config(workdir, config, card, shards_dir):
    names = ("deepvideo-tf", "tensorflow", "keras", "numpy")
    data = {
        "config": to_json(config),
        "card": to_json(card),
        "shards_dir": str(shards_dir),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
    }
    write_text_atomically(Path(workdir) / "config.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _datasets(config, shards_dir, first_epoch, max_bad_fraction):
    """The training set, and the validation set or None."""
    batches = {
        "clip": config.clip,
        "batch_size": config.global_batch_size,
        "max_bad_fraction": max_bad_fraction,
    }
    validation = None
    if manifest_path(shards_dir, "validation").exists():
        validation = make_dataset(shards_dir, "validation", **batches)
    training = make_dataset(
        shards_dir,
        "train",
        training=True,
        seed=config.seed,
        first_epoch=first_epoch,
        colour_jitter=config.colour_jitter,
        time_jitter=config.time_jitter,
        mixup_alpha=config.mixup_alpha,
        **batches,
    )
    return training, validation


def _fit(model, config, card, manifest, datasets, workdir, first_epoch, verbose):
    training, validation = datasets
    model.fit(
        training,
        validation_data=validation,
        initial_epoch=first_epoch,
        epochs=config.num_epochs,
        shuffle=False,  # the dataset shuffles
        verbose=verbose,
        callbacks=[
            _StopAtNonFiniteLoss(),
            keras.callbacks.CSVLogger(str(Path(workdir) / "history.csv"), append=first_epoch > 0),
            _SaveCheckpoint(workdir, config, card, manifest.fingerprint),
        ],
    )


class _StopAtNonFiniteLoss(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss is {logs['loss']} at step {int(self.model.optimizer.iterations)}: try a lower learning_rate"
            )


class _SaveCheckpoint(keras.callbacks.Callback):
    def __init__(self, workdir, config, card, shards_fingerprint):
        super().__init__()
        self.workdir = workdir
        self.description = Description(config, card, shards_fingerprint)

    def on_epoch_end(self, epoch, logs=None):
        save_checkpoint(self.workdir, self.model, self.description)
