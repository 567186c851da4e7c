"""A run as a SavedModel that serves by itself: versioned folders, each published by one rename."""

import contextlib
import re

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from deepvideo_tf.config import CARD_NAME, DecodeLimits, check_choice
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats.card import LABELS_NAME, card_text, check_exportable, labels_text, with_probabilities
from deepvideo_tf.formats.predictors import read_saved_model_card
from deepvideo_tf.runs.run import Run, load_run
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import is_published, publish_folder, staging_folder

PRECISIONS = ("float32", "bfloat16")
TOP_CLASSES = 5
GRAPH_NAME = "saved_model.pb"
EXTRA_ASSETS = "assets.extra"  # TensorFlow Serving's name for what a server may use
WARMUP_NAME = "tf_serving_warmup_requests"  # and for the requests that it sends itself before it answers others'


def export_saved_model(workdir, export_dir, *, precision="float32"):
    """Exports a run as the next version of a SavedModel, published by one rename.

    Nothing of this package is needed to load and run it. Its signatures, for batches of one clip or more:

    - `serving_default`: `clip`, uint8 `[batch, time, height, width, 3]`, raw pixels, to `probabilities`, float32
      `[batch, class]`; `classes`, string, and `scores`, float32, `[batch, 5]`: the names and the probabilities of the
      five likeliest classes, or of all where there are fewer.
    - `serve_encoded`: `frames`, string `[batch, time]`, JPEG files of 9.4 million pixels at most, to the same. The
      graph decodes them, cuts the centre square, scales it to the size that frames were stored in for training, and
      cuts the centre.
    - `features`: `clip` to `features`, float32 `[batch, 4096 * width]`, the second hidden dense layer.

    The class names are the asset `labels.txt`. `assets.extra` has the model card and a request for each signature with
    which TensorFlow Serving warms up.

    Args:
        workdir: the run's folder.
        export_dir: the folder of versions, as TensorFlow Serving takes it; made if it is not there.
        precision: `float32`, or `bfloat16` for half the size; what that does to speed depends on the processor.

    Returns:
        Path of the version folder, `<export_dir>/<version>`.

    Raises:
        ModelFileError: the run cannot be loaded or exported, or the folder not be written.
        ConfigError: there is no such precision, or the folder is a run's.
    """
    check_choice("precision", precision, PRECISIONS)
    run = load_run(workdir)
    check_exportable(run)
    export_dir = to_path(export_dir)
    if (export_dir / "checkpoints").is_dir():
        raise ConfigError(f"export_dir must be a folder for versions, not that of a run. Received: {str(export_dir)!r}")
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        with locked(export_dir / ".export.lock"), staging_folder(export_dir, ".unfinished") as unfinished:
            _write_saved_model(run, unfinished, precision, export_dir.name)
            latest = latest_version(export_dir)
            published = export_dir / str(int(latest.name) + 1 if latest else 1)
            publish_folder(unfinished, published, last=GRAPH_NAME)  # without its graph it is not a version
    except OSError as error:
        raise ModelFileError(f"{export_dir}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:
        raise ModelFileError(f"{export_dir}: cannot be written: {first_line(error.message)}") from None
    return published


def latest_version(export_dir):
    """The version folder with the highest number, or None where there is none."""
    return next(reversed(version_folders(export_dir)), None)


def version_folders(export_dir):
    """The version folders, by their numbers."""
    export_dir = to_path(export_dir)
    folders = export_dir.iterdir() if export_dir.is_dir() else ()
    versions = [folder for folder in folders if re.fullmatch("[0-9]+", folder.name)]
    return sorted(
        (folder for folder in versions if is_published(folder, GRAPH_NAME)), key=lambda folder: int(folder.name)
    )


def exported_from(version_dir):
    """The name of the checkpoint that a SavedModel was made from, or None where it does not tell."""
    with contextlib.suppress(ModelFileError):
        return read_saved_model_card(version_dir)[1].get("checkpoint")
    return None


def _write_saved_model(run: Run, path, precision, name):
    model = with_probabilities(run, run.model if precision == "float32" else _in_bfloat16(run.model))
    served = tf.Module()
    served.model = model
    labels = path / LABELS_NAME  # the saver copies assets from a file
    labels.write_text(labels_text(run), encoding="utf-8")
    served.labels = tf.saved_model.Asset(str(labels))
    tf.saved_model.save(served, str(path), signatures=_signatures(run.card, model))
    labels.unlink()
    extra = path / EXTRA_ASSETS
    extra.mkdir()
    graph_sha256 = hash_of(path / GRAPH_NAME)  # TensorFlow checks the variables itself, this file it trusts
    card = card_text(run, model, format="SavedModel", precision=precision, graph_sha256=graph_sha256)
    (extra / CARD_NAME).write_text(card, encoding="utf-8")
    _write_warmup(run.card, extra / WARMUP_NAME, name)


def _in_bfloat16(model):
    """The same model with weights and arithmetic of half the size, but for its logits."""

    def clone(layer):
        dtype = layer.dtype_policy if layer.name == "logits" else "bfloat16"
        return type(layer).from_config(layer.get_config() | {"dtype": dtype})

    half = keras.models.clone_model(model, clone_function=clone)
    half.set_weights(model.get_weights())
    return half


def _signatures(card, model):
    features = keras.Model(model.input, model.get_layer("fc7").output)
    clip = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="clip")
    frames = tf.TensorSpec([None, card.clip.num_frames], tf.string, name="frames")

    def checked(clip):
        # Nobody else compares a request with its signature, and some of other sizes would pass through the layers.
        return tf.ensure_shape(clip, [None, *model.input_shape[1:]])

    def answer(clip):
        probabilities = model(checked(clip), training=False)["probabilities"]
        scores, numbers = tf.math.top_k(probabilities, min(TOP_CLASSES, len(card.classes)))
        classes = tf.gather(tf.constant(card.classes), numbers)
        return {"probabilities": probabilities, "classes": classes, "scores": scores}

    def answer_encoded(frames):
        frames = tf.ensure_shape(frames, [None, card.clip.num_frames])  # else other clips would be made of them
        pixels = tf.map_fn(lambda frame: _decoded(frame, card), tf.reshape(frames, [-1]), fn_output_signature=tf.uint8)
        return answer(tf.reshape(pixels, [-1, *model.input_shape[1:]]))

    return {
        "serving_default": tf.function(answer, input_signature=[clip]),
        "serve_encoded": tf.function(answer_encoded, input_signature=[frames]),
        "features": tf.function(
            lambda clip: {"features": tf.cast(features(checked(clip), training=False), tf.float32)},
            input_signature=[clip],
        ),
    }


