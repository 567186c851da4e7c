"""Classifies many videos, on all cores or on a cluster: a file of answers for each part of their list.

The unit of work is one such file: `predict_shard` classifies its videos and writes the file by one rename. What stands
under its final name is done; the manifest is written when all of them are.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import filelock

from deepvideo_tf.config import DecodeLimits, check_int, to_json
from deepvideo_tf.data.video.decode_process import DecoderProcess
from deepvideo_tf.errors import BadVideoError, ShardError
from deepvideo_tf.execution.engines import check_engine, run_tasks
from deepvideo_tf.formats.predictors import find_model, load_predictor
from deepvideo_tf.inference.prediction import predict_video
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.paths import on_disk
from deepvideo_tf.storage.writes import write_bytes_atomically, write_text_atomically

logger = logging.getLogger(__name__)

VERSION = 1
MANIFEST_NAME = "predictions-manifest.json"
JOB_NAME = "predictions-job.json"
LOCK_NAME = ".predictions.lock"


@dataclass(frozen=True)
class PredictionSettings:
    """How each video is classified.

    Args:
        model_path: a run's folder, a SavedModel, a `.tflite` or an `.onnx` file.
        top: classes told of each video.
        clips_per_video: clips looked at; None for as many as the model was trained with.
        num_views: crops and mirrorings of each clip, 1 to 5.
        limits: what decoding one video may cost.
    """

    model_path: str
    top: int
    clips_per_video: int | None
    num_views: int
    limits: DecodeLimits


@dataclass(frozen=True)
class PredictionTask:
    """Everything that `predict_shard` needs besides a worker, as plain data.

    Args:
        path: where the answers are written.
        video_root: the folder that the paths of videos start from.
        videos: the relative paths of this shard's videos, in order.
    """

    path: str
    video_root: str
    videos: tuple[str, ...]


class PredictionWorker:
    """A decoder process and a model, which is loaded by the first task. Use it as a context manager.

    Args:
        settings: `PredictionSettings`.
    """

    def __init__(self, settings):
        self.settings = settings
        self._decoder = DecoderProcess(settings.limits)
        self._predictor = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._decoder.close()

    def kill(self):
        """Ends the decoding of a video from another thread."""
        self._decoder.kill()

    def answer(self, path):
        """Classifies one video.

        Args:
            path: of the video.

        Returns:
            List of dicts of `class` and `probability`, the likeliest first.

        Raises:
            BadVideoError: the video cannot be decoded.
            ModelFileError: the model cannot be loaded, or answers what is no probability.
        """
        settings = self.settings
        self._predictor = self._predictor or _predictor(settings.model_path)
        probabilities = predict_video(
            self._predictor,
            path,
            clips_per_video=settings.clips_per_video,
            num_views=settings.num_views,
            decoder=self._decoder,
        )
        top = list(probabilities.items())[: settings.top]
        return [{"class": name, "probability": round(probability, 6)} for name, probability in top]


_LOADING = threading.Lock()


def _predictor(model_path):
    """A model on one thread: all workers of a process share TensorFlow's, and have a TFLite or ONNX one each."""
    if not find_model(model_path)[0].uses_tensorflow:
        return load_predictor(model_path, num_threads=1)
    with _LOADING:
        return _tensorflow_predictor(model_path)


@functools.lru_cache(maxsize=1)
def _tensorflow_predictor(model_path):
    import numpy as np
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow has started already
        tf.config.threading.set_intra_op_parallelism_threads(1)
    predictor = load_predictor(model_path)
    clip = predictor.card.clip
    # The graph is built by the first call, and by one thread.
    predictor.probabilities(np.zeros((1, clip.num_frames, clip.crop_size_px, clip.crop_size_px, 3), np.uint8))
    return predictor


def predict_shard(task: PredictionTask, worker: PredictionWorker, on_video=None):
    """Classifies the videos of one task and writes the file of answers; one that is there is left as it is.

    Args:
        task: what to make.
        worker: whose settings are those of the whole job.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        Dict of `bytes`, `sha256`, `videos` and `bad` (a list of dicts of `video` and `reason`).

    Raises:
        ModelFileError: the model cannot be loaded, or answers what is no probability.
        OSError: the file cannot be written.
    """
    result = _earlier_result(task)
    if result is not None:
        for _ in task.videos if on_video is not None else ():
            on_video()
        return result
    lines = []
    for video in task.videos:
        try:
            answer = {"classes": worker.answer(os.path.join(task.video_root, video))}
        except BadVideoError as error:
            answer = {"error": error.reason}
        lines.append(json.dumps({"video": video, **answer}) + "\n")  # ASCII: names may be no text in any encoding
        if on_video is not None:
            on_video()
    content = "".join(lines).encode()
    write_bytes_atomically(task.path, content)
    return _result(content)


def _earlier_result(task):
    """The result of a file that is there, or None where there is none of these videos."""
    try:
        content = Path(task.path).read_bytes()
        answered = tuple(json.loads(line)["video"] for line in content.splitlines())
        return _result(content) if answered == task.videos else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _result(content):
    answers = [json.loads(line) for line in content.splitlines()]
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "videos": len(answers),
        "bad": [{"video": answer["video"], "reason": answer["error"]} for answer in answers if "error" in answer],
    }


