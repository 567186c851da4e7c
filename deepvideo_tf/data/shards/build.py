"""Building TFRecord shards of clips from labeled videos.

The unit of work is one shard: `make_shard` decodes its videos, writes a temporary file and renames it when it is whole.
It may be called twice, also at the same time, and knows of no engine. Everything stays in a hidden folder until the
build has succeeded; then the shards get their final names and the manifest is written last, so that a folder without a
manifest is an unfinished build.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepvideo_tf.config import DecodeLimits, ShardSpec, to_json
from deepvideo_tf.data.annotations import SPLITS, Annotations, LabelledVideo
from deepvideo_tf.data.shards.manifest import (
    MANIFEST_VERSION,
    Manifest,
    build_dir,
    manifest_path,
    read_manifest,
    write_manifest,
)
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import BadVideoError, ConfigError, ShardError
from deepvideo_tf.execution.engines import check_engine
from deepvideo_tf.execution.engines.work import count_videos
from deepvideo_tf.execution.jobs import Job, fingerprint_of, first_present, run_job
from deepvideo_tf.storage.files import hash_of, move, remove_tree
from deepvideo_tf.storage.locks import check_unlocked
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import staged_file, write_bytes_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardTask:
    """Everything that `make_shard` needs to make one shard, as plain data.

    Args:
        path: where the shard is written.
        video_root: the folder that video ids start from.
        videos: the videos of this shard, in order.
        spec: what the clips are.
        limits: what one video may cost.
        fingerprint: SHA-256 over all that the shard's bytes depend on, except the videos' content.
    """

    path: str
    video_root: str
    videos: tuple[LabelledVideo, ...]
    spec: ShardSpec
    limits: DecodeLimits
    fingerprint: str


def make_shard(
    task: ShardTask, decoder: DecoderProcess | None = None, on_video: Callable[[], object] | None = None
) -> dict[str, Any]:
    """Make one whole shard: decode its videos, write them under a temporary name, and rename the file.

    A shard that was made before is not made again, unless one of its videos was bad: it may have met a busy machine.

    Args:
        task: what to make.
        decoder: an open `DecoderProcess` with the task's limits; None for one of its own.
        on_video: called with no arguments after each video, for a progress bar.

    Returns:
        Dict of `records`, `bytes`, `sha256`, `videos` and `skipped` (a list of dicts of `video_id` and `reason`).

    Raises:
        ShardError: the shard cannot be written.
    """
    result = _earlier_result(task)
    if result is not None:
        count_videos(task.videos, on_video)
        return result
    if decoder is None:
        with DecoderProcess(task.limits) as own:
            return make_shard(task, own, on_video)
    to_path(task.path).parent.mkdir(parents=True, exist_ok=True)
    result = _write_shard(task, decoder, on_video)
    note = json.dumps({"fingerprint": task.fingerprint, "result": result})
    write_bytes_atomically(_note_path(task), note.encode())
    return result


def _write_shard(task: ShardTask, decoder: DecoderProcess, on_video: Callable[[], object] | None) -> dict[str, Any]:
    import tensorflow as tf

    # A temporary name of its own: a worker that was given up for dead may still be writing the same shard.
    with staged_file(task.path) as local:
        try:
            with tf.io.TFRecordWriter(str(local)) as writer:
                records, skipped = _write_videos(task, decoder, writer, on_video)
        except tf.errors.OpError as error:
            raise ShardError(f"{task.path}: cannot be written: {error.message}") from None
        size, sha256 = local.stat().st_size, hash_of(local)
    return {
        "records": records,
        "bytes": size,
        "sha256": sha256,
        "videos": len(task.videos) - len(skipped),
        "skipped": skipped,
    }


def _write_videos(
    task: ShardTask, decoder: DecoderProcess, writer: Any, on_video: Callable[[], object] | None
) -> tuple[int, list[dict[str, str]]]:
    """Return the number of records written, and what was skipped."""
    from deepvideo_tf.data.shards.records import clip_to_record

    records, skipped = 0, []
    for video in task.videos:
        path = os.path.join(task.video_root, video.path)
        try:
            clips = decoder.decode(path, task.spec, start_s=video.start_s, end_s=video.end_s)
        except BadVideoError as error:
            skipped.append({"video_id": video.video_id, "reason": error.reason})
            clips = []
        for index, clip in enumerate(clips):
            writer.write(clip_to_record(video.video_id, video.labels, index, clip, task.spec.frame_rate_fps))
        records += len(clips)
        if on_video is not None:
            on_video()
    return records, skipped


def _note_path(task: ShardTask) -> AnyPath:
    return to_path(task.path).with_suffix(".json")


def _earlier_result(task: ShardTask) -> dict[str, Any] | None:
    """Return what was noted of this very shard when it was made, or None if it must be made."""
    try:
        note = json.loads(_note_path(task).read_text(encoding="utf-8"))
        result = note["result"]
        is_whole = note["fingerprint"] == task.fingerprint and to_path(task.path).stat().st_size == result["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no note, or one that a power cut has damaged
    return result if is_whole and not result["skipped"] else None


def shard_tasks(
    annotations: Annotations,
    shards_dir: PathLike,
    *,
    split: str = "train",
    spec: ShardSpec | None = None,
    num_shards: int = 16,
    limits: DecodeLimits | None = None,
) -> list[ShardTask]:
    """List the tasks of a build: call `make_shard` for each, anywhere, in any order, then `build_shards`.

    Args:
        annotations: the videos, from `read_folder` or `read_list`.
        shards_dir: the folder to write to.
        split: `train`, `validation` or `test`.
        spec: what the clips are; None for the defaults.
        num_shards: number of files, at most one per video.
        limits: what one video may cost; None for the defaults.

    Returns:
        List of `ShardTask`, with absolute paths.
    """
    folder = build_dir(shards_dir, split).absolute()
    num_shards = min(num_shards, len(annotations.videos))
    # Dealt out in an order that mixes the classes and is the same everywhere.
    order = sorted(annotations.videos, key=lambda video: hashlib.sha256(video.video_id.encode()).digest())
    tasks = [
        ShardTask(
            path=str(folder / f"{number:05d}.tfrecord"),
            video_root=os.path.abspath(annotations.video_root),
            videos=tuple(order[number::num_shards]),
            spec=spec or ShardSpec(),
            limits=limits or DecodeLimits(),
            fingerprint="",
        )
        for number in range(num_shards)
    ]
    return [replace(task, fingerprint=_fingerprint(task, annotations.classes, split)) for task in tasks]


def _fingerprint(task: ShardTask, classes: Sequence[str], split: str) -> str:
    """Hash what the bytes of a shard depend on; a file's size stands for its content."""
    videos = []
    for video in task.videos:
        path = os.path.join(task.video_root, video.path)
        videos.append([video.video_id, list(video.labels), os.path.getsize(path) if os.path.isfile(path) else None])
    # The limits decide what is skipped; but not the time limit, which a slow machine may need to be another one.
    limits = to_json(replace(task.limits, decode_timeout_s=1.0))
    return fingerprint_of([MANIFEST_VERSION, split, list(classes), to_json(task.spec), limits, videos])


