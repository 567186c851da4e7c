"""A run as an ONNX file."""

import hashlib
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepvideo_tf.config import CARD_NAME
from deepvideo_tf.errors import ModelFileError, first_line
from deepvideo_tf.formats.base import Format, Predictor, check_shapes, find_file, read_card, target_file
from deepvideo_tf.storage.paths import AnyPath, PathLike
from deepvideo_tf.storage.writes import write_bytes_atomically

if TYPE_CHECKING:
    import keras

SUFFIX = ".onnx"
SHA256_DIGITS = 64


def export_onnx(workdir: PathLike, path: PathLike) -> AnyPath:
    """Export a run as a float32 ONNX file.

    It takes `clip`, uint8 `[batch, time, height, width, 3]`, raw pixels, and outputs `probabilities`, float32
    `[batch, class]`. The class names (`labels.txt`) and the model card are in its metadata.

    Args:
        workdir: the run's folder.
        path: the file to write, ending in `.onnx`.

    Returns:
        The path.

    Raises:
        ModelFileError: the run cannot be loaded or exported, the file cannot be written or hold it, or the packages
            that convert are missing.
        ConfigError: the path does not end in `.onnx`.
    """
    path = target_file(path, SUFFIX, "onnx_path")
    try:
        import onnx
        import tf2onnx  # noqa: F401 - Keras's exporter needs it
    except ImportError:
        raise ModelFileError("ONNX needs the extra: pip install 'deepvideo-tf[onnx]'") from None
    from deepvideo_tf.formats.card import (
        LABELS_NAME,
        card_text,
        check_size,
        exportable_run,
        labels_text,
        reported,
        with_probabilities,
    )

    run = exportable_run(workdir)
    model = with_probabilities(run)
    check_size(model, path)
    with reported(path):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of Keras's exporter
            proto = _converted(onnx, model, Path(folder) / "model.onnx")
        card = card_text(run, model, format=FORMAT.title, precision="float32")
        onnx.helper.set_model_props(proto, {LABELS_NAME: labels_text(run), CARD_NAME: card})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, _sealed(proto.SerializeToString()))
    return path


def _converted(onnx: Any, model: "keras.Model", path: Path) -> Any:
    """Return the model as ONNX's protocol buffer.

    The converter copies constants again and again: 50 times the size of the weights. So it sees a model that takes its
    weights as inputs, after the clip, and they are added afterwards.
    """
    import keras

    class TakingWeights(keras.Model):
        def __init__(self) -> None:
            super().__init__(name=model.name)
            self.built = True

        def call(self, inputs: list) -> Any:
            clip, *weights = inputs
            others = [variable.value for variable in model.non_trainable_variables]
            outputs, _ = model.stateless_call(weights, others, clip, training=False)
            return outputs

    weights = {f"weight_{number}": variable for number, variable in enumerate(model.trainable_variables)}
    specs = [keras.InputSpec(shape=(None, *model.input_shape[1:]), dtype="uint8", name="clip")]
    specs += [keras.InputSpec(shape=weight.shape, dtype=weight.dtype, name=name) for name, weight in weights.items()]
    TakingWeights().export(str(path), format="onnx", input_signature=[specs], verbose=False)
    proto = onnx.load(str(path))
    for name, weight in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(keras.ops.convert_to_numpy(weight), name))
    clip = [one for one in proto.graph.input if one.name == "clip"]
    del proto.graph.input[:]
    proto.graph.input.extend(clip)
    return proto


def _sealed(content: bytes) -> bytes:
    """Add a last entry of metadata, the hash of everything before it, in hexadecimal: the last bytes of the file.

    The fields of a protocol buffer, written one after the other in several parts, are one message.
    """
    import onnx

    entry = onnx.ModelProto()
    onnx.helper.set_model_props(entry, {"sha256": "0" * SHA256_DIGITS})
    before = content + entry.SerializeToString()[:-SHA256_DIGITS]
    return before + hashlib.sha256(before).hexdigest().encode()


def _load(path: AnyPath, num_threads: int) -> Predictor:
    """Load an ONNX file; all errors are ModelFileErrors."""
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
    options.log_severity_level = 4  # errors are raised as well
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        card, about = read_card(session.get_modelmeta().custom_metadata_map[CARD_NAME], path)
        (clip,), (output,) = session.get_inputs(), session.get_outputs()
    except ModelFileError:
        raise
    except Exception as error:  # damage shows as anything
        raise ModelFileError(f"{path}: not an ONNX file of this package: {first_line(error)}") from None
    check_shapes(card, clip.shape, output.shape, path)
    return Predictor(card, about, lambda clips: session.run([output.name], {clip.name: clips})[0])


FORMAT = Format("ONNX", "an .onnx file", find_file(SUFFIX), _load, export_onnx, float32_tolerance=1e-4)
