"""What Sports-1M takes on machines like this one: core-hours, hours, bytes and cost of each step, by measurement.

  python benchmarks/sizing.py                                              5 minutes on 2 cores
  python benchmarks/sizing.py --video=typical.mp4 --cores=200 --price_per_core_hour=0.03

Measured are builds and predictions of one long video under many names, and the training and inference of the models at
the paper's size on random clips. The rest is arithmetic from the paper's numbers (section 4.1): a million videos of
5 min 36 s, 70%, 10% and 20% of them to train, validate and test; 50 million training clips, 500 million seen by a net;
20 clips of a test video in 4 views. Videos to classify are looked at as test videos are, in one view. Training and
evaluation have no hours of many cores: what machines that train together tell each other takes was not measured.

The video is made of UCF-101's, one after the other, as long as those of Sports-1M on average, 640 x 360 pixels, H.264
with a key frame every 5 seconds: a stand-in for what a video site delivers. `--video` takes one of your own. The files
are in the page cache: reading them from a disk or a network is not in the figures, their bytes are.
"""

import itertools
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from absl import app, flags

import deepvideo_tf as dv

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

_VIDEO = flags.DEFINE_string("video", None, "A typical video; by default one is made of UCF-101's.")
_VIDEO_ROOT = flags.DEFINE_string("video_root", str(DATA / "ucf101-6" / "videos"), "What it is made of.")
_VIDEOS_PER_CORE = flags.DEFINE_integer("videos_per_core", 6, "Names of the video for each core.", lower_bound=2)
_MODELS = flags.DEFINE_list("models", "single_frame,multires,slow_fusion", "Which are timed.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each side is timed.", lower_bound=1)
_CORES = flags.DEFINE_integer("cores", 100, "For the hours of each step.", lower_bound=1)
_PRICE = flags.DEFINE_float("price_per_core_hour", 0.04, "In your currency; an assumption.", lower_bound=0.0)

VIDEOS = 1_000_000
TRAIN, VALIDATION, TEST = 0.7, 0.1, 0.2
LENGTH_S, SIZE_PX, FRAME_RATE_FPS, KEY_FRAME_S = 336, (640, 360), 25, 5
TRAINING_CLIPS, SEEN_CLIPS = 50e6, 500e6
TEST_CLIPS, TEST_VIEWS = 20, 4
TRAIN_CLIPS = round(TRAINING_CLIPS / (TRAIN * VIDEOS))  # of a video
CORES_HERE = os.cpu_count()
BATCH_SIZE = 32


@dataclass(frozen=True)
class Step:
    """A line of the table: how many of what there are, how many a core does in a second, and their bytes."""

    name: str
    count: float
    unit: str
    per_core_s: float
    stored_bytes: float = 0
    is_spread: bool = False  # over many machines


def make_video(path):
    """One long video of UCF-101's short ones, in the order of their names, as often as it takes."""
    import av

    videos = itertools.cycle(sorted(Path(_VIDEO_ROOT.value).rglob("*.avi")))
    frames = itertools.chain.from_iterable(map(frames_of, videos))
    with av.open(str(path), "w") as out:
        options = {"crf": "23", "preset": "veryfast", "g": str(KEY_FRAME_S * FRAME_RATE_FPS)}
        stream = out.add_stream("libx264", rate=FRAME_RATE_FPS, options=options)
        stream.width, stream.height = SIZE_PX
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, FRAME_RATE_FPS)
        for number, frame in enumerate(itertools.islice(frames, LENGTH_S * FRAME_RATE_FPS)):
            scaled = frame.reformat(*SIZE_PX, format="yuv420p")
            scaled.pts, scaled.time_base = number, Fraction(1, FRAME_RATE_FPS)
            scaled.pict_type = av.video.frame.PictureType.NONE  # else the encoder would keep those of the short videos
            out.mux(stream.encode(scaled))
        out.mux(stream.encode())


def frames_of(video):
    import av

    with av.open(str(video)) as container:
        yield from container.decode(video=0)


def measure_builds(root):
    """Videos/s of a core, and bytes of a video's clips, for the training and for the test shards."""
    import tensorflow  # noqa: F401 - else the first build would pay for it

    annotations, rates, stored = dv.read_folder(root), {}, {}
    for _ in range(_ROUNDS.value):
        for clips in (TRAIN_CLIPS, TEST_CLIPS):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                spec = dv.ShardSpec(clips_per_video=clips)
                manifest = dv.build_shards(annotations, folder, spec=spec, num_shards=2 * CORES_HERE)
                rates.setdefault(clips, []).append(_VIDEOS_PER_CORE.value / (time.perf_counter() - start))
                stored[clips] = sum(shard["bytes"] for shard in manifest.shards) / len(annotations.videos)
    return {clips: (statistics.median(found), stored[clips]) for clips, found in rates.items()}


