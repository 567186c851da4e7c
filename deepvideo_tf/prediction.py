"""From a video file to its classes, with a run, a SavedModel or a TFLite file alike."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepvideo_tf.config import CARD_NAME, DecodeLimits, ModelCard, from_json
from deepvideo_tf.data.decode_process import DecoderProcess
from deepvideo_tf.data.sampling import MAX_VIEWS, centred_frame_start, view_boxes
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line

BATCH_CLIPS = 32


@dataclass(frozen=True)
class Predictor:
    """A loaded model, whatever its format.

    Args:
        card: its classes, and how its clips are made from a video.
        probabilities: from uint8 clips `[batch, time, height, width, 3]` to float32 `[batch, class]`.
    """

    card: ModelCard
    probabilities: Callable[[np.ndarray], np.ndarray]


def load_predictor(model_path):
    """Loads a trained model in any of its formats.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), or a `.tflite` file.

    Returns:
        `Predictor`.

    Raises:
        ModelFileError: it is none of these, is damaged, or the package that reads it is not installed.
    """
    kind, path = find_model(model_path)
    load = {"tflite": _load_tflite, "run": _load_run, "saved_model": _load_saved_model}[kind]
    return load(path)


def find_model(model_path):
    """Tells what kind of model a path holds, without loading it.

    Args:
        model_path: a run's folder, a SavedModel (a version folder or the folder of versions), or a `.tflite` file.

    Returns:
        `tflite`, `run` or `saved_model`; and the path of the file or folder to load.

    Raises:
        ModelFileError: it is none of these.
    """
    path = Path(model_path)
    if path.is_file() and path.suffix == ".tflite":
        return "tflite", path
    if (path / "checkpoints").is_dir():
        return "run", path
    folders = path.iterdir() if path.is_dir() else ()
    versions = [folder for folder in folders if re.fullmatch("[0-9]+", folder.name)]
    for folder in (path, *sorted(versions, key=lambda version: -int(version.name))):
        if (folder / "saved_model.pb").is_file():
            return "saved_model", folder
    raise ModelFileError(f"{model_path}: expected a run's folder, a SavedModel or a .tflite file, found none of them")


def predict_video(
    predictor: Predictor, video, *, clips_per_video=None, num_views=1, limits: DecodeLimits | None = None
):
    """Classifies one video: its clips' and their views' probabilities averaged (section 4.1).

    Args:
        predictor: from `load_predictor`; or a path, which is loaded first.
        video: the video file.
        clips_per_video: clips looked at, evenly spaced; None for as many as the model was trained with.
        num_views: crops and mirrorings of each clip, 1 (the centre) to 5; the paper's tests use 4.
        limits: what decoding the video may cost; None for the defaults.

    Returns:
        Dict from class name to probability, highest first.

    Raises:
        BadVideoError: the video cannot be decoded.
        ModelFileError: the model cannot be loaded, or answers what is no probability.
        ConfigError: an argument is outside its range.
    """
    if not isinstance(predictor, Predictor):
        predictor = load_predictor(predictor)
    card = predictor.card
    if not isinstance(num_views, int) or not 1 <= num_views <= MAX_VIEWS:
        raise ConfigError(f"num_views must be a whole number from 1 to {MAX_VIEWS}. Received: {num_views!r}")
    spec = card.shards if clips_per_video is None else replace(card.shards, clips_per_video=clips_per_video)
    with DecoderProcess(limits) as decoder:
        decoded = decoder.decode(video, spec, encode=False)
    views = np.stack([view for clip in decoded for view in _views(np.stack(clip.frames), card, num_views)])
    batches = [views[start : start + BATCH_CLIPS] for start in range(0, len(views), BATCH_CLIPS)]
    mean = np.concatenate([predictor.probabilities(batch) for batch in batches]).mean(axis=0)
    if not np.isfinite(mean).all():
        raise ModelFileError(f"the model answers {mean.tolist()!s:.80} for {video}: its file is damaged")
    order = np.argsort(-mean, kind="stable")
    return {card.classes[label]: float(mean[label]) for label in order}


def _views(frames, card, num_views):
    """Views uint8 `[time, height, width, 3]` of one stored clip, the same ones as evaluation's."""
    clip = card.clip
    start = centred_frame_start(len(frames), clip.span)
    chosen = frames[start : start + clip.span : clip.frame_stride]
    size_px = clip.crop_size_px
    for top, left, mirrored in view_boxes(card.shards.frame_size_px, size_px, num_views, clip.flip):
        view = chosen[:, top : top + size_px, left : left + size_px]
        yield view[:, :, ::-1] if mirrored else view


def _read_card(text, path):
    try:
        return from_json(ModelCard, json.loads(text), path)
    except ValueError as error:
        raise ModelFileError(f"{path}: its model card cannot be read: {error}") from None


def _check_shapes(card, clip_shape, output_shape, path):
    """Refuses a model whose card is another's."""
    size_px = card.clip.crop_size_px
    expected = [card.clip.num_frames, size_px, size_px, 3], [len(card.classes)]
    came = [int(size) for size in clip_shape[1:]], [int(size) for size in output_shape[1:]]
    if came != expected:
        raise ModelFileError(f"{path}: its model card is of clips and classes {expected}, its model of {came}")


def _load_run(path):
    from deepvideo_tf.training.checkpoints import load_run
    from deepvideo_tf.training.metrics import probabilities

    run = load_run(path)
    return Predictor(run.card, lambda clips: probabilities(run.card, run.model.predict_on_batch(clips)))


def _load_saved_model(path):
    import tensorflow as tf

    card_path = path / "assets.extra" / CARD_NAME
    if not card_path.is_file():
        raise ModelFileError(f"{path}: expected {CARD_NAME} in assets.extra, as deepvideo-export-saved-model writes it")
    card = _read_card(card_path.read_text(encoding="utf-8"), path)
    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
        shapes = serve.structured_input_signature[1]["clip"].shape, serve.structured_outputs["probabilities"].shape
    except Exception as error:  # damage shows itself as anything: IndexError, KeyError, errors of TensorFlow
        raise ModelFileError(f"{path}: not a whole SavedModel: {first_line(error)}") from None
    _check_shapes(card, *shapes, path)

    def probabilities(clips):
        loaded  # noqa: B018 - a signature does not keep its variables alive
        return serve(clip=tf.constant(clips))["probabilities"].numpy()

    return Predictor(card, probabilities)


def _load_tflite(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelFileError(
            f"{path}: reading TFLite files needs the extra: pip install 'deepvideo-tf[lite]'"
        ) from None
    try:
        with zipfile.ZipFile(path) as archive:
            card = _read_card(archive.read(CARD_NAME), path)
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        clip, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except ModelFileError:
        raise
    except Exception as error:  # damage shows itself as anything
        raise ModelFileError(f"{path}: not a TFLite file of this package: {first_line(error)}") from None
    _check_shapes(card, clip["shape"], output["shape"], path)

    def probabilities(clips):
        rows = []
        for one in clips:
            interpreter.set_tensor(clip["index"], np.ascontiguousarray(one[None]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(output["index"])[0])
        return np.stack(rows)

    return Predictor(card, probabilities)
