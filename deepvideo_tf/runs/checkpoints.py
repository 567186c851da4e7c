"""A run's checkpoints: written whole or not at all, checked by hash, enough to resume at the exact step.

    RUN/checkpoints/step-00001200-5f2b9c0d1e7a4f36.weights.h5     the last three
    RUN/checkpoints/best-00000800-0a1b2c3d4e5f6071.weights.h5     the best by validation, if there is any

The name holds the number of steps and the beginning of the file's SHA-256, so that one rename publishes both.
"""

import logging
import re

import keras
import numpy as np

from deepvideo_tf.errors import ModelFileError, first_line
from deepvideo_tf.runs.state import Description, write_state
from deepvideo_tf.storage.files import cached_copy, hash_of, move
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import publish, staging_file

logger = logging.getLogger(__name__)

CHECKPOINTS_DIR = "checkpoints"
NAME = re.compile(r"(step|best)-(\d{8,})-([0-9a-f]{16})\.weights\.h5")
UNFINISHED_NAME = "unfinished.weights.h5"
KEPT = 3
HASH_DIGITS = 16


def has_checkpoints(workdir: PathLike) -> bool:
    """Return whether a folder holds checkpoints, whole or not."""
    return bool(_listed(workdir, "step") or _listed(workdir, "best"))


def _listed(workdir: PathLike, kind: str) -> list[AnyPath]:
    """Return the checkpoints of a kind, the newest first."""
    folder = to_path(workdir) / CHECKPOINTS_DIR
    files = folder.iterdir() if folder.is_dir() else ()
    found = [(int(match[2]), path) for path in files if (match := NAME.fullmatch(path.name)) and match[1] == kind]
    return [path for _, path in sorted(found, key=lambda item: item[0], reverse=True)]


def _parts(name: str) -> tuple[str, str]:
    """Return the number of steps and the hash that are in a checkpoint's name."""
    match = NAME.fullmatch(name)
    assert match is not None
    return match[2], match[3]


def _hash_of(path: AnyPath) -> str:
    return hash_of(cached_copy(path))[:HASH_DIGITS]


def save_checkpoint(
    workdir: PathLike,
    model: keras.Model,
    metrics: list[np.ndarray],
    description: Description,
    *,
    is_best: bool = False,
) -> None:
    """Write a checkpoint under a temporary name, rename it when it is whole, and remove those not kept.

    Args:
        workdir: the run's folder.
        model: with the optimizer that trains it.
        metrics: states of the running metrics (`metric_states`).
        description: of the run.
        is_best: whether to keep it as the best one, too.

    Raises:
        ModelFileError: the file cannot be written; the checkpoints before it are kept.
        TrainingError: a weight is not finite; nothing is written.
    """
    folder = to_path(workdir) / CHECKPOINTS_DIR
    try:
        folder.mkdir(exist_ok=True)
        with staging_file(folder, UNFINISHED_NAME) as local:
            write_state(local, model, metrics, description)
            ending = f"{description.progress.total_steps:08d}-{_hash_of(local)}.weights.h5"
            publish(local, *(folder / f"{kind}-{ending}" for kind in (("best", "step") if is_best else ("step",))))
        remove_superseded(workdir, f"step-{ending}")
        for path in _listed(workdir, "best")[1:] if is_best else []:
            path.unlink()
    except (OSError, RuntimeError) as error:  # HDF5 raises either for a full disk
        raise ModelFileError(f"{folder}: no checkpoint can be written: {first_line(error)}") from None


def remove_superseded(workdir: PathLike, newest: str) -> None:
    """Remove the checkpoints before the last three, and others of the newest step, as the one before its validation.

    Args:
        workdir: the run's folder.
        newest: name of a checkpoint that is known to be whole.
    """
    others = [path for path in _listed(workdir, "step") if path.name != newest]
    same_step = [path for path in others if _parts(path.name)[0] == _parts(newest)[0]]
    for path in same_step + [path for path in others if path not in same_step][KEPT - 1 :]:
        path.unlink()


def find_checkpoint(workdir: PathLike, *, best: bool) -> AnyPath:
    """Return the newest checkpoint whose content is what its name says; report damaged ones.

    Args:
        workdir: the run's folder.
        best: whether to prefer the best by validation, as for evaluation and serving, to the newest, as for resuming.
            If there is none of one kind, the other is used.

    Returns:
        The file.

    Raises:
        ModelFileError: there is none, or they are all damaged.
    """
    kinds = ("best", "step") if best else ("step", "best")
    candidates = [path for kind in kinds for path in _listed(workdir, kind)]
    if not candidates:
        raise ModelFileError(f"{workdir}: expected the folder of a trained run, found no {CHECKPOINTS_DIR} in it")
    for path in candidates:
        if _hash_of(path) == _parts(path.name)[1]:
            return path
        logger.warning("%s: damaged (its content has another hash than its name says); left for the one before", path)
    raise ModelFileError(f"{candidates[0]}: damaged, and so are all others in its folder")


def set_aside_damaged(workdir: PathLike) -> None:
    """Rename damaged checkpoints, so that they do not count among those that are kept.

    Args:
        workdir: the run's folder.
    """
    for path in _listed(workdir, "best") + _listed(workdir, "step"):
        if _hash_of(path) != _parts(path.name)[1]:
            move(path, path.with_name(f"damaged-{path.name}"))