def measure_models():
    """By model: training and inference, clips/s of a core."""
    from deepvideo_tf.reporting.speed import TimedModel

    rates = {}
    for name in _MODELS.value:
        timed = TimedModel(name, BATCH_SIZE)
        for number in range(1 + _ROUNDS.value):
            timed.step()
            if number == 0:
                timed.forget()
        rates[name] = [rate / CORES_HERE for rate in timed.clips_per_s()]
    return rates


def measure_predictions(root, folder):
    """By model: videos/s of a core, each looked at in one view of its clips."""
    rates = {}
    videos = [video.path for video in dv.read_folder(root).videos]
    for name in _MODELS.value:
        path = untrained(name, root, folder)
        for _ in range(_ROUNDS.value):
            # The difference leaves out what a long job does once: loading the model in each worker.
            few, all_s = (seconds_to_predict(path, root, some) for some in (videos[:CORES_HERE], videos))
            rates.setdefault(name, []).append((len(videos) - CORES_HERE) / (all_s - few) / CORES_HERE)
    return {name: statistics.median(found) for name, found in rates.items()}


def seconds_to_predict(path, root, videos):
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        dv.predict_many(path, root, videos, folder, num_shards=len(videos), clips_per_video=TEST_CLIPS)
        return time.perf_counter() - start


def untrained(name, root, folder):
    """A TFLite file of the paper's size: speed does not ask what a net has learned, but two classes are not 487."""
    shards_dir, run = folder / "shards", folder / f"run-{name}"
    if not shards_dir.exists():
        dv.build_shards(dv.read_folder(root), shards_dir, spec=dv.ShardSpec(clips_per_video=1))
    config = dv.TrainConfig(model=name)
    dv.save_run(dv.build_model(name, 2, **config.model_arguments()), config, shards_dir, run)
    return dv.export_tflite(run, folder / f"{name}.tflite")


def steps_of(builds, models, predictions, source_bytes):
    """The lines of the table."""
    train, test = builds[TRAIN_CLIPS], builds[TEST_CLIPS]
    judged = VALIDATION + TEST
    yield Step("the videos themselves", VIDEOS, "videos", float("inf"), VIDEOS * source_bytes)
    yield shards_of(f"shards to train on, {TRAIN_CLIPS} clips a video", TRAIN * VIDEOS, *train)
    yield shards_of(f"shards to validate and test, {TEST_CLIPS} clips", judged * VIDEOS, *test)
    for name, (training, inference) in models.items():
        yield Step(f"training {name}", SEEN_CLIPS, "clips", training)
        yield Step(f"evaluating {name}", TEST * VIDEOS * TEST_CLIPS * TEST_VIEWS, "views", inference)
    for name, rate in predictions.items():
        yield Step(f"classifying with {name}", VIDEOS, "videos", rate, is_spread=True)


def shards_of(name, videos, per_core_s, bytes_a_video):
    return Step(name, videos, "videos", per_core_s, videos * bytes_a_video, is_spread=True)


def main(_):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        video = Path(_VIDEO.value or folder / "long.mp4")
        if not _VIDEO.value:
            make_video(video)
        for number in range(_VIDEOS_PER_CORE.value * CORES_HERE):
            name = folder / "videos" / f"class-{number % 2}" / f"{number}{video.suffix}"
            name.parent.mkdir(parents=True, exist_ok=True)
            name.symlink_to(video.resolve())
        root = folder / "videos"
        builds, models = measure_builds(root), measure_models()
        predictions = measure_predictions(root, folder)
        print_table(steps_of(builds, models, predictions, video.stat().st_size))


def print_table(steps):
    columns = ("step", "number", "a core does in a second", "core-hours", f"hours on {_CORES.value} cores", "TB")
    print(f"| {' | '.join(columns)} | at {_PRICE.value:g} a core-hour |")
    print("|---|---|---|---|---|---|---|")
    for step in steps:
        core_hours = step.count / step.per_core_s / 3600
        cells = (
            step.name,
            f"{step.count:,.0f} {step.unit}",
            f"{step.per_core_s:.3g}" if core_hours else "-",
            f"{core_hours:,.0f}" if core_hours else "-",
            f"{core_hours / _CORES.value:,.1f}" if step.is_spread else "-",
            f"{step.stored_bytes / 1e12:.1f}" if step.stored_bytes else "-",
            f"{core_hours * _PRICE.value:,.0f}" if core_hours else "-",
        )
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    app.run(main)
