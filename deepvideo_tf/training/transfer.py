"""Starting from another run's weights, and training only some of the layers (section 4.2)."""

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deepvideo_tf.config import ModelCard, TrainConfig
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models.inflation import inflate_weights
from deepvideo_tf.models.registry import info_of
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.writes import reserve, write_text_atomically

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


def features_identity(frozen: keras.Model, *texts: str) -> str:
    """Return a name for the features of a frozen model: a hash of its weights and of all else that they depend on."""
    digest = hashlib.sha256("\n".join(texts).encode())
    for array in frozen.get_weights():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def compute_features(
    path: Path, frozen: keras.Model, batches: Iterable[Any], rows: int, num_classes: int
) -> np.ndarray:
    """Compute the features of a dataset's clips into a file, unless it exists.

    Args:
        path: the file, `.npy`.
        frozen: from clips to features.
        batches: dataset of (clips, targets, weights).
        rows: number of clips.
        num_classes: number of classes.

    Returns:
        Structured array of `rows`, read from the disk as it is used: `features`, float32, `target`, float32 `[class]`,
        and `weight`, float32.

    Raises:
        ConfigError: the disk has no room for them.
    """
    hash_path = path.with_suffix(".sha256")
    if path.exists():
        if hash_path.exists() and hash_path.read_text(encoding="utf-8") == hash_of(path):
            return np.load(path, mmap_mode="r")
        logger.warning("%s: damaged; its features are computed again", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    shape = frozen.output_shape[1:]
    row = np.dtype([("features", np.float32, shape), ("target", np.float32, (num_classes,)), ("weight", np.float32)])
    table = np.lib.format.open_memmap(unfinished, mode="w+", dtype=row, shape=(rows,))
    try:
        reserve(unfinished, unfinished.stat().st_size)  # the system kills who writes to a map without room
    except OSError as error:
        raise ConfigError(
            f"cached_views must leave room on the disk for the features of {rows} clips ({error.strerror or error}); "
            "with cached_views=0 nothing is cached"
        ) from None
    done = 0
    for clips, targets, weights in batches:
        part = slice(done, done + len(clips))
        table["features"][part] = np.asarray(frozen.predict_on_batch(clips), np.float32)
        table["target"][part] = targets
        table["weight"][part] = weights
        done = part.stop
    table.flush()
    del table
    write_text_atomically(hash_path, hash_of(unfinished))
    os.replace(unfinished, path)
    return np.load(path, mmap_mode="r")
