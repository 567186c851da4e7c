"""What a format is, and what the loaders of several formats share."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.config import ModelCard, from_json
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.storage.paths import AnyPath, PathLike, on_disk, to_path

Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Predictor:
    """A loaded model, whatever its format.

    Args:
        card: its classes, and how its clips are made from a video.
        about: what else its file says about it, such as `format` and `precision`.
        probabilities: from uint8 clips `[batch, time, height, width, 3]`, raw pixels, to float32 `[batch, class]`.
            Raises ConfigError if the clips have another shape or type.
    """

    card: ModelCard
    about: dict[str, Any]
    probabilities: Answer


@dataclass(frozen=True)
class Format:
    """A way to store a trained model.

    Args:
        title: its name in model cards and tables.
        noun: what a user calls a model of this format, with an article, for messages.
        find: from a path to the file or folder to load; None if the path does not hold a model of this format.
        load: from what `find` returned and a number of threads to a `Predictor`. Raises ModelFileError if the model is
            damaged or the package that reads it is missing.
        export: from a run's folder, a path and options of its own to the path of the model; None if the format is
            only loaded.
        uses_tensorflow: whether the model is run by TensorFlow, whose threads belong to the whole process.
        float32_tolerance: largest difference of a float32 model's probabilities from the run's that is rounding; None
            if there can be no difference.
    """

    title: str
    noun: str
    find: Callable[[AnyPath], AnyPath | None]
    load: Callable[[AnyPath, int], Predictor]
    export: Callable[..., AnyPath] | None = None
    uses_tensorflow: bool = False
    float32_tolerance: float | None = None


def find_file(suffix: str) -> Callable[[AnyPath], Path | None]:
    """Return the `Format.find` of models that are single files on a disk, with this ending."""

    def find(path: AnyPath) -> Path | None:
        if path.suffix != suffix or not path.is_file():
            return None
        return on_disk(f"a {suffix} file that is to be read", path)

    return find


def target_file(path: PathLike, suffix: str, argument: str) -> AnyPath:
    """Return the path of a file that is to be written; raise ConfigError unless it has this ending."""
    path = to_path(path)
    if path.suffix != suffix:
        raise ConfigError(f"{argument} must end in {suffix}. Received: {str(path)!r}")
    return path


def read_card(text: str | bytes, path: PathLike) -> tuple[ModelCard, dict[str, Any]]:
    """Return the `ModelCard` of a JSON text, and a dict of the rest; raise ModelFileError if it is none."""
    try:
        about = json.loads(text)
        return from_json(ModelCard, about.pop("model"), path), about
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: its model card cannot be read: {first_line(error)}") from None


def check_shapes(card: ModelCard, clip_shape: Sequence[Any], output_shape: Sequence[Any], path: PathLike) -> None:
    """Raise ModelFileError unless a model's input and probabilities have the shapes of its card."""
    size_px = card.clip.crop_size_px
    expected = [card.clip.num_frames, size_px, size_px, 3], [len(card.classes)]
    found = list(clip_shape[1:]), list(output_shape[1:])
    if found != expected:
        raise ModelFileError(f"{path}: its model card is of clips and classes {expected}, its model of {found}")


def check_hash(model_path: PathLike, path: PathLike, expected: str | None, count: int = -1) -> None:
    """Raise ModelFileError unless a file's first `count` bytes (-1: all) have this SHA-256: readers crash on others."""
    path = to_path(path)
    with path.open("rb") as file:
        if hashlib.sha256(file.read(count)).hexdigest() != expected:
            raise ModelFileError(f"{model_path}: {path.name} is not what the model card says: it is damaged")
