"""A run as a SavedModel that serves by itself: versioned folders, each published by one rename."""

import contextlib
import re
from typing import Any

import numpy as np

from deepvideo_tf.config import CARD_NAME, ModelCard, check_choice
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats import run as run_format
from deepvideo_tf.formats.base import Format, Predictor, check_hash, check_shapes, read_card
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import is_published, publish_folder, staging_folder

PRECISIONS = ("float32", "bfloat16")
GRAPH_NAME = "saved_model.pb"
EXTRA_ASSETS = "assets.extra"  # TensorFlow Serving's name for what a server may use
VERSION = re.compile("[0-9]+")


def export_saved_model(workdir: PathLike, export_dir: PathLike, *, precision: str = "float32") -> AnyPath:
    """Export a run as the next version of a SavedModel, published by one rename.

    Loading and running it needs nothing of this package. Its signatures, for batches of one clip or more:

    - `serving_default`: `clip`, uint8 `[batch, time, height, width, 3]`, raw pixels, to `probabilities`, float32
      `[batch, class]`; `classes`, string, and `scores`, float32, `[batch, 5]`: the names and the probabilities of the
      five likeliest classes, or of all where there are fewer.
    - `serve_encoded`: `frames`, string `[batch, time]`, JPEG files of 9.4 million pixels at most, to the same. The
      graph decodes them, crops the center square, scales it to the size that frames were stored in for training, and
      crops the center.
    - `features`: `clip` to `features`, float32 `[batch, unit]`, the input of the top layer's dropout: of the paper's
      tower, the second hidden dense layer, 4096 * width units.

    The class names are the asset `labels.txt`. `assets.extra` has the model card and a request for each signature with
    which TensorFlow Serving warms up.

    Args:
        workdir: the run's folder.
        export_dir: the folder of versions, as TensorFlow Serving takes it; made if it does not exist.
        precision: `float32`, or `bfloat16` for half the size; its effect on speed depends on the processor.

    Returns:
        Path of the version folder, `<export_dir>/<version>`.

    Raises:
        ModelFileError: the run cannot be loaded or exported, or the folder cannot be written.
        ConfigError: there is no such precision, or the folder is a run's.
    """
    from deepvideo_tf.formats.card import exportable_run, reported
    from deepvideo_tf.formats.signatures import write_saved_model

    check_choice("precision", precision, PRECISIONS)
    run = exportable_run(workdir)
    export_dir = to_path(export_dir)
    if run_format.find(export_dir):
        raise ConfigError(f"export_dir must be a folder for versions, not that of a run. Received: {str(export_dir)!r}")
    with reported(export_dir):
        export_dir.mkdir(parents=True, exist_ok=True)
        with locked(export_dir / ".export.lock"), staging_folder(export_dir, ".unfinished") as unfinished:
            write_saved_model(run, unfinished, precision, export_dir.name)
            latest = latest_version(export_dir)
            published = export_dir / str(int(latest.name) + 1 if latest else 1)
            publish_folder(unfinished, published, last=GRAPH_NAME)  # without its graph it is not a version
    return published


def latest_version(export_dir: PathLike) -> AnyPath | None:
    """Return the version folder with the highest number, or None if there is none."""
    return next(reversed(version_folders(export_dir)), None)


def version_folders(export_dir: PathLike) -> list[AnyPath]:
    """Return the version folders, by their numbers."""
    return [folder for folder in _numbered(to_path(export_dir)) if is_published(folder, GRAPH_NAME)]


def _numbered(export_dir: AnyPath) -> list[AnyPath]:
    folders = export_dir.iterdir() if export_dir.is_dir() else ()
    return sorted((folder for folder in folders if VERSION.fullmatch(folder.name)), key=lambda folder: int(folder.name))


def exported_from(version_dir: PathLike) -> str | None:
    """Return the name of the checkpoint that a SavedModel was made from, or None if its card does not say."""
    with contextlib.suppress(ModelFileError):
        return read_saved_model_card(version_dir)[1].get("checkpoint")
    return None


def read_saved_model_card(version_dir: PathLike) -> tuple[ModelCard, dict[str, Any]]:
    """Return the card of a version folder, and a dict of the rest of it, without loading the model."""
    path = to_path(version_dir) / EXTRA_ASSETS / CARD_NAME
    if not path.is_file():
        raise ModelFileError(
            f"{version_dir}: expected {CARD_NAME} in {EXTRA_ASSETS}, as deepvideo-export-saved-model writes it"
        )
    return read_card(path.read_bytes(), version_dir)


def _find(path: AnyPath) -> AnyPath | None:
    """Return a version folder: the path itself, or the latest one in it; None if it is neither."""
    for folder in (path, *reversed(_numbered(path))):
        if (folder / GRAPH_NAME).is_file():
            return folder
    return None


def _load(path: AnyPath, num_threads: int) -> Predictor:
    """Load a version folder. TensorFlow's threads belong to the process."""
    del num_threads
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ModelFileError(f"{path}: reading SavedModels needs TensorFlow: {first_line(error)}") from None

    card, about = read_saved_model_card(path)
    check_hash(path, path / GRAPH_NAME, about.get("graph_sha256"))
    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
        shapes = serve.structured_input_signature[1]["clip"].shape, serve.structured_outputs["probabilities"].shape
    except Exception as error:  # damage shows as anything: IndexError, KeyError, errors of TensorFlow
        raise ModelFileError(f"{path}: not a whole SavedModel: {first_line(error)}") from None
    check_shapes(card, *shapes, path)

    def answer(clips: np.ndarray) -> np.ndarray:
        loaded  # noqa: B018 - a signature does not keep its variables alive
        return serve(clip=tf.constant(clips))["probabilities"].numpy()

    return Predictor(card, about, answer)


FORMAT = Format(
    "SavedModel",
    "a SavedModel",
    _find,
    _load,
    export_saved_model,
    uses_tensorflow=True,
    float32_tolerance=1e-5,
)
