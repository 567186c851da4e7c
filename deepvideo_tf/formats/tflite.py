"""A run as a TFLite file, of full or reduced precision and rank."""

import hashlib
import io
import zipfile

import numpy as np

from deepvideo_tf.config import CARD_NAME, check_choice
from deepvideo_tf.errors import ConfigError, ModelFileError, first_line
from deepvideo_tf.formats.base import Format, Predictor, check_hash, check_shapes, find_file, read_card, target_file
from deepvideo_tf.storage.paths import AnyPath, PathLike
from deepvideo_tf.storage.writes import write_bytes_atomically

SUFFIX = ".tflite"
QUANTIZATIONS = ("float32", "float16", "dynamic_int8", "int8")


def export_tflite(
    workdir: PathLike,
    path: PathLike,
    *,
    quantization: str = "float32",
    dense_rank: int | None = None,
    conv_rank: int | None = None,
    shards_dir: PathLike | None = None,
) -> AnyPath:
    """Export a run as a TFLite file with built-in operators only.

    Its signature `serving_default` takes one `clip`, uint8 `[1, time, height, width, 3]`, raw pixels, and outputs
    `probabilities`, float32 `[1, class]`, whatever the precision in between. The class names (`labels.txt`) and the
    model card are appended as a zip archive, TFLite's convention for associated files:
    `unzip -p model.tflite labels.txt` shows them.

    Args:
        workdir: the run's folder.
        path: the file to write, ending in `.tflite`.
        quantization: `float32`; `float16`, weights of half the size; `dynamic_int8`, weights of a quarter, the
            activations' ranges taken from each clip; `int8`, the ranges taken from `shards_dir`. Local response
            normalization is computed in float32 in all of them.
        dense_rank: rank of the hidden dense layers' matrices (`low_rank.reduce_rank`); None leaves them unchanged.
        conv_rank: the same for the convolutions except the first.
        shards_dir: the folder of shards whose training split gives the clips that ranks and ranges are fitted to.

    Returns:
        The path.

    Raises:
        ModelFileError: the run cannot be loaded or exported, the file cannot be written or hold it, or the package
            that quantizes is missing.
        ConfigError: an argument is outside its range, or there are no shards where they are needed.
        ShardError: the shards are missing or damaged, or have other classes.
    """
    path = target_file(path, SUFFIX, "tflite_path")
    check_choice("quantization", quantization, QUANTIZATIONS)
    has_ranks = dense_rank is not None or conv_rank is not None
    needs_ranges = quantization == "int8"
    if (has_ranks or needs_ranges) and shards_dir is None:
        raise ConfigError("shards_dir must be given for int8, dense_rank and conv_rank: they are fitted to its clips")
    from deepvideo_tf.formats.card import (
        LABELS_NAME,
        card_text,
        check_size,
        exportable_run,
        labels_text,
        reported,
        with_probabilities,
    )
    from deepvideo_tf.formats.low_rank import RANK_CLIPS, reduce_rank
    from deepvideo_tf.formats.quantization import RANGE_CLIPS, calibration_clips, convert

    run = exportable_run(workdir)
    model, ranges_from = run.model, None
    if shards_dir is not None:
        if has_ranks:
            clips = calibration_clips(workdir, run.card, shards_dir, RANK_CLIPS)
            model = reduce_rank(model, clips, dense_rank=dense_rank, conv_rank=conv_rank)
        if needs_ranges:
            ranges_from = calibration_clips(workdir, run.card, shards_dir, RANGE_CLIPS)
    check_size(model, path)
    model = with_probabilities(run, model)
    about = {"format": FORMAT.title, "precision": quantization, "dense_rank": dense_rank, "conv_rank": conv_rank}
    flatbuffer = convert(model, quantization, ranges_from)
    about["flatbuffer_sha256"] = hashlib.sha256(flatbuffer).hexdigest()  # a damaged one crashes its interpreter
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in ((LABELS_NAME, labels_text(run)), (CARD_NAME, card_text(run, model, **about))):
            member = zipfile.ZipInfo(name)  # without the time: the same export has the same bytes
            member.external_attr = 0o644 << 16
            archive.writestr(member, text)
    with reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, file.getvalue())
    return path


def _load(path: AnyPath, num_threads: int) -> Predictor:
    """Load a TFLite file; all errors are ModelFileErrors."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelFileError(
            f"{path}: reading TFLite files needs the extra: pip install 'deepvideo-tf[lite]'"
        ) from None
    try:
        with zipfile.ZipFile(str(path)) as archive:
            card, about = read_card(archive.read(CARD_NAME), path)
            flatbuffer_bytes = min(member.header_offset for member in archive.infolist())
        check_hash(path, path, about["flatbuffer_sha256"], flatbuffer_bytes)
        interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
        clip, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    except (ModelFileError, PermissionError):
        raise
    except Exception as error:  # damage shows as anything
        raise ModelFileError(f"{path}: not a TFLite file of this package: {first_line(error)}") from None
    check_shapes(card, clip["shape"].tolist(), output["shape"].tolist(), path)

    def answer(clips: np.ndarray) -> np.ndarray:
        rows = []
        for one in clips:
            interpreter.set_tensor(clip["index"], np.ascontiguousarray(one[None]))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(output["index"])[0])
        return np.stack(rows)

    return Predictor(card, about, answer)


FORMAT = Format("TFLite", "a .tflite", find_file(SUFFIX), _load, export_tflite, float32_tolerance=1e-4)
