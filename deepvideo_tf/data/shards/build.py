"""Building TFRecord shards of clips from labelled videos, and the manifest beside them.

The unit of work is one shard: `make_shard` decodes its videos, writes a temporary file and renames it when it is whole.
It may be called twice, at once too, and knows of no engine. Everything stays in a hidden folder until the build has
succeeded; then the shards take their final names and the manifest is written last, so that a folder without a manifest
is an unfinished build.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
from dataclasses import dataclass, replace

from deepvideo_tf.config import DecodeLimits, ModelCard, ShardSpec, from_json, to_json
from deepvideo_tf.data.annotations import SPLITS, Annotations, LabelledVideo
from deepvideo_tf.data.video.decode_process import DecoderProcess
from deepvideo_tf.errors import BadVideoError, ConfigError, ModelFileError, ShardError
from deepvideo_tf.execution.engines import check_engine, run_tasks
from deepvideo_tf.storage.files import hash_of, move, remove_tree, sizes_of
from deepvideo_tf.storage.locks import check_unlocked, locked
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import staged_file, write_bytes_atomically, write_text_atomically

logger = logging.getLogger(__name__)

MANIFEST_VERSION = 2


@dataclass(frozen=True)
class ShardTask:
    """Everything that `make_shard` needs to make one shard, as plain data.

    Args:
        path: where the shard is written.
        video_root: the folder that video ids start from.
        videos: the videos of this shard, in order.
        spec: what the clips are.
        limits: what one video may cost.
        fingerprint: SHA-256 over all that the shard's bytes depend on, but for the videos' content.
    """

    path: str
    video_root: str
    videos: tuple[LabelledVideo, ...]
    spec: ShardSpec
    limits: DecodeLimits
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """What stands in `<split>-manifest.json`: what the shards are and what they hold.

    Args:
        split: `train`, `validation` or `test`.
        classes: class names; a label is an index into them.
        spec: what the clips are.
        fingerprint: SHA-256 over the configuration and the list of videos, with their sizes.
        listed: number of videos that the annotations list.
        used: number of videos in the shards; `listed` is `used` and the skipped ones together.
        skipped: dicts of `video_id` and `reason`.
        absent: videos that the data set names but nobody has, and so are not listed.
        shards: dicts of `name`, `records`, `bytes`, `sha256`, `videos`.
    """

    split: str
    classes: tuple[str, ...]
    spec: ShardSpec
    fingerprint: str
    listed: int
    used: int
    skipped: tuple[dict, ...]
    absent: int
    shards: tuple[dict, ...]

    @property
    def records(self):
        """Number of clips in all shards."""
        return sum(shard["records"] for shard in self.shards)

    @property
    def content_sha256(self):
        """SHA-256 over the shards' own. The fingerprint leaves open which videos could be decoded; this does not."""
        return hashlib.sha256("".join(shard["sha256"] for shard in self.shards).encode()).hexdigest()


def manifest_path(shards_dir, split):
    """Where the manifest of a split stands."""
    return to_path(shards_dir) / f"{split}-manifest.json"


