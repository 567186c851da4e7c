"""The features of a frozen model, computed once into a file."""

import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.writes import reserve, write_text_atomically

logger = logging.getLogger(__name__)


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
