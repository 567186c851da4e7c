"""What a second worker brings: building shards and predicting with 2 workers against 1, on this machine and with Ray.

  python benchmarks/scale.py --model_path=model.tflite                  both jobs with both engines
  python benchmarks/scale.py --model_path=RUN --engines=local

Workers do whole shards, each on one core, so that twice as many should take half the time; the goal is 1.7 times the
throughput. It needs a machine with 2 quiet cores. With Ray a cluster of 2 cores is started first and does a small job,
so that starting processes and importing TensorFlow is not measured: it costs seconds, and jobs take hours.

Each round takes every side in turn, so that a machine that slows down does so for all; medians over the rounds are
printed.
"""

import contextlib
import logging
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from absl import app, flags

import deepvideo_tf as dv

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

_MODEL_PATH = flags.DEFINE_string("model_path", None, "What predicts.", required=True)
_VIDEO_ROOT = flags.DEFINE_string("video_root", str(DATA / "ucf101-6" / "videos"), "Folder of class folders.")
_MAX_VIDEOS = flags.DEFINE_integer("max_videos", None, "Takes so many, evenly; None for all.", lower_bound=4)
_ENGINES = flags.DEFINE_list("engines", "local,ray", "Which of local, ray.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each side is timed.", lower_bound=1)

SHARDS = 16
WORKERS = (1, 2)
GOAL = 1.7


def chosen(annotations, most):
    """The annotations with at most so many of their videos, evenly spread."""
    count = min(most or len(annotations.videos), len(annotations.videos))
    return replace(
        annotations,
        videos=tuple(annotations.videos[index * len(annotations.videos) // count] for index in range(count)),
    )


def build(annotations, folder, **where):
    dv.build_shards(annotations, folder, num_shards=SHARDS, **where)


def predict(annotations, folder, **where):
    videos = [video.path for video in annotations.videos]
    dv.predict_many(_MODEL_PATH.value, annotations.video_root, videos, folder, num_shards=SHARDS, **where)


def videos_per_s(work, annotations, **where):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        work(annotations, Path(folder) / "out", **where)
        return len(annotations.videos) / (time.perf_counter() - start)


@contextlib.contextmanager
def engine_started(engine):
    """Ray is connected to once, and keeps its workers from one turn to the next."""
    if engine != "ray":
        yield
        return
    import ray

    ray.init(num_cpus=max(WORKERS), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def main(_):
    annotations = chosen(dv.read_folder(_VIDEO_ROOT.value), _MAX_VIDEOS.value)
    few = chosen(annotations, 2 * max(WORKERS))
    for engine in _ENGINES.value:
        with engine_started(engine):
            for work in (build, predict):
                measure(work, engine, annotations, few)


def measure(work, engine, annotations, few):
    speeds = {workers: [] for workers in WORKERS}
    videos_per_s(work, few, engine=engine, num_workers=max(WORKERS))
    for _ in range(_ROUNDS.value):
        for workers, found in speeds.items():
            found.append(videos_per_s(work, annotations, engine=engine, num_workers=workers))
    one, two = (statistics.median(found) for found in speeds.values())
    print(
        f"{engine:5}  {work.__name__:7}  1 worker {one:6.2f} videos/s  2 workers {two:6.2f} videos/s  "
        f"ratio {two / one:.2f} (goal {GOAL})",
        flush=True,
    )


if __name__ == "__main__":
    app.run(main)
