"""Trained models ready to answer, whatever their format: a run, a SavedModel, a TFLite or an ONNX file.

TFLite and ONNX files need neither TensorFlow nor Keras.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepvideo_tf.config import CARD_NAME, ModelCard, check_int, from_json
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.storage.paths import on_disk, to_path

SHA256_DIGITS = 64


@dataclass(frozen=True)
class Predictor:
    """A loaded model, whatever its format.

    Args:
        card: its classes, and how its clips are made from a video.
        about: what else its file tells of itself, as `format` and `precision`.
        probabilities: from uint8 clips `[batch, time, height, width, 3]`, raw pixels, to float32 `[batch, class]`.
            Raises ConfigError where the clips have another shape or type.
    """

    card: ModelCard
    about: dict
    probabilities: Callable[[np.ndarray], np.ndarray]


def load_predictor(model_path, *, num_threads=None):
    """Loads a trained model in any of its formats.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), a `.tflite` or an `.onnx`
            file.
        num_threads: threads that a TFLite or ONNX file uses; None for one a core. TensorFlow's threads, which runs and
            SavedModels use, belong to the whole process (`tf.config.threading`).

    Returns:
        `Predictor`.

    Raises:
        ModelFileError: it is none of these, is damaged, or the package that reads it is not installed.
        ConfigError: `num_threads` is no whole number above 0.
    """
    if num_threads is not None:
        check_int("num_threads", num_threads, 1)
    try:
        return _load(*find_model(model_path), num_threads)
    except OSError as error:  # files that may not be read, names that are too long
        raise ModelFileError(f"{model_path}: cannot be read: {error.strerror or first_line(error)}") from None


def _load(kind, path, num_threads):
    if kind in ("run", "saved_model"):
        card, about, answer = {"run": _load_run, "saved_model": _load_saved_model}[kind](path)
    else:
        load = {"tflite": _load_tflite, "onnx": _load_onnx}[kind]
        card, about, answer = load(path, num_threads or os.cpu_count())
    return Predictor(card, about, lambda clips: answer(_checked_clips(clips, card)))


def find_model(model_path):
    """Tells what kind of model a path holds, without loading it.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), a `.tflite` or an `.onnx`
            file.

    Returns:
        `tflite`, `onnx`, `run` or `saved_model`; and the path of the file or folder to load.

    Raises:
        ModelFileError: it is none of these.
    """
    path = to_path(model_path)
    if path.is_file() and path.suffix in (".tflite", ".onnx"):
        return path.suffix[1:], on_disk("a TFLite or ONNX file that is to be read", path)
    if (path / "checkpoints").is_dir():
        return "run", path
    folders = path.iterdir() if path.is_dir() else ()
    versions = [folder for folder in folders if re.fullmatch("[0-9]+", folder.name)]
    for folder in (path, *sorted(versions, key=lambda version: -int(version.name))):
        if (folder / "saved_model.pb").is_file():
            return "saved_model", folder
    raise ModelFileError(
        f"{model_path}: expected a run's folder, a SavedModel, a .tflite or an .onnx file, found none of them"
    )


def _checked_clips(clips, card):
    clips = np.asarray(clips)
    size_px = card.clip.crop_size_px
    shape = (card.clip.num_frames, size_px, size_px, 3)
    if clips.shape[1:] != shape or clips.dtype != np.uint8 or not len(clips):
        expected = ", ".join(map(str, ("batch", *shape)))
        raise ConfigError(f"clips must be uint8 [{expected}]. Received: {clips.dtype} {list(clips.shape)}")
    return clips


def read_saved_model_card(version_dir):
    """Reads the card of a SavedModel without loading it.

    Args:
        version_dir: the version folder.

    Returns:
        `ModelCard`, and a dict of what else the card says.

    Raises:
        ModelFileError: there is none, or it cannot be read.
    """
    path = to_path(version_dir) / "assets.extra" / CARD_NAME
    if not path.is_file():
        raise ModelFileError(
            f"{version_dir}: expected {CARD_NAME} in assets.extra, as deepvideo-export-saved-model writes it"
        )
    return _read_card(path.read_bytes(), version_dir)


def _read_card(text, path):
    """The `ModelCard` and the rest of the file, a dict."""
    try:
        about = json.loads(text)
        return from_json(ModelCard, about.pop("model"), path), about
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: its model card cannot be read: {first_line(error)}") from None


def _check_shapes(card, clip_shape, output_shape, path):
    """Refuses a model whose card is another's."""
    size_px = card.clip.crop_size_px
    expected = [card.clip.num_frames, size_px, size_px, 3], [len(card.classes)]
    came = list(clip_shape[1:]), list(output_shape[1:])
    if came != expected:
        raise ModelFileError(f"{path}: its model card is of clips and classes {expected}, its model of {came}")


