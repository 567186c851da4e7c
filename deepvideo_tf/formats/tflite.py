"""A run as a TFLite file, of full or of less precision and rank."""

import contextlib
import hashlib
import io
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import CARD_NAME, check_choice
from deepvideo_tf.data.input.pipeline import make_dataset, naming_damage
from deepvideo_tf.data.shards.manifest import check_card, read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.card import (
    LABELS_NAME,
    card_text,
    check_exportable,
    check_size,
    labels_text,
    with_probabilities,
)
from deepvideo_tf.formats.low_rank import reduce_rank
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import write_bytes_atomically

QUANTIZATIONS = ("float32", "float16", "dynamic_int8", "int8")
RANK_CLIPS = 1024  # of the training split, for ranks; some times the ranks in use
RANGE_CLIPS = 128  # for the ranges of int8 activations
BATCH_CLIPS = 32
SIGNATURE = "serving_default"
# The square of a response needs more than 256 values, and a reciprocal square root in int8 is slow everywhere.
NORMALISATION = r".*norm\d.*"


def export_tflite(workdir, path, *, quantization="float32", dense_rank=None, conv_rank=None, shards_dir=None):
    """Exports a run as a TFLite file with built-in operators only.

    Its signature `serving_default` takes one `clip`, uint8 `[1, time, height, width, 3]`, raw pixels, and gives
    `probabilities`, float32 `[1, class]`, whatever happens between them. The class names (`labels.txt`) and the model
    card are appended as a zip archive, TFLite's convention for associated files: `unzip -p model.tflite labels.txt`
    shows them.

    Args:
        workdir: the run's folder.
        path: the file to write, ending in `.tflite`.
        quantization: `float32`; `float16`, weights of half the size; `dynamic_int8`, weights of a quarter, the
            activations' ranges taken from each clip; `int8`, the ranges taken from `shards_dir`. The normalisation is
            calculated in float32 in all of them.
        dense_rank: rank of the hidden dense layers' matrices (`low_rank.reduce_rank`); None leaves them as they are.
        conv_rank: the same for the convolutions but the first.
        shards_dir: the folder of shards whose training split gives the clips that ranks and ranges are taken from.

    Returns:
        The path.

    Raises:
        ModelFileError: the run cannot be loaded or exported, the file not be written or hold it, or the package that
            quantises is missing.
        ConfigError: an argument is outside its range, or there are no shards where they are needed.
        ShardError: the shards are missing or damaged, or have other classes.
    """
    path = to_path(path)
    if path.suffix != ".tflite":
        raise ConfigError(f"tflite_path must end in .tflite. Received: {str(path)!r}")
    check_choice("quantization", quantization, QUANTIZATIONS)
    has_ranks = dense_rank is not None or conv_rank is not None
    if (has_ranks or quantization == "int8") and shards_dir is None:
        raise ConfigError("shards_dir must be given for int8, dense_rank and conv_rank: they are fitted to its clips")
    run = load_run(workdir)
    check_exportable(run)
    model = run.model
    if has_ranks:
        clips = _calibration_clips(workdir, run.card, shards_dir, RANK_CLIPS)
        model = reduce_rank(model, clips, dense_rank=dense_rank, conv_rank=conv_rank)
    clips = _calibration_clips(workdir, run.card, shards_dir, RANGE_CLIPS) if quantization == "int8" else None
    check_size(model, path)
    model = with_probabilities(run, model)
    about = {"format": "TFLite", "precision": quantization, "dense_rank": dense_rank, "conv_rank": conv_rank}
    flatbuffer = convert(model, quantization, clips)
    about["flatbuffer_sha256"] = hashlib.sha256(flatbuffer).hexdigest()  # a damaged one crashes its interpreter
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in ((LABELS_NAME, labels_text(run)), (CARD_NAME, card_text(run, model, **about))):
            member = zipfile.ZipInfo(name)  # without the time: the same export has the same bytes
            member.external_attr = 0o644 << 16
            archive.writestr(member, text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, file.getvalue())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def convert(model, quantization="float32", clips=None):
    """Converts a model to TFLite's format.

    Args:
        model: a `keras.Model` from `clip` to `probabilities` (`card.with_probabilities`).
        quantization: one of `QUANTIZATIONS`.
        clips: for `int8`, uint8 `[clip, time, height, width, 3]` to take the activations' ranges from.

    Returns:
        Bytes of a flatbuffer.

    Raises:
        ModelFileError: the temporary folder cannot be written to, or the package that quantises is missing.
    """
    signature = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="uint8", name="clip")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        try:
            model.export(str(path), format="litert", input_signature=[signature], verbose=False)
            flatbuffer = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"{folder}: cannot be written: {error.strerror}") from None
        except tf.errors.OpError as error:
            raise ModelFileError(f"{folder}: cannot be written: {error.message}") from None
    return flatbuffer if quantization == "float32" else _quantized(flatbuffer, quantization, clips)


def _quantized(flatbuffer, quantization, clips):
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
    in_float = [(NORMALISATION, every)]
    if quantization == "int8":
        # A probability in 256 steps cannot tell 0.999 from 0.996, and the file's output would no longer be float32.
        operations = qtyping.TFLOperationName
        in_float += [(".*", operations.SOFTMAX), (".*", operations.LOGISTIC), (".*", operations.OUTPUT)]
    for name, operation in in_float:
        editor.update_quantization_recipe(name, operation, algorithm_key=algorithms.NO_QUANTIZE)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
        ranges = _ranges(flatbuffer, clips) if quantization == "int8" else None
        return bytes(editor.quantize(ranges, enable_progress_report=False).quantized_model)


def _ranges(flatbuffer, clips):
    """By tensor, its least and greatest value over all clips.

    The quantiser's own `calibrate` keeps a moving average instead, which stays near the first clip's range and cuts
    the others' off.
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


def _calibration_clips(workdir, card, shards_dir, count):
    """Clips as training sees them, uint8 `[clip, time, height, width, 3]`, at most `count` of them."""
    check_card(workdir, card, shards_dir, read_manifest(shards_dir, "train"))
    batches = make_dataset(shards_dir, "train", card.clip, batch_size=BATCH_CLIPS, training=True)
    steps = min(-(-count // BATCH_CLIPS), int(batches.cardinality()))
    with naming_damage(shards_dir, "train"):
        return np.concatenate([clips for clips, _ in batches.take(steps).as_numpy_iterator()])
