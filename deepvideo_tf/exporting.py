"""Trained models as SavedModels and TFLite files: raw pixels in, probabilities out, class names inside."""

import contextlib
import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import filelock
import keras
import tensorflow as tf

from deepvideo_tf.config import CARD_NAME, ModelCard, to_json
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.training.checkpoints import Run, load_run

LABELS_NAME = "labels.txt"
SOURCE_NAME = "checkpoint.txt"  # names the checkpoint that a SavedModel was made from


def export_saved_model(workdir, export_dir):
    """Exports a run as the next version of a SavedModel, published by one rename.

    The signature `serving_default` takes `clip`, uint8 `[batch, time, height, width, 3]`, raw pixels, and gives
    `probabilities`, float32 `[batch, class]`. The class names are the asset `labels.txt`; what prediction needs to know
    besides is `assets.extra/model.json`. Nothing of this package is needed to load and run it.

    Args:
        workdir: the run's folder.
        export_dir: the folder of versions, as TensorFlow Serving takes it; made if it is not there.

    Returns:
        Path of the version folder, `<export_dir>/<version>`.

    Raises:
        ModelFileError: the run cannot be loaded, or the folder not be written.
    """
    run = load_run(workdir)
    export_dir = Path(export_dir)
    unfinished = export_dir / ".unfinished"
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(export_dir / ".export.lock"):
            shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
            unfinished.mkdir()
            _write_saved_model(run, unfinished)
            latest = latest_version(export_dir)
            published = export_dir / str(int(latest.name) + 1 if latest else 1)
            os.rename(unfinished, published)
    except OSError as error:
        raise ModelFileError(f"{export_dir}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:
        raise ModelFileError(f"{export_dir}: cannot be written: {error.message}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return published


def latest_version(export_dir):
    """The version folder with the highest number, or None where there is none."""
    folders = Path(export_dir).iterdir() if Path(export_dir).is_dir() else ()
    versions = [folder for folder in folders if re.fullmatch("[0-9]+", folder.name) and folder.is_dir()]
    return max(versions, key=lambda folder: int(folder.name), default=None)


def _write_saved_model(run: Run, path):
    served = tf.Module()
    served.model = _with_probabilities(run)
    labels = path / LABELS_NAME  # the saver copies assets from a file
    labels.write_text("".join(f"{name}\n" for name in run.card.classes), encoding="utf-8")
    served.labels = tf.saved_model.Asset(str(labels))

    @tf.function(input_signature=[tf.TensorSpec([None, *served.model.input_shape[1:]], tf.uint8, name="clip")])
    def serve(clip):
        return {"probabilities": served.model(clip, training=False)}

    tf.saved_model.save(served, str(path), signatures={"serving_default": serve})
    labels.unlink()
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / CARD_NAME).write_text(_card_text(run.card), encoding="utf-8")
    (path / "assets.extra" / SOURCE_NAME).write_text(f"{run.checkpoint.name}\n", encoding="utf-8")


def exported_from(version_dir):
    """The name of the checkpoint that a SavedModel was made from, or None where it does not tell."""
    path = Path(version_dir) / "assets.extra" / SOURCE_NAME
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def export_tflite(workdir, path):
    """Exports a run as a float32 TFLite file with built-in operators only.

    It takes one clip, uint8 `[1, time, height, width, 3]`, raw pixels, and gives probabilities, float32 `[1, class]`.
    The class names (`labels.txt`) and what prediction needs to know besides (`model.json`) are appended as a zip
    archive, TFLite's convention for associated files: `unzip -p model.tflite labels.txt` shows them.

    Args:
        workdir: the run's folder.
        path: the file to write, ending in `.tflite`.

    Returns:
        The path.

    Raises:
        ModelFileError: the run cannot be loaded, or the file not be written.
        ConfigError: the path does not end in `.tflite`.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise ConfigError(f"tflite_path must end in .tflite. Received: {str(path)!r}")
    run = load_run(workdir)
    model = _with_probabilities(run)
    unfinished = path.with_name(f"unfinished-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        signature = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="uint8", name="clip")
        model.export(str(unfinished), format="litert", input_signature=[signature], verbose=False)
        with zipfile.ZipFile(unfinished, "a") as archive:
            archive.writestr(LABELS_NAME, "".join(f"{name}\n" for name in run.card.classes))
            archive.writestr(CARD_NAME, _card_text(run.card))
        os.replace(unfinished, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:  # the converter writes a SavedModel to the folder for temporary files
        raise ModelFileError(f"{path}: cannot be written: {error.message}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return path


def _with_probabilities(run: Run):
    probabilities = keras.layers.Activation(run.card.loss, name="probabilities")(run.model.output)
    return keras.Model(run.model.input, probabilities, name=run.model.name)


def _card_text(card: ModelCard):
    return json.dumps(to_json(card), indent=1, ensure_ascii=False) + "\n"