class _ShardJob(Job[Manifest]):
    """The build of one split."""

    def __init__(
        self, annotations: Annotations, shards_dir: PathLike, split: str, tasks: list[ShardTask], max_bad: float
    ):
        self._annotations, self._split, self._max_bad = annotations, split, max_bad
        self._shards_dir = shards_dir
        self._fingerprint = hashlib.sha256("".join(task.fingerprint for task in tasks).encode()).hexdigest()
        self._skipped: list[dict[str, str]] = []
        self.make, self.new_worker = make_shard, DecoderProcess
        self.tasks, self.settings = tasks, tasks[0].limits
        self.folder = to_path(shards_dir)
        self.lock, self.busy = _lock(shards_dir, split)
        root = tasks[0].video_root
        paths = (os.path.join(root, video.path) for task in tasks for video in task.videos)
        self.must_see = [root, *first_present(paths)]

    def finished(self) -> Manifest | None:
        if not manifest_path(self._shards_dir, self._split).exists():
            return None
        manifest = read_manifest(self._shards_dir, self._split)
        if manifest.fingerprint != self._fingerprint:
            raise ShardError(
                f"{self._shards_dir}: holds {self._split} shards of other videos or with other settings; "
                "give another folder, or delete them first"
            )
        return manifest

    def claim(self) -> Iterable[AnyPath]:
        folder = build_dir(self._shards_dir, self._split)
        folder.mkdir(exist_ok=True)
        return folder.glob("*.tmp")

    def check(self, result: dict[str, Any]) -> None:
        for item in result["skipped"]:
            logger.warning("skipped %s: %s", item["video_id"], item["reason"])
        self._skipped += result["skipped"]
        listed = len(self._annotations.videos)
        if len(self._skipped) > self._max_bad * listed:
            raise ShardError(
                f"{len(self._skipped)} of {listed} videos are bad, more than the part of {self._max_bad:g} that "
                f"max_bad_fraction allows; the first is {self._skipped[0]['video_id']}: {self._skipped[0]['reason']}"
            )

    def finish(self, results: Sequence[dict[str, Any]]) -> Manifest:
        """Give the shards their final names and write the manifest."""
        skipped = [item for result in results for item in result["skipped"]]
        videos = self._annotations.videos
        if len(skipped) == len(videos):
            raise ShardError(f"{self._shards_dir}: none of the {len(skipped)} videos can be decoded")
        for earlier in self.folder.glob(f"{self._split}-[0-9]*-of-[0-9]*.tfrecord"):
            earlier.unlink()  # of a build that was killed here, and perhaps of another number of shards
        shards = []
        for number, (task, result) in enumerate(zip(self.tasks, results, strict=True)):
            name = f"{self._split}-{number:05d}-of-{len(self.tasks):05d}.tfrecord"
            move(to_path(task.path), self.folder / name)
            shards.append({"name": name, **{key: result[key] for key in ("records", "bytes", "sha256", "videos")}})
        manifest = Manifest(
            split=self._split,
            classes=tuple(self._annotations.classes),
            spec=self.tasks[0].spec,
            fingerprint=self._fingerprint,
            listed=len(videos),
            used=len(videos) - len(skipped),
            skipped=tuple(sorted(skipped, key=lambda item: item["video_id"])),
            absent=len(self._annotations.absent),
            shards=tuple(shards),
        )
        write_manifest(self._shards_dir, manifest)
        remove_tree(build_dir(self._shards_dir, self._split))
        return read_manifest(self._shards_dir, self._split)


