"""Trained models ready to predict, whatever their format.

TFLite and ONNX files need neither TensorFlow nor Keras.
"""

import importlib
import os
from collections.abc import Iterator

import numpy as np

from deepvideo_tf.config import ModelCard, check_int
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats import FORMATS
from deepvideo_tf.formats.base import Format, Predictor
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def load_predictor(model_path: PathLike, *, num_threads: int | None = None) -> Predictor:
    """Load a trained model in any of its formats.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), a `.tflite` or an `.onnx`
            file.
        num_threads: threads that a TFLite or ONNX file uses; None for one per core. TensorFlow's threads, which runs
            and SavedModels use, belong to the whole process (`tf.config.threading`).

    Returns:
        `Predictor`.

    Raises:
        ModelFileError: it is none of these, is damaged, or the package that reads it is not installed.
        ConfigError: `num_threads` is not an integer above 0.
    """
    if num_threads is not None:
        check_int("num_threads", num_threads, 1)
    try:
        kind, path = find_model(model_path)
        loaded = kind.load(path, num_threads or os.cpu_count() or 1)
    except OSError as error:  # files that may not be read, names that are too long
        raise ModelFileError(f"{model_path}: cannot be read: {error.strerror or first_line(error)}") from None
    card, answer = loaded.card, loaded.probabilities
    return Predictor(card, loaded.about, lambda clips: answer(_checked_clips(clips, card)))


def find_model(model_path: PathLike) -> tuple[Format, AnyPath]:
    """Find out which format a path holds a model of, without loading it.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), a `.tflite` or an `.onnx`
            file.

    Returns:
        `Format`, and the path of the file or folder to load.

    Raises:
        ModelFileError: it is none of these.
    """
    path = to_path(model_path)
    nouns = []
    for kind in _formats():
        found = kind.find(path)
        if found is not None:
            return kind, found
        nouns.append(kind.noun)
    *others, last = nouns
    raise ModelFileError(f"{model_path}: expected {', '.join(others)} or {last}, found none of them")


def _formats() -> Iterator[Format]:
    for module in FORMATS.values():
        yield importlib.import_module(module).FORMAT


def _checked_clips(clips: np.ndarray, card: ModelCard) -> np.ndarray:
    clips = np.asarray(clips)
    size_px = card.clip.crop_size_px
    shape = (card.clip.num_frames, size_px, size_px, 3)
    if clips.shape[1:] != shape or clips.dtype != np.uint8 or not len(clips):
        expected = ", ".join(map(str, ("batch", *shape)))
        raise ConfigError(f"clips must be uint8 [{expected}]. Received: {clips.dtype} {list(clips.shape)}")
    return clips
