"""Models as TFLite's flatbuffers, of full or reduced precision."""

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deepvideo_tf.config import ModelCard
from deepvideo_tf.data.input.pipeline import make_dataset, naming_damage
from deepvideo_tf.data.shards.manifest import check_card, read_manifest
from deepvideo_tf.errors import ModelFileError
from deepvideo_tf.formats.card import reported
from deepvideo_tf.models.registry import info_of
from deepvideo_tf.storage.paths import PathLike

RANGE_CLIPS = 128  # for the ranges of int8 activations
BATCH_CLIPS = 32
SIGNATURE = "serving_default"


def convert(model: keras.Model, quantization: str = "float32", clips: np.ndarray | None = None) -> bytes:
    """Convert a model to TFLite's format.

    Args:
        model: a `keras.Model` from `clip` to `probabilities` (`card.with_probabilities`).
        quantization: one of `tflite.QUANTIZATIONS`.
        clips: for `int8`, uint8 `[clip, time, height, width, 3]` to take the activations' ranges from.

    Returns:
        Bytes of a flatbuffer.

    Raises:
        ModelFileError: the temporary folder cannot be written to, or the package that quantizes is missing.
    """
    signature = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="uint8", name="clip")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        with reported(folder):
            model.export(str(path), format="litert", input_signature=[signature], verbose=False)
            flatbuffer = path.read_bytes()
    if quantization == "float32":
        return flatbuffer
    return quantize(flatbuffer, quantization, clips, info_of(model).float32_layers)


def quantize(
    flatbuffer: bytes, quantization: str, clips: np.ndarray | None = None, float32_layers: tuple[str, ...] = ()
) -> bytes:
    """Reduce the precision of a TFLite model.

    Args:
        flatbuffer: the model in float32.
        quantization: one of `tflite.QUANTIZATIONS`, but not `float32`.
        clips: for `int8`, uint8 `[clip, time, height, width, 3]` to take the activations' ranges from.
        float32_layers: parts of the names of layers that stay in float32.

    Returns:
        Bytes of a flatbuffer.

    Raises:
        ModelFileError: the package that quantizes is missing.
    """
    try:
        from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    except ImportError:
        raise ModelFileError(f"{quantization} needs the extra: pip install 'deepvideo-tf[quantize]'") from None
    every, algorithms = qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_manager.AlgorithmName
    editor = quantizer.Quantizer(flatbuffer)
    if quantization == "float16":
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
        )
        editor.update_quantization_recipe(".*", every, config, algorithm_key=algorithms.FLOAT_CASTING)
    elif quantization == "dynamic_int8":
        editor.add_dynamic_config(".*", every, num_bits=8)
    else:
        editor.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
    in_float = [(f".*({'|'.join(float32_layers)}).*", every)] if float32_layers else []
    if quantization == "int8":
        # A probability in 256 steps cannot tell 0.999 from 0.996, and the file's output would no longer be float32.
        operations = qtyping.TFLOperationName
        in_float += [(".*", operations.SOFTMAX), (".*", operations.LOGISTIC), (".*", operations.OUTPUT)]
    for name, operation in in_float:
        editor.update_quantization_recipe(name, operation, algorithm_key=algorithms.NO_QUANTIZE)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        ranges = None if clips is None else _ranges(flatbuffer, clips)
        return bytes(editor.quantize(ranges, enable_progress_report=False).quantized_model)


def _ranges(flatbuffer: bytes, clips: np.ndarray) -> Any:
    """Return, by tensor, its least and greatest value over all clips.

    The quantizer's own `calibrate` keeps a moving average instead, which stays near the first clip's range and clips
    the others.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    found = calibrator.Calibrator(
        flatbuffer,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    found.calibrate({SIGNATURE: [{"clip": clip[None]} for clip in clips]}, recipe_manager.RecipeManager())
    return found.get_model_qsvs()


def calibration_clips(workdir: PathLike, card: ModelCard, shards_dir: PathLike, count: int) -> np.ndarray:
    """Return at most `count` clips as training sees them, uint8 `[clip, time, height, width, 3]`."""
    check_card(workdir, card, shards_dir, read_manifest(shards_dir, "train"))
    batches = make_dataset(shards_dir, "train", card.clip, batch_size=BATCH_CLIPS, training=True)
    steps = min(-(-count // BATCH_CLIPS), int(batches.cardinality()))
    with naming_damage(shards_dir, "train"):
        return np.concatenate([clips for clips, _ in batches.take(steps).as_numpy_iterator()])
