"""How fast exported models answer for one clip, side by side: the full-frame net as it is against the foveated ones.

  python benchmarks/export_speed.py --shards_dir=SHARDS SINGLE_FRAME_SAVED_MODEL FOVEATED.tflite ...
  python benchmarks/export_speed.py --shards_dir=SHARDS --stream=a0_int8.tflite SAVED_MODEL FOVEATED.tflite ...

The first model is the one that the others are compared with. Batch 1. Each round makes some calls of every side in
turn, so that a machine that slows down does so for all; the first calls of a turn warm its caches and are not counted.
`--stream` is a network of another kind, which takes one frame a call and keeps a state, such as MoViNet-A0-Stream: at
the same rate of frames a second its time for a second of video stands beside ours. Hit@1 is that of the test split's
clips in their centre views, and of its videos, the clips averaged; other people's classes are not ours, so a stream has
none.
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.formats.predictors import find_model

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Shards with a test split.", required=True)
_STREAM = flags.DEFINE_string("stream", None, "A TFLite file that takes one frame a call and keeps a state.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads of each side.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 30, "Turns of each side.", lower_bound=1)
_FRAMES_PER_S = flags.DEFINE_integer("frames_per_s", 5, "Frames looked at in a second of video.", lower_bound=1)

WARM_CALLS, CALLS = 5, 20


def answering(path, clips):
    """A function that answers for the next clip."""
    predictor = dv.load_predictor(path, num_threads=_THREADS.value)
    turn = iter(range(10**9))
    return lambda: predictor.probabilities(clips[next(turn) % len(clips)][None])


def streaming(path):
    """A function that answers for the next frame, handing the state on."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=_THREADS.value)
    runner = interpreter.get_signature_runner(next(iter(interpreter.get_signature_list())))
    inputs = {name: np.zeros(about["shape"], about["dtype"]) for name, about in runner.get_input_details().items()}
    inputs["image"] = np.random.default_rng(0).random(inputs["image"].shape, np.float32)

    def answer():
        outputs = runner(**inputs)
        inputs.update({name: value for name, value in outputs.items() if name in inputs})
        return outputs["logits"]

    return answer


def measure(answers):
    """By side, the milliseconds of each counted call."""
    times_ms = {name: [] for name in answers}
    for _ in range(_ROUNDS.value):
        for name, answer in answers.items():
            for call in range(WARM_CALLS + CALLS):
                start = time.perf_counter()
                answer()
                if call >= WARM_CALLS:
                    times_ms[name].append((time.perf_counter() - start) * 1e3)
    return times_ms


def test_clips(path):
    """The clips that a model takes of the test split, the numbers of their classes, and their videos."""
    clip = dv.load_predictor(path).card.clip
    batches = list(make_evaluation_dataset(_SHARDS_DIR.value, "test", clip, num_views=1).as_numpy_iterator())
    views, targets, videos = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    return views[:, 0], targets.argmax(axis=1), videos


def hits_at_1(path, clips, labels, videos):
    """Hit@1 of clips and of videos."""
    predictor = dv.load_predictor(path, num_threads=_THREADS.value)
    rows = np.concatenate([predictor.probabilities(clips[start : start + 32]) for start in range(0, len(clips), 32)])
    of_videos = [
        rows[videos == video].mean(axis=0).argmax() == labels[videos == video][0] for video in np.unique(videos)
    ]
    return (rows.argmax(axis=1) == labels).mean(), np.mean(of_videos)


def size_bytes(path):
    _, path = find_model(path)
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def main(arguments):
    tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
    tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)
    paths = arguments[1:]
    if not paths:
        raise app.UsageError("expected MODEL..., found nothing")
    sets = {path: test_clips(path) for path in paths}
    answers = {path: answering(path, sets[path][0]) for path in paths}
    if _STREAM.value:
        answers[_STREAM.value] = streaming(_STREAM.value)
    times_ms = measure(answers)
    medians = {path: statistics.median(times) for path, times in times_ms.items()}
    reference, reference_bytes = medians[paths[0]], size_bytes(paths[0])
    print(f"{os.cpu_count()} cores, {_THREADS.value} threads, batch 1, {_ROUNDS.value * CALLS} calls of each side")
    print(f"{'':32}{'ms a call':>18}{'times':>8}{'ms a second':>13}{'size':>9}{'times':>8}{'Hit@1 of':>16}")
    print(
        f"{'':32}{'median':>9}{'p95':>9}{'faster':>8}{'of video':>13}{'MB':>9}{'smaller':>8}{'clips':>8}{'videos':>8}"
    )
    for path, median_ms in medians.items():
        p95_ms = float(np.percentile(times_ms[path], 95))
        size = Path(path).stat().st_size if path == _STREAM.value else size_bytes(path)
        hits = "" if path == _STREAM.value else "".join(f"{hit:8.4f}" for hit in hits_at_1(path, *sets[path]))
        print(
            f"{path[-31:]:32}{median_ms:9.2f}{p95_ms:9.2f}{reference / median_ms:8.1f}"
            f"{median_ms * _FRAMES_PER_S.value:13.1f}{size / 1e6:9.1f}{reference_bytes / size:8.1f}{hits}"
        )


if __name__ == "__main__":
    app.run(main)