def build_shards(
    annotations: Annotations,
    shards_dir: PathLike,
    *,
    split: str = "train",
    spec: ShardSpec | None = None,
    num_shards: int = 16,
    num_workers: int | None = None,
    max_bad_fraction: float = 0.1,
    limits: DecodeLimits | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    on_video: Callable[[], object] | None = None,
) -> Manifest:
    """Build the shards of one split, or resume an interrupted build; a finished one is left as it is.

    A video that cannot be decoded is skipped and listed with its reason. The bytes of the shards depend neither on the
    engine, nor on the number of workers, nor on interruptions.

    Args:
        annotations: the videos, from `read_folder` or `read_list`.
        shards_dir: the folder to write to; made if it does not exist.
        split: `train`, `validation` or `test`.
        spec: what the clips are; None for the defaults.
        num_shards: number of files, at most one per video.
        num_workers: videos decoded at once; None for the number of processors, of this machine or of the cluster.
        max_bad_fraction: the fraction of the videos that may be bad, in [0, 1); above it the build fails.
        limits: what one video may cost; None for the defaults.
        engine: `local` for this machine, `ray` for a cluster whose nodes see the videos and `shards_dir`.
        ray_address: of the cluster; None for the one that runs on this machine, or a new one.
        on_video: called with no arguments after each video, for a progress bar; with Ray after each shard.

    Returns:
        `Manifest`.

    Raises:
        ConfigError: an argument is outside its range, or there is no such cluster.
        ShardError: too many videos are bad, or the folder holds a build of something else, cannot be written, is not
            seen by a node, or is being built by another process.
    """
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    if not 0 <= max_bad_fraction < 1:
        raise ConfigError(f"max_bad_fraction must be at least 0 and below 1. Received: {max_bad_fraction!r}")
    for name, value in (("num_shards", num_shards), ("num_workers", num_workers)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} must be a whole number, 1 or more. Received: {value!r}")
    check_engine(engine, ray_address)
    tasks = shard_tasks(annotations, shards_dir, split=split, spec=spec, num_shards=num_shards, limits=limits)
    job = _ShardJob(annotations, shards_dir, split, tasks, max_bad_fraction)
    try:
        return run_job(job, engine=engine, num_workers=num_workers, ray_address=ray_address, on_video=on_video)
    except OSError as error:
        raise ShardError(f"{error.filename or shards_dir}: cannot be written: {error.strerror}") from None


def check_free(shards_dir: PathLike, split: str) -> None:
    """Raise ShardError if another process is building this split, before anything slow is done.

    Args:
        shards_dir: the folder of shards; need not exist.
        split: `train`, `validation` or `test`.

    Raises:
        ShardError: another process is at work.
    """
    check_unlocked(*_lock(shards_dir, split))


def _lock(shards_dir: PathLike, split: str) -> tuple[AnyPath, ShardError]:
    """Return the lock's file, and the error where another process holds it."""
    busy = ShardError(f"{shards_dir}: another process is building its {split} shards")
    return to_path(shards_dir) / f".{split}-build.lock", busy
