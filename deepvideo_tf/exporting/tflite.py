"""A run as a TFLite file."""

import contextlib
import os
import zipfile
from pathlib import Path

import keras
import tensorflow as tf

from deepvideo_tf.config import CARD_NAME
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.exporting.card import LABELS_NAME, card_text, labels_text, with_probabilities
from deepvideo_tf.training.checkpoints import load_run


def export_tflite(workdir, path):
    """Exports a run as a float32 TFLite file with built-in operators only.

    It takes one clip, uint8 `[1, time, height, width, 3]`, raw pixels, and gives probabilities, float32 `[1, class]`.
    The class names (`labels.txt`) and the model card are appended as a zip archive, TFLite's convention for associated
    files: `unzip -p model.tflite labels.txt` shows them.

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
    model = with_probabilities(run)
    unfinished = path.with_name(f"unfinished-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        signature = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="uint8", name="clip")
        model.export(str(unfinished), format="litert", input_signature=[signature], verbose=False)
        with zipfile.ZipFile(unfinished, "a") as archive:
            archive.writestr(LABELS_NAME, labels_text(run))
            archive.writestr(CARD_NAME, card_text(run, model, format="TFLite", precision="float32"))
        os.replace(unfinished, path)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:  # the converter writes a SavedModel to the folder for temporary files
        raise ModelFileError(f"{path}: cannot be written: {error.message}") from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return path