def _decoded(frame, card):
    """The centre of a JPEG file as the model takes it, uint8 `[height, width, 3]` (section 3.3)."""
    crop_px, stored_px = card.clip.crop_size_px, card.shards.frame_size_px
    # A file of a few bytes may declare a picture that no memory holds: its size is read before it is decoded.
    height, width, _ = tf.unstack(tf.cast(tf.io.extract_jpeg_shape(frame), tf.int64))
    limit = DecodeLimits().max_frame_pixels
    message = f"a frame has more than {limit} pixels"
    with tf.control_dependencies(
        [tf.debugging.assert_less_equal(height * width, tf.constant(limit, tf.int64), message)]
    ):
        image = tf.io.decode_jpeg(frame, channels=3)
    side = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
    top, left = (tf.shape(image)[0] - side) // 2, (tf.shape(image)[1] - side) // 2
    square = tf.image.resize(image[top : top + side, left : left + side], [stored_px, stored_px], "area")
    before_px = (stored_px - crop_px) // 2
    centre = square[before_px : before_px + crop_px, before_px : before_px + crop_px]
    return tf.ensure_shape(tf.cast(tf.round(centre), tf.uint8), [crop_px, crop_px, 3])


def _write_warmup(card, path, name):
    size_px, num_frames = card.clip.crop_size_px, card.clip.num_frames
    clip = tf.make_tensor_proto(np.full((1, num_frames, size_px, size_px, 3), 117, np.uint8))
    grey = tf.io.encode_jpeg(np.full((card.shards.frame_size_px,) * 2 + (3,), 117, np.uint8)).numpy()
    frames = tf.make_tensor_proto(np.full((1, num_frames), grey, object))
    inputs = {"serving_default": {"clip": clip}, "serve_encoded": {"frames": frames}, "features": {"clip": clip}}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, tensors in inputs.items():
            request = predict_pb2.PredictRequest(inputs=tensors)
            request.model_spec.name, request.model_spec.signature_name = name, signature
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