def predict_many(
    model_path,
    video_root,
    videos,
    predictions_dir,
    *,
    num_shards=64,
    top=5,
    clips_per_video=None,
    num_views=1,
    limits: DecodeLimits | None = None,
    num_workers=None,
    engine="local",
    ray_address=None,
    on_video=None,
):
    """Classifies many videos, or takes up a job that was interrupted: files that are there are not made again.

    Each worker computes on one core. A video that cannot be decoded has its reason in place of classes, and is listed.

    Args:
        model_path: a run's folder, a SavedModel, a `.tflite` or an `.onnx` file.
        video_root: the folder that the paths of videos start from.
        videos: relative paths, as from `data.annotations.read_video_paths`; cut into shards in their order.
        predictions_dir: the folder to write to; made if it is not there.
        num_shards: number of files of answers, at most one a video.
        top: classes told of each video.
        clips_per_video: clips looked at; None for as many as the model was trained with.
        num_views: crops and mirrorings of each clip, 1 to 5.
        limits: what decoding one video may cost; None for the defaults.
        num_workers: videos looked at at once; None for the number of processors, of this machine or of the cluster.
        engine: `local` for this machine, `ray` for a cluster whose nodes see the model, the videos and
            `predictions_dir`.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        on_video: called with no arguments after each video, for a progress bar; with Ray after each shard.

    Returns:
        The manifest, a dict: `videos`, their number; `bad`, dicts of `video` and `reason`; `shards`, dicts of `name`,
        `videos`, `bytes`, `sha256`; `model`, what its file tells of itself; `version`, `fingerprint`.

    Raises:
        ConfigError: an argument is outside its range, or there is no such cluster.
        ModelFileError: the model cannot be loaded.
        ShardError: the folder holds answers to something else, is not seen by a node, or another process is at work.
        OSError: the folder cannot be written.
    """
    for name, value in (("num_shards", num_shards), ("top", top), ("num_workers", num_workers or 1)):
        check_int(name, value, 1)
    check_engine(engine, ray_address)
    on_disk("model_path", model_path)
    on_disk("predictions_dir", predictions_dir)
    settings = PredictionSettings(
        os.path.abspath(model_path), top, clips_per_video, num_views, limits or DecodeLimits()
    )
    model = _identity(settings.model_path)
    tasks = _tasks(video_root, tuple(videos), predictions_dir, num_shards)
    job = {"version": VERSION, "model": model, "settings": _kept(settings), "shards": [task.videos for task in tasks]}
    fingerprint = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    folder = Path(predictions_dir)
    folder.mkdir(parents=True, exist_ok=True)
    must_see = [tasks[0].video_root, settings.model_path, *_first_present(tasks)]
    where = {"engine": engine, "num_workers": num_workers, "ray_address": ray_address, "must_see": must_see}
    try:
        with filelock.FileLock(folder / LOCK_NAME, timeout=0):
            _claim(folder, fingerprint)
            if not (folder / MANIFEST_NAME).exists():
                results = _predict_shards(tasks, settings, where, on_video)
                _finish(folder, model, fingerprint, tasks, results)
    except filelock.Timeout:
        raise ShardError(f"{folder}: another process is predicting there") from None
    return json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))


def _identity(model_path):
    """What tells one model from another, and what its file says of itself."""
    about = _predictor(model_path).about
    return about | ({"file_sha256": hash_of(model_path)} if os.path.isfile(model_path) else {})


def _kept(settings):
    """What the answers depend on; not the time limit, which a slow machine may need to be another one."""
    limits = {name: value for name, value in to_json(settings.limits).items() if name != "decode_timeout_s"}
    names = ("top", "clips_per_video", "num_views")
    return {"limits": limits, **{name: getattr(settings, name) for name in names}}


def _tasks(video_root, videos, predictions_dir, num_shards):
    num_shards = min(num_shards, len(videos))
    starts = [len(videos) * number // num_shards for number in range(num_shards + 1)]
    return [
        PredictionTask(
            path=os.path.abspath(Path(predictions_dir) / f"predictions-{number:05d}-of-{num_shards:05d}.jsonl"),
            video_root=os.path.abspath(video_root),
            videos=videos[starts[number] : starts[number + 1]],
        )
        for number in range(num_shards)
    ]


def _first_present(tasks):
    """The path of one video that is there, if it is among the first."""
    paths = (os.path.join(task.video_root, video) for task in tasks[:10] for video in task.videos[:10])
    return [path for path in paths if os.path.isfile(path)][:1]


def _claim(folder, fingerprint):
    """Refuses a folder with answers of another job; and removes what killed workers have left."""
    job = folder / JOB_NAME
    for file in folder.glob("predictions-*"):
        if file.name.endswith(".tmp"):
            file.unlink()
    try:
        is_ours = json.loads(job.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        is_ours = False
    if is_ours:
        return
    if any(re.fullmatch(r"predictions-(\d+-of-\d+\.jsonl|manifest\.json)", file.name) for file in folder.iterdir()):
        raise ShardError(
            f"{folder}: holds predictions of other videos, with other settings or another model; give another folder, "
            "or delete them first"
        )
    write_text_atomically(job, json.dumps({"fingerprint": fingerprint}) + "\n")


def _predict_shards(tasks, settings, where, on_video):
    results = {}
    running = run_tasks(predict_shard, tasks, PredictionWorker, settings, **where, on_video=on_video)
    with contextlib.closing(running):
        for number, result in running:
            results[number] = result
            for item in result["bad"]:
                logger.warning("%s: %s", item["video"], item["reason"])
    return [results[number] for number in range(len(tasks))]


def _finish(folder, model, fingerprint, tasks, results):
    """Writes the manifest."""
    shards = [
        {"name": Path(task.path).name, **{key: result[key] for key in ("videos", "bytes", "sha256")}}
        for task, result in zip(tasks, results, strict=True)
    ]
    manifest = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "model": model,
        "videos": sum(shard["videos"] for shard in shards),
        "bad": [item for result in results for item in result["bad"]],
        "shards": shards,
    }
    write_text_atomically(folder / MANIFEST_NAME, json.dumps(manifest, indent=1) + "\n")
