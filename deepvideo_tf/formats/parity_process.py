"""Measuring one model in this process: `python -m deepvideo_tf.formats.parity_process MODEL CHECKPOINT FOLDER THREADS`.

CHECKPOINT is the name of the one that the model must come from. FOLDER holds `clips.npy`, uint8
`[clip, time, height, width, 3]`, and gets `probabilities.npy` and `answer.json`.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from deepvideo_tf.errors import DeepVideoError, ModelFileError
from deepvideo_tf.formats.base import Predictor
from deepvideo_tf.formats.predictors import find_model, load_predictor

WARM_CALLS, CALLS = 10, 60
BATCH_CLIPS = 32


def measure(model: str, checkpoint: str, folder: Path, threads: int) -> None:
    """Time a model for one clip at a time, and store its probabilities for all clips.

    Args:
        model: path of a model in any format.
        checkpoint: name of the file that it must come from.
        folder: the folder of `clips.npy`.
        threads: number that the model may use.

    Raises:
        ModelFileError: the model cannot be loaded, or comes from another checkpoint.
    """
    kind, _ = find_model(model)
    if kind.uses_tensorflow:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    predictor = load_predictor(model, num_threads=threads)
    if predictor.about.get("checkpoint") != checkpoint:
        raise ModelFileError(
            f"it comes from {predictor.about.get('checkpoint')}, not from {checkpoint}: export it anew"
        )
    clips = np.load(folder / "clips.npy", mmap_mode="r")  # not read yet: it is not part of the model's memory
    latency_ms = _latency_ms(predictor, clips)
    answer = {
        "about": predictor.about,
        "latency_ms": latency_ms,
        "peak_memory_bytes": _peak_memory_bytes(),
    }
    starts = range(0, len(clips), BATCH_CLIPS)
    batches = [predictor.probabilities(np.array(clips[start : start + BATCH_CLIPS])) for start in starts]
    np.save(folder / "probabilities.npy", np.concatenate(batches))
    (folder / "answer.json").write_text(json.dumps(answer))


def _latency_ms(predictor: Predictor, clips: np.ndarray) -> dict[str, float]:
    times_ms = []
    for call in range(WARM_CALLS + CALLS):
        clip = np.array(clips[call % min(len(clips), CALLS)])[None]
        start_s = time.perf_counter()
        predictor.probabilities(clip)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    counted = times_ms[WARM_CALLS:]
    return {"median": float(np.median(counted)), "p95": float(np.percentile(counted, 95))}


def _peak_memory_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what this process was before it became Python
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    try:
        measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    except DeepVideoError as error:
        sys.exit(" ".join(str(error).split()))
