"""Classify many videos, on all cores or on a cluster: a file of predictions for each part of their list.

The unit of work is one such file, written by one rename: under its final name it is complete. The manifest comes last.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepvideo_tf.config import DecodeLimits, check_int, to_json
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import BadVideoError, ShardError
from deepvideo_tf.execution.engines import check_engine
from deepvideo_tf.execution.engines.work import count_videos
from deepvideo_tf.execution.jobs import Job, fingerprint_of, first_present, run_job
from deepvideo_tf.formats.base import Predictor
from deepvideo_tf.formats.predictors import find_model, load_predictor
from deepvideo_tf.inference.prediction import predict_video
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.paths import AnyPath, on_disk
from deepvideo_tf.storage.writes import write_bytes_atomically, write_text_atomically

logger = logging.getLogger(__name__)

VERSION = 1
MANIFEST_NAME = "predictions-manifest.json"
JOB_NAME = "predictions-job.json"
LOCK_NAME = ".predictions.lock"


@dataclass(frozen=True)
class PredictionSettings:
    """How to classify each video.

    Args:
        model_path: a run's folder, a SavedModel, a `.tflite` or an `.onnx` file.
        top: classes reported for each video.
        clips_per_video: clips looked at; None for as many as the model was trained with.
        num_views: crops and mirror images of each clip, 1 to 5.
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
        path: where the predictions are written.
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

    def __init__(self, settings: PredictionSettings):
        self.settings = settings
        self._decoder = DecoderProcess(settings.limits)
        self._predictor: Predictor | None = None

    def __enter__(self) -> "PredictionWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def kill(self) -> None:
        """End the decoding of a video from another thread."""
        self._decoder.kill()

    def predict(self, path: str) -> list[dict[str, Any]]:
        """Classify one video.

        Args:
            path: of the video.

        Returns:
            List of dicts of `class` and `probability`, the likeliest first.

        Raises:
            BadVideoError: the video cannot be decoded.
            ModelFileError: the model cannot be loaded, or its outputs are not probabilities.
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


def _predictor(model_path: str) -> Predictor:
    """Load a model on one thread: a process's workers share TensorFlow's, and have a TFLite or ONNX one each."""
    if not find_model(model_path)[0].uses_tensorflow:
        return load_predictor(model_path, num_threads=1)
    with _LOADING:
        return _tensorflow_predictor(model_path)


@functools.lru_cache(maxsize=1)
def _tensorflow_predictor(model_path: str) -> Predictor:
    import numpy as np
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow has started already
        tf.config.threading.set_intra_op_parallelism_threads(1)
    predictor = load_predictor(model_path)
    clip = predictor.card.clip
    # The graph is built by the first call, and by one thread.
    predictor.probabilities(np.zeros((1, clip.num_frames, clip.crop_size_px, clip.crop_size_px, 3), np.uint8))
    return predictor


def predict_shard(
    task: PredictionTask, worker: PredictionWorker, on_video: Callable[[], object] | None = None
) -> dict[str, Any]:
    """Classify the videos of one task and write the file of predictions; an existing one is left as it is.

    Args:
        task: what to make.
        worker: whose settings are those of the whole job.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        Dict of `bytes`, `sha256`, `videos` and `bad` (a list of dicts of `video` and `reason`).

    Raises:
        ModelFileError: the model cannot be loaded, or its outputs are not probabilities.
        OSError: the file cannot be written.
    """
    result = _earlier_result(task)
    if result is not None:
        count_videos(task.videos, on_video)
        return result
    lines = []
    for video in task.videos:
        line: dict[str, Any] = {"video": video}
        try:
            line["classes"] = worker.predict(os.path.join(task.video_root, video))
        except BadVideoError as error:
            line["error"] = error.reason
        lines.append(json.dumps(line) + "\n")  # ASCII: names may be no text in any encoding
        if on_video is not None:
            on_video()
    content = "".join(lines).encode()
    write_bytes_atomically(task.path, content)
    return _result(content)


def _earlier_result(task: PredictionTask) -> dict[str, Any] | None:
    """Return the result of an existing file, or None if there is none of these videos."""
    try:
        content = Path(task.path).read_bytes()
        predicted = tuple(json.loads(line)["video"] for line in content.splitlines())
        return _result(content) if predicted == task.videos else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _result(content: bytes) -> dict[str, Any]:
    rows = [json.loads(line) for line in content.splitlines()]
    return {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "videos": len(rows),
        "bad": [{"video": row["video"], "reason": row["error"]} for row in rows if "error" in row],
    }


class _PredictionJob(Job[dict[str, Any]]):
    """The predictions of one model for a list of videos."""

    def __init__(self, settings: PredictionSettings, tasks: Sequence[PredictionTask], folder: Path):
        self.make, self.new_worker = predict_shard, PredictionWorker
        self.tasks, self.settings, self.folder = tasks, settings, folder
        self.lock = folder / LOCK_NAME
        self.busy = ShardError(f"{folder}: another process is predicting there")
        root = tasks[0].video_root
        paths = (os.path.join(root, video) for task in tasks for video in task.videos)
        self.must_see = [root, settings.model_path, *first_present(paths)]
        self._model = _identity(settings.model_path)
        kept = to_json(settings)
        del kept["model_path"], kept["limits"]["decode_timeout_s"]  # a slow machine may need another one
        videos = [task.videos for task in tasks]
        job = {"version": VERSION, "model": self._model, "settings": kept, "shards": videos}
        self._fingerprint = fingerprint_of(job, sort_keys=True)

    def finished(self) -> dict[str, Any] | None:
        if not (self.folder / MANIFEST_NAME).exists():
            return None
        self._check_is_ours()
        return json.loads((self.folder / MANIFEST_NAME).read_text(encoding="utf-8"))

    def claim(self) -> Iterable[AnyPath]:
        if not self._check_is_ours():
            write_text_atomically(self.folder / JOB_NAME, json.dumps({"fingerprint": self._fingerprint}) + "\n")
        return [file for file in self.folder.glob("predictions-*") if file.name.endswith(".tmp")]

    def _check_is_ours(self) -> bool:
        """Return whether the folder is this job's, False if it is free; raise if it holds another job's predictions."""
        try:
            job = json.loads((self.folder / JOB_NAME).read_text(encoding="utf-8"))
            if job["fingerprint"] == self._fingerprint:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass  # none, or a damaged one
        name = r"predictions-(\d+-of-\d+\.jsonl|manifest\.json)"
        if any(re.fullmatch(name, file.name) for file in self.folder.iterdir()):
            raise ShardError(
                f"{self.folder}: holds predictions of other videos, with other settings or another model; give another "
                "folder, or delete them first"
            )
        return False

    def check(self, result: dict[str, Any]) -> None:
        for item in result["bad"]:
            logger.warning("%s: %s", item["video"], item["reason"])

    def finish(self, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
        shards = [
            {"name": Path(task.path).name, **{key: result[key] for key in ("videos", "bytes", "sha256")}}
            for task, result in zip(self.tasks, results, strict=True)
        ]
        manifest = {
            "version": VERSION,
            "fingerprint": self._fingerprint,
            "model": self._model,
            "videos": sum(shard["videos"] for shard in shards),
            "bad": [item for result in results for item in result["bad"]],
            "shards": shards,
        }
        text = json.dumps(manifest, indent=1) + "\n"
        write_text_atomically(self.folder / MANIFEST_NAME, text)
        return json.loads(text)


def predict_many(
    model_path: str | os.PathLike[str],
    video_root: str | os.PathLike[str],
    videos: Sequence[str],
    predictions_dir: str | os.PathLike[str],
    *,
    num_shards: int = 64,
    top: int = 5,
    clips_per_video: int | None = None,
    num_views: int = 1,
    limits: DecodeLimits | None = None,
    num_workers: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    on_video: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Classify many videos, or resume an interrupted job: existing files are not made again.

    Each worker computes on one core. A video that cannot be decoded has its reason in place of classes, and is listed.

    Args:
        model_path: a run's folder, a SavedModel, a `.tflite` or an `.onnx` file.
        video_root: the folder that the paths of videos start from.
        videos: relative paths, as from `data.annotations.read_video_paths`; cut into shards in their order.
        predictions_dir: the folder to write to; made if it does not exist.
        num_shards: number of files of predictions, at most one per video.
        top: classes reported for each video.
        clips_per_video: clips looked at; None for as many as the model was trained with.
        num_views: crops and mirror images of each clip, 1 to 5.
        limits: what decoding one video may cost; None for the defaults.
        num_workers: videos classified at once; None for the number of processors, of this machine or of the cluster.
        engine: `local` for this machine, `ray` for a cluster whose nodes see the model, the videos and
            `predictions_dir`.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        on_video: called with no arguments after each video, for a progress bar; with Ray after each shard.

    Returns:
        The manifest, a dict: `videos`, their number; `bad`, dicts of `video` and `reason`; `shards`, dicts of `name`,
        `videos`, `bytes`, `sha256`; `model`, what its file says about itself; `version`, `fingerprint`.

    Raises:
        ConfigError: an argument is outside its range, or there is no such cluster.
        ModelFileError: the model cannot be loaded.
        ShardError: the folder holds other predictions, is not seen by a node, or another process is at work.
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
    tasks = _tasks(video_root, tuple(videos), predictions_dir, num_shards)
    job = _PredictionJob(settings, tasks, Path(predictions_dir))
    return run_job(job, engine=engine, num_workers=num_workers, ray_address=ray_address, on_video=on_video)


def _identity(model_path: str) -> dict[str, Any]:
    """Return what distinguishes a model from others, and what its file says about itself."""
    about = _predictor(model_path).about
    return about | ({"file_sha256": hash_of(model_path)} if os.path.isfile(model_path) else {})


def _tasks(
    video_root: str | os.PathLike[str],
    videos: tuple[str, ...],
    predictions_dir: str | os.PathLike[str],
    num_shards: int,
) -> list[PredictionTask]:
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
