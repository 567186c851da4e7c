"""A run as an ONNX file."""

import hashlib
import tempfile
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from deepvideo_tf.config import CARD_NAME
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.card import (
    LABELS_NAME,
    card_text,
    check_exportable,
    check_size,
    labels_text,
    with_probabilities,
)
from deepvideo_tf.formats.predictors import SHA256_DIGITS
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import write_bytes_atomically


def export_onnx(workdir, path):
    """Exports a run as a float32 ONNX file.

    It takes `clip`, uint8 `[batch, time, height, width, 3]`, raw pixels, and gives `probabilities`, float32
    `[batch, class]`. The class names (`labels.txt`) and the model card are in its metadata.

    Args:
        workdir: the run's folder.
        path: the file to write, ending in `.onnx`.

    Returns:
        The path.

    Raises:
        ModelFileError: the run cannot be loaded or exported, the file not be written or hold it, or the packages that
            convert are missing.
        ConfigError: the path does not end in `.onnx`.
    """
    path = to_path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"onnx_path must end in .onnx. Received: {str(path)!r}")
    try:
        import onnx
        import tf2onnx  # noqa: F401 - Keras's exporter needs it
    except ImportError:
        raise ModelFileError("ONNX needs the extra: pip install 'deepvideo-tf[onnx]'") from None
    run = load_run(workdir)
    check_exportable(run)
    model = with_probabilities(run)
    check_size(model, path)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of Keras's exporter
            proto = _converted(onnx, model, Path(folder) / "model.onnx")
        card = card_text(run, model, format="ONNX", precision="float32")
        onnx.helper.set_model_props(proto, {LABELS_NAME: labels_text(run), CARD_NAME: card})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, _sealed(proto.SerializeToString()))
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None
    except tf.errors.OpError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.message}") from None
    return path


class _TakingWeights(keras.Model):
    """A model that takes its weights as inputs, after the clip."""

    def __init__(self, model):
        super().__init__(name=model.name)
        self._inner = (model,)  # a layer of this one would bring its weights along
        self.built = True

    def call(self, inputs):
        clip, *weights = inputs
        (model,) = self._inner
        others = [variable.value for variable in model.non_trainable_variables]
        outputs, _ = model.stateless_call(weights, others, clip, training=False)
        return outputs


def _converted(onnx, model, path):
    """The model as ONNX's protocol buffer.

    The converter copies constants again and again: 50 times the size of the weights. So it sees a model without any,
    and they are put in afterwards.
    """
    weights = {f"weight_{number}": variable for number, variable in enumerate(model.trainable_variables)}
    specs = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="uint8", name="clip")]
    specs += [keras.InputSpec(shape=weight.shape, dtype=weight.dtype, name=name) for name, weight in weights.items()]
    _TakingWeights(model).export(str(path), format="onnx", input_signature=[specs], verbose=False)
    proto = onnx.load(str(path))
    for name, weight in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(keras.ops.convert_to_numpy(weight), name))
    clip = [one for one in proto.graph.input if one.name == "clip"]
    del proto.graph.input[:]
    proto.graph.input.extend(clip)
    return proto


def _sealed(content):
    """Adds a last entry of metadata, the hash of all before it, in hexadecimal: the last bytes of the file.

    Parts of a protocol buffer's fields, put one after the other, are one such message.
    """
    import onnx

    entry = onnx.ModelProto()
    onnx.helper.set_model_props(entry, {"sha256": "0" * SHA256_DIGITS})
    before = content + entry.SerializeToString()[:-SHA256_DIGITS]
    return before + hashlib.sha256(before).hexdigest().encode()
