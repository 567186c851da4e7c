"""A version of a SavedModel, loaded to serve many clients at once: checked inputs, shared batches."""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from deepvideo_tf.config import ModelCard
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats.predictors import read_saved_model_card
from deepvideo_tf.formats.saved_model import EXTRA_ASSETS, WARMUP_NAME
from deepvideo_tf.storage.files import hash_of

_loaded = itertools.count()

Function = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Signature:
    """The input and outputs of a signature of a SavedModel.

    Args:
        name: its name, such as `serving_default`.
        input_name: the name of its input, `clip` or `frames`.
        dtype: `uint8` for pixels, `object` for the bytes of JPEG files.
        row_shape: the shape of the input without the batch.
        outputs: by the name of an output, its type and its shape without the batch.
        compute_shared: from a tensor of rows to a dict of tensors; rows of several clients are computed together.
        compute_alone: the same for one client.
    """

    name: str
    input_name: str
    dtype: type
    row_shape: tuple[int, ...]
    outputs: Mapping[str, tuple[type, tuple[int, ...]]]
    compute_shared: Function
    compute_alone: Function


@dataclass(frozen=True)
class Version:
    """A loaded version of a SavedModel.

    Args:
        number: the name of its folder.
        card: its classes, and how its clips are made from a video.
        signatures: by their names.
        max_batch_clips: the most clips that are computed together, and that a request may have.
    """

    number: str
    card: ModelCard
    signatures: Mapping[str, Signature]
    max_batch_clips: int

    def signature(self, name: str) -> Signature:
        """Return a signature by its name.

        Args:
            name: as in the request, such as `serving_default`.

        Returns:
            Its `Signature`.

        Raises:
            ConfigError: there is no such signature.
        """
        if name not in self.signatures:
            raise ConfigError(f"no such signature: {name:.100}. Expected one of {', '.join(sorted(self.signatures))}")
        return self.signatures[name]

    def check(self, signature: Signature, shape: tuple[int, ...]) -> None:
        """Raise ConfigError unless the signature takes an input of this shape.

        Args:
            signature: the signature.
            shape: of the request's input, clips first.

        Raises:
            ConfigError: the shape or the number of clips is wrong.
        """
        if shape[1:] != signature.row_shape:
            expected = ", ".join(map(str, ("batch", *signature.row_shape)))
            kind = "JPEG files" if signature.dtype is object else np.dtype(signature.dtype).name
            raise ConfigError(f"{signature.input_name} must be {kind} [{expected}]. Received: {list(shape)!s:.100}")
        if not 1 <= shape[0] <= self.max_batch_clips:
            raise ConfigError(f"a request may be about 1 to {self.max_batch_clips} clips. Received: {shape[0]}")

    def predict(self, signature: Signature, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the outputs for checked rows, together with those of other clients at the same time.

        Args:
            signature: a signature of this version.
            rows: its input.

        Returns:
            Arrays by the names of the outputs.

        Raises:
            ConfigError: the model cannot read the rows, such as files that are not JPEG files.
        """
        tensor = tf.constant(rows, tf.string if signature.dtype is object else tf.uint8)
        try:
            try:
                outputs = signature.compute_shared(tensor)
            except tf.errors.InvalidArgumentError:
                outputs = signature.compute_alone(tensor)  # the bad row may be another client's
        except tf.errors.InvalidArgumentError as error:
            raise ConfigError(f"{signature.input_name}: {_reason(error)}") from None
        return {name: value.numpy() for name, value in outputs.items()}


def load_version(version_dir: str | Path, *, max_batch_clips: int, max_pending_clips: int) -> Version:
    """Load a version of a SavedModel and warm it up with the requests stored in it.

    Batches are made by TensorFlow's own batching, as in TensorFlow Serving: what arrives while a batch is computed
    makes the next one; no request waits for others.

    Args:
        version_dir: the version folder, as `export_saved_model` writes it.
        max_batch_clips: the most clips that are computed together.
        max_pending_clips: the most clips that wait or are computed.

    Returns:
        `Version`.

    Raises:
        ModelFileError: it is not a whole SavedModel of this package.
    """
    version_dir = Path(version_dir)
    card, about = read_saved_model_card(version_dir)
    try:
        if hash_of(version_dir / "saved_model.pb") != about.get("graph_sha256"):
            raise ModelFileError(f"{version_dir}: saved_model.pb is not what the model card says: it is damaged")
        loaded = tf.saved_model.load(str(version_dir))
        load_id = next(_loaded)
        signatures = {
            name: _signature(name, function, loaded, load_id, max_batch_clips, max_pending_clips)
            for name, function in loaded.signatures.items()
        }
        version = Version(version_dir.name, card, signatures, max_batch_clips)
        _warm_up(version, version_dir / EXTRA_ASSETS / WARMUP_NAME)
    except ModelFileError:
        raise
    except Exception as error:  # damage raises anything: IndexError, KeyError, errors of TensorFlow
        raise ModelFileError(f"{version_dir}: not a whole SavedModel: {first_line(error)}") from None
    return version


def _signature(
    name: str, function: Any, loaded: Any, load_id: int, max_batch_clips: int, max_pending_clips: int
) -> Signature:
    ((input_name, spec),) = function.structured_input_signature[1].items()
    outputs = function.structured_outputs
    names = sorted(outputs)
    batching = tf.nondifferentiable_batch_function(
        num_batch_threads=1,
        max_batch_size=max_batch_clips,
        batch_timeout_micros=0,
        max_enqueued_batches=max_pending_clips,
        autograph=False,
        enable_large_batch_splitting=False,
    )

    def compute(rows: tf.Tensor) -> list[tf.Tensor]:
        found = function(**{input_name: rows})
        return [found[name] for name in names]

    def compute_shared(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        # TensorFlow finds a queue by this name, and two versions must not share one.
        with tf.name_scope(f"load_{load_id}_{name}"):
            return dict(zip(names, batching(compute)(rows), strict=True))

    def compute_alone(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        loaded  # noqa: B018 - a signature does not keep its variables alive
        return function(**{input_name: rows})

    return Signature(
        name,
        input_name,
        object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype,
        tuple(spec.shape[1:]),
        {key: (outputs[key].dtype.as_numpy_dtype, tuple(outputs[key].shape[1:])) for key in names},
        tf.function(compute_shared, input_signature=[spec], autograph=False),
        compute_alone,
    )


def _warm_up(version: Version, path: Path) -> None:
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        signature = version.signature(request.model_spec.signature_name)
        rows = tf.make_ndarray(request.inputs[signature.input_name])
        for count in {1, version.max_batch_clips}:
            version.predict(signature, np.repeat(rows, count, axis=0))


def _reason(error: tf.errors.OpError) -> str:
    """Return the line of TensorFlow's message that says what is wrong, without the names of nodes."""
    text = re.sub(r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:.*?\]", "", error.message)
    asserted = re.search(r"assertion failed: \[(.*?)\]", text)
    lines = [asserted[1]] if asserted else [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "cannot be used"
