"""What a SavedModel contains: its signatures, decoding of frames in the graph, model card, warm-up requests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from deepvideo_tf.config import CARD_NAME, DecodeLimits, ModelCard
from deepvideo_tf.formats.card import LABELS_NAME, card_text, labels_text, with_probabilities
from deepvideo_tf.formats.saved_model import EXTRA_ASSETS, FORMAT, GRAPH_NAME
from deepvideo_tf.models.registry import info_of
from deepvideo_tf.runs.run import Run
from deepvideo_tf.storage.files import hash_of

TOP_CLASSES = 5
WARMUP_NAME = "tf_serving_warmup_requests"  # TensorFlow Serving sends itself these before it accepts others


def write_saved_model(run: Run, path: Path, precision: str, name: str) -> None:
    """Write a SavedModel into an empty folder; `name` is what TensorFlow Serving calls it."""
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
    card = card_text(run, model, format=FORMAT.title, precision=precision, graph_sha256=graph_sha256)
    (extra / CARD_NAME).write_text(card, encoding="utf-8")
    _write_warmup(run.card, extra / WARMUP_NAME, name)


def _in_bfloat16(model: keras.Model) -> keras.Model:
    """Return the same model with weights and arithmetic of half the size, except for its logits."""
    head = info_of(model).head

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        dtype = layer.dtype_policy if layer.name == head else "bfloat16"
        return type(layer).from_config(layer.get_config() | {"dtype": dtype})

    half = keras.models.clone_model(model, clone_function=clone)
    half.set_weights(model.get_weights())
    return half


def _signatures(card: ModelCard, model: keras.Model) -> dict[str, Callable[..., Any]]:
    features = keras.Model(model.input, model.get_layer(info_of(model).features).output)
    clip = tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8, name="clip")
    frames = tf.TensorSpec([None, card.clip.num_frames], tf.string, name="frames")

    def checked(clip: tf.Tensor) -> tf.Tensor:
        # Nothing else checks requests against the signature, and clips of some other sizes would pass the layers.
        return tf.ensure_shape(clip, [None, *model.input_shape[1:]])

    def answer(clip: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = model(checked(clip), training=False)["probabilities"]
        scores, numbers = tf.math.top_k(probabilities, min(TOP_CLASSES, len(card.classes)))
        classes = tf.gather(tf.constant(card.classes), numbers)
        return {"probabilities": probabilities, "classes": classes, "scores": scores}

    def answer_encoded(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        frames = tf.ensure_shape(frames, [None, card.clip.num_frames])  # otherwise other clips would be made of them
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


def _decoded(frame: tf.Tensor, card: ModelCard) -> tf.Tensor:
    """Return the center of a JPEG file as the model takes it, uint8 `[height, width, 3]` (section 3.3)."""
    crop_px, stored_px = card.clip.crop_size_px, card.shards.frame_size_px
    # A file of a few bytes may declare a picture that fits into no memory: its size is read before it is decoded.
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
    center = square[before_px : before_px + crop_px, before_px : before_px + crop_px]
    return tf.ensure_shape(tf.cast(tf.round(center), tf.uint8), [crop_px, crop_px, 3])


def _write_warmup(card: ModelCard, path: Path, name: str) -> None:
    size_px, num_frames = card.clip.crop_size_px, card.clip.num_frames
    clip = tf.make_tensor_proto(np.full((1, num_frames, size_px, size_px, 3), 117, np.uint8))
    gray = tf.io.encode_jpeg(np.full((card.shards.frame_size_px,) * 2 + (3,), 117, np.uint8)).numpy()
    frames = tf.make_tensor_proto(np.full((1, num_frames), gray, object))
    inputs = {"serving_default": {"clip": clip}, "serve_encoded": {"frames": frames}, "features": {"clip": clip}}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, tensors in inputs.items():
            request = predict_pb2.PredictRequest(inputs=tensors)
            request.model_spec.name, request.model_spec.signature_name = name, signature
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