def _load_run(path):
    try:
        from deepvideo_tf.metrics.probabilities import probabilities
        from deepvideo_tf.runs.run import load_run
    except ImportError as error:
        raise ModelFileError(f"{path}: reading runs needs TensorFlow and Keras: {first_line(error)}") from None

    run = load_run(path)
    about = {"format": "run", "precision": "float32", "checkpoint": run.checkpoint.name}
    return run.card, about, lambda clips: probabilities(run.card, run.model.predict_on_batch(run.inputs(clips)))


def _load_saved_model(path):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ModelFileError(f"{path}: reading SavedModels needs TensorFlow: {first_line(error)}") from None

    card, about = read_saved_model_card(path)
    _check_hash(path, path / "saved_model.pb", about.get("graph_sha256"))
    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
        shapes = serve.structured_input_signature[1]["clip"].shape, serve.structured_outputs["probabilities"].shape
    except Exception as error:  # damage shows itself as anything: IndexError, KeyError, errors of TensorFlow
        raise ModelFileError(f"{path}: not a whole SavedModel: {first_line(error)}") from None
    _check_shapes(card, *shapes, path)

    def answer(clips):
        loaded  # noqa: B018 - a signature does not keep its variables alive
        return serve(clip=tf.constant(clips))["probabilities"].numpy()

    return card, about, answer


def _load_tflite(path, num_threads):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelFileError(
            f"{path}: reading TFLite files needs the extra: pip install 'deepvideo-tf[lite]'"
        ) from None
    try:
        with zipfile.ZipFile(path) as archive:
            card, about = _read_card(archive.read(CARD_NAME), path)
            flatbuffer_bytes = min(member.header_offset for member in archive.infolist())
        _check_hash(path, path, about["flatbuffer_sha256"], flatbuffer_bytes)
        interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
        clip, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except (ModelFileError, PermissionError):
        raise
    except Exception as error:  # damage shows itself as anything
        raise ModelFileError(f"{path}: not a TFLite file of this package: {first_line(error)}") from None
    _check_shapes(card, clip["shape"].tolist(), output["shape"].tolist(), path)

    def answer(clips):
        rows = []
        for one in clips:
            interpreter.set_tensor(clip["index"], np.ascontiguousarray(one[None]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(output["index"])[0])
        return np.stack(rows)

    return card, about, answer


def _check_hash(model_path, path, expected, count=-1):
    """Refuses a file whose first bytes are not those that were written: what reads it may crash on others."""
    with to_path(path).open("rb") as file:
        if hashlib.sha256(file.read(count)).hexdigest() != expected:
            raise ModelFileError(f"{model_path}: {to_path(path).name} is not what the model card says: it is damaged")


def _load_onnx(path, num_threads):
    try:
        import onnxruntime
    except ImportError:
        raise ModelFileError(f"{path}: reading ONNX files needs the extra: pip install 'deepvideo-tf[onnx]'") from None
    content = path.read_bytes()
    if not content.endswith(hashlib.sha256(content[:-SHA256_DIGITS]).hexdigest().encode()):
        raise ModelFileError(
            f"{path}: not an ONNX file of this package, or a damaged one: its last bytes are not its hash"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 4  # what goes wrong is raised as well
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        card, about = _read_card(session.get_modelmeta().custom_metadata_map[CARD_NAME], path)
        (clip,), (output,) = session.get_inputs(), session.get_outputs()
    except ModelFileError:
        raise
    except Exception as error:  # damage shows itself as anything
        raise ModelFileError(f"{path}: not an ONNX file of this package: {first_line(error)}") from None
    _check_shapes(card, clip.shape, output.shape, path)
    return card, about, lambda clips: session.run([output.name], {clip.name: clips})[0]