def read_manifest(shards_dir, split, *, check_sizes=True):
    """Reads the manifest of a finished build.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        check_sizes: whether to look for the shards and compare their sizes.

    Returns:
        `Manifest`.

    Raises:
        ShardError: there is no finished build of this split, or its manifest or one of its shards is damaged.
    """
    path = manifest_path(shards_dir, split)
    if not path.exists():
        if not to_path(shards_dir).is_dir():
            raise ShardError(f"{shards_dir}: expected a folder of shards, found none")
        if _build_dir(shards_dir, split).exists():
            raise ShardError(f"{shards_dir}: the build of its {split} shards is unfinished; run it again to resume")
        found = sorted(file.name.removesuffix("-manifest.json") for file in to_path(shards_dir).glob("*-manifest.json"))
        raise ShardError(f"{shards_dir}: expected shards of the split {split!r}, found {', '.join(found) or 'none'}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != MANIFEST_VERSION:
            raise ShardError(f"{path}: expected version {MANIFEST_VERSION}, found {data['version']}; build it again")
        if data.pop("checksum") != _checksum(data):
            raise ShardError(f"{path}: damaged: it does not match its own checksum")
        manifest = Manifest(
            split=data["split"],
            classes=tuple(data["classes"]),
            spec=from_json(ShardSpec, data["spec"], path),
            fingerprint=data["fingerprint"],
            listed=data["listed"],
            used=data["used"],
            skipped=tuple(data["skipped"]),
            absent=data["absent"],
            shards=tuple(data["shards"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(f"{path}: not a manifest of shards: {type(error).__name__}: {error}") from None
    if check_sizes:
        files = [path.parent / shard["name"] for shard in manifest.shards]
        for file, shard, size in zip(files, manifest.shards, sizes_of(files), strict=True):
            if size != shard["bytes"]:
                came = "no such file" if size is None else f"{size} bytes"
                raise ShardError(f"{file}: expected {shard['bytes']} bytes, as its manifest says, found {came}")
    return manifest


def _checksum(manifest):
    """SHA-256 of a manifest as plain data, but for the checksum itself."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def check_classes(one, of_one, other, of_other) -> None:
    """Refuses to use two things together whose class names differ, or stand in another order.

    Args:
        one: path of the first, for the message.
        of_one: its class names, in the order of its labels.
        other: path of the second.
        of_other: its class names.

    Raises:
        ShardError: the two differ.
    """
    if of_one == of_other:
        return
    if sorted(of_one) == sorted(of_other):
        what = "the same classes in another order"
    else:
        different = ", ".join(sorted(set(of_one) ^ set(of_other))[:3])
        what = f"other classes ({len(of_other)}, not {len(of_one)}; only one side has {different})"
    raise ShardError(f"{one}: cannot be used with {other}, which has {what}")


def check_card(workdir, card: ModelCard, shards_dir, manifest: Manifest):
    """Refuses to use a trained model on clips that are not of its kind.

    Args:
        workdir: the run's folder, for messages.
        card: the run's model.
        shards_dir: the folder of shards, for messages.
        manifest: of the shards.

    Raises:
        ModelFileError: the model was trained on clips of another size or rate.
        ShardError: the shards have other classes or another order of them.
    """
    check_classes(workdir, card.classes, shards_dir, manifest.classes)
    for name in ("frame_size_px", "frame_rate_fps"):
        ours, theirs = getattr(card.shards, name), getattr(manifest.spec, name)
        if ours != theirs:
            raise ModelFileError(
                f"{workdir}: was trained on clips of {name}={ours}, those in {shards_dir} have {theirs}"
            )


def verify_shards(shards_dir, split, *, on_shard=None):
    """Compares the content of all shards of a split with its manifest, and finds where they differ.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        on_shard: called with no arguments after each shard, for a progress bar.

    Returns:
        List of problems, empty where all is well: dicts of `file`, `offset` (bytes, None where the whole file is meant)
        and `problem`.

    Raises:
        ShardError: there is no finished build of this split, or its manifest is damaged.
    """
    manifest = read_manifest(shards_dir, split, check_sizes=False)
    problems = []
    for shard in manifest.shards:
        path = to_path(shards_dir) / shard["name"]
        problems += [
            {"file": str(path), "offset": offset, "problem": problem} for offset, problem in _damage(path, shard)
        ]
        if on_shard is not None:
            on_shard()
    known = {shard["name"] for shard in manifest.shards}
    strange = sorted(file for file in to_path(shards_dir).glob(f"{split}-*.tfrecord") if file.name not in known)
    problems += [{"file": str(file), "offset": None, "problem": "not in the manifest"} for file in strange]
    return problems


def _damage(path, shard):
    """(offset, problem) pairs of one shard."""
    if not path.is_file():
        return [(None, "no such file")]
    if hash_of(path) == shard["sha256"]:
        return []
    from deepvideo_tf.data.shards.records import read_records

    found = []
    records = sum(1 for _ in read_records(path, lambda *damage: found.append(damage)))
    size = path.stat().st_size
    if size < shard["bytes"]:
        found.append((size, f"cut off: expected {shard['bytes']} bytes, found {size}"))
    elif size > shard["bytes"]:
        found.append((shard["bytes"], f"{size - shard['bytes']} bytes too many"))
    # Whole records, but others than were written.
    return found or [(0, f"expected {shard['records']} records of SHA-256 {shard['sha256']}, found {records} others")]


def make_shard(task: ShardTask, decoder=None, on_video=None):
    """Makes one whole shard: decodes its videos, writes them under a temporary name, and renames the file.

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
        for _ in task.videos if on_video is not None else ():
            on_video()
        return result
    if decoder is None:
        with DecoderProcess(task.limits) as own:
            return make_shard(task, own, on_video)
    to_path(task.path).parent.mkdir(parents=True, exist_ok=True)
    result = _write_shard(task, decoder, on_video)
    note = json.dumps({"fingerprint": task.fingerprint, "result": result})
    write_bytes_atomically(_note_path(task), note.encode())
    return result


def _write_shard(task, decoder, on_video):
    import tensorflow as tf

    # A name of its own: a worker that was given up for dead may still be writing the same shard.
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


def _write_videos(task, decoder, writer, on_video):
    """The number of records written, and what was skipped."""
    from deepvideo_tf.data.shards.records import clip_to_record

    records, skipped = 0, []
    for video in task.videos:
        try:
            clips = decoder.decode(
                os.path.join(task.video_root, video.path), task.spec, start_s=video.start_s, end_s=video.end_s
            )
        except BadVideoError as error:
            skipped.append({"video_id": video.video_id, "reason": error.reason})
            logger.warning("skipped %s: %s", video.video_id, error.reason)
            clips = []
        for index, clip in enumerate(clips):
            writer.write(clip_to_record(video.video_id, video.labels, index, clip, task.spec.frame_rate_fps))
        records += len(clips)
        if on_video is not None:
            on_video()
    return records, skipped


def shard_tasks(
    annotations: Annotations,
    shards_dir,
    *,
    split="train",
    spec: ShardSpec | None = None,
    num_shards=16,
    limits: DecodeLimits | None = None,
):
    """What a build consists of: one call of `make_shard` for each task, anywhere, in any order, then `build_shards`.

    Args:
        annotations: the videos, from `read_folder` or `read_list`.
        shards_dir: the folder to write to.
        split: `train`, `validation` or `test`.
        spec: what the clips are; None for the defaults.
        num_shards: number of files, at most one a video.
        limits: what one video may cost; None for the defaults.

    Returns:
        List of `ShardTask`, with absolute paths.
    """
    root = os.path.abspath(annotations.video_root)
    build_dir = _build_dir(shards_dir, split).absolute()
    num_shards = min(num_shards, len(annotations.videos))
    # Dealt out in an order that mixes the classes and is the same everywhere.
    order = sorted(annotations.videos, key=lambda video: hashlib.sha256(video.video_id.encode()).digest())
    tasks = [
        ShardTask(
            path=str(build_dir / f"{number:05d}.tfrecord"),
            video_root=root,
            videos=tuple(order[number::num_shards]),
            spec=spec or ShardSpec(),
            limits=limits or DecodeLimits(),
            fingerprint="",
        )
        for number in range(num_shards)
    ]
    return [replace(task, fingerprint=_fingerprint(task, annotations.classes, split)) for task in tasks]


def build_shards(
    annotations: Annotations,
    shards_dir,
    *,
    split="train",
    spec: ShardSpec | None = None,
    num_shards=16,
    num_workers=None,
    max_bad_fraction=0.1,
    limits: DecodeLimits | None = None,
    engine="local",
    ray_address=None,
    on_video=None,
):
    """Builds the shards of one split, or takes up a build that was interrupted; a finished one is left as it is.

    A video that cannot be decoded is skipped and listed with its reason. The bytes of the shards depend neither on the
    engine, nor on the number of workers, nor on interruptions.

    Args:
        annotations: the videos, from `read_folder` or `read_list`.
        shards_dir: the folder to write to; made if it is not there.
        split: `train`, `validation` or `test`.
        spec: what the clips are; None for the defaults.
        num_shards: number of files, at most one a video.
        num_workers: videos decoded at once; None for the number of processors, of this machine or of the cluster.
        max_bad_fraction: the part of the videos that may be bad, at least 0 and below 1; above it the build fails.
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
    fingerprint = hashlib.sha256("".join(task.fingerprint for task in tasks).encode()).hexdigest()
    if manifest_path(shards_dir, split).exists():
        return _finished(shards_dir, split, fingerprint)
    where = {"engine": engine, "num_workers": num_workers, "ray_address": ray_address}
    try:
        to_path(shards_dir).mkdir(parents=True, exist_ok=True)
        with locked(*_lock(shards_dir, split)):
            if manifest_path(shards_dir, split).exists():  # by another process, since we looked
                return _finished(shards_dir, split, fingerprint)
            _build_dir(shards_dir, split).mkdir(exist_ok=True)
            results = _make_shards(tasks, max_bad_fraction, where, on_video)
            return _finish(annotations, shards_dir, split, tasks, fingerprint, results)
    except OSError as error:
        raise ShardError(f"{error.filename or shards_dir}: cannot be written: {error.strerror}") from None


def check_free(shards_dir, split) -> None:
    """Refuses a folder in which another process is building this split, before anything slow is done.

    Args:
        shards_dir: the folder of shards; need not be there.
        split: `train`, `validation` or `test`.

    Raises:
        ShardError: another process is at work.
    """
    check_unlocked(*_lock(shards_dir, split))


def _lock(shards_dir, split):
    """The lock's file, and the error where another process holds it."""
    busy = ShardError(f"{shards_dir}: another process is building its {split} shards")
    return to_path(shards_dir) / f".{split}-build.lock", busy


def _build_dir(shards_dir, split):
    return to_path(shards_dir) / f".{split}-build"


def _fingerprint(task, classes, split):
    """What the bytes of a shard depend on, as one number; a file's size stands for its content."""
    videos = []
    for video in task.videos:
        path = os.path.join(task.video_root, video.path)
        videos.append([video.video_id, list(video.labels), os.path.getsize(path) if os.path.isfile(path) else None])
    # The limits decide what is skipped; but not the time limit, which a slow machine may need to be another one.
    limits = to_json(replace(task.limits, decode_timeout_s=1.0))
    data = [MANIFEST_VERSION, split, list(classes), to_json(task.spec), limits, videos]
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _finished(shards_dir, split, fingerprint):
    manifest = read_manifest(shards_dir, split)
    if manifest.fingerprint != fingerprint:
        raise ShardError(
            f"{shards_dir}: holds {split} shards of other videos or with other settings; "
            "give another folder, or delete them first"
        )
    return manifest


def _make_shards(tasks, max_bad_fraction, where, on_video):
    """Results of all tasks; `where` is what `run_tasks` takes."""
    for orphan in to_path(tasks[0].path).parent.glob("*.tmp"):
        orphan.unlink()  # of a worker that was killed
    listed = sum(len(task.videos) for task in tasks)
    must_see = [tasks[0].video_root, *_first_present(tasks)]
    results: dict[int, dict] = {}
    skipped = []
    running = run_tasks(
        make_shard, tasks, DecoderProcess, tasks[0].limits, **where, must_see=must_see, on_video=on_video
    )
    with contextlib.closing(running):
        for number, result in running:
            results[number] = result
            skipped += result["skipped"]
            for item in result["skipped"] if where["engine"] == "ray" else ():  # told of on some node
                logger.warning("skipped %s: %s", item["video_id"], item["reason"])
            _check_bad(skipped, listed, max_bad_fraction)
    return [results[number] for number in range(len(tasks))]


def _first_present(tasks):
    """The path of one video that is there, if any is."""
    paths = (os.path.join(task.video_root, video.path) for task in tasks for video in task.videos)
    return [path for path in itertools.islice(paths, 100) if os.path.isfile(path)][:1]


def _note_path(task):
    return to_path(task.path).with_suffix(".json")


def _earlier_result(task):
    """What was noted of this very shard when it was made, or None where it must be made."""
    try:
        note = json.loads(_note_path(task).read_text(encoding="utf-8"))
        result = note["result"]
        is_whole = note["fingerprint"] == task.fingerprint and to_path(task.path).stat().st_size == result["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no note, or one that a power cut has damaged
    # A bad video may have met a busy machine: it gets another chance.
    return result if is_whole and not result["skipped"] else None


def _check_bad(skipped, listed, max_bad_fraction):
    if len(skipped) > max_bad_fraction * listed:
        raise ShardError(
            f"{len(skipped)} of {listed} videos are bad, more than the part of {max_bad_fraction:g} that "
            f"max_bad_fraction allows; the first is {skipped[0]['video_id']}: {skipped[0]['reason']}"
        )


def _finish(annotations, shards_dir, split, tasks, fingerprint, results):
    """Gives the shards their final names and writes the manifest."""
    skipped = [item for result in results for item in result["skipped"]]
    if len(skipped) == len(annotations.videos):
        raise ShardError(f"{shards_dir}: none of the {len(skipped)} videos can be decoded")
    for earlier in to_path(shards_dir).glob(f"{split}-[0-9]*-of-[0-9]*.tfrecord"):
        earlier.unlink()  # of a build that was killed here, and perhaps of another number of shards
    shards = []
    for number, (task, result) in enumerate(zip(tasks, results, strict=True)):
        name = f"{split}-{number:05d}-of-{len(tasks):05d}.tfrecord"
        move(to_path(task.path), to_path(shards_dir) / name)
        shards.append({"name": name, **{key: result[key] for key in ("records", "bytes", "sha256", "videos")}})
    data = {
        "version": MANIFEST_VERSION,
        "split": split,
        "fingerprint": fingerprint,
        "listed": len(annotations.videos),
        "used": len(annotations.videos) - len(skipped),
        "skipped": sorted(skipped, key=lambda item: item["video_id"]),
        "absent": len(annotations.absent),
        "classes": list(annotations.classes),
        "spec": to_json(tasks[0].spec),
        "shards": shards,
    }
    data["checksum"] = _checksum(data)
    write_text_atomically(manifest_path(shards_dir, split), json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    remove_tree(_build_dir(shards_dir, split))
    return read_manifest(shards_dir, split)
