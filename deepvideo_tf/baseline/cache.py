"""Codebooks and vectors of the clips in shards, computed once and kept beside the shards.

    SHARDS/features/codebooks-5f2b9c0d1e7a4f36-0a1b2c3d4e5f6071.npz
    SHARDS/features/train-8e1d7c6b5a493827/train-00000-of-00016-9c8b7a6d5e4f3021.rows     a file for each shard

The first hash is of all that the content depends on: the shards, the clips, the features. The last one is of the file's
own content, so that one rename publishes both, and damage is noticed. The folder may be deleted at any time.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import math
import os
import queue
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np

from deepvideo_tf.baseline import codebooks as books
from deepvideo_tf.baseline.feature_process import FeatureProcess
from deepvideo_tf.baseline.features import FEATURES_VERSION, KIND_DIMS, KINDS
from deepvideo_tf.config import ClipSpec, to_json
from deepvideo_tf.data.sampling import middle_frames, view_boxes
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.build import Manifest, read_manifest
from deepvideo_tf.errors import ShardError
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.paths import on_disk
from deepvideo_tf.storage.writes import sync

logger = logging.getLogger(__name__)

FOLDER = "features"  # beside the shards
SEED = 0  # of samples and k-means: runs with other seeds share their codebooks
SAMPLED_SHARDS = 64  # that codebooks are learned from, at most
SAMPLED_CLIPS = 1000  # in all of them, at most
SAMPLED_DESCRIPTORS = 100  # of each kind, of a clip
WAITING_PER_PROCESS = 4  # clips that are read before their turn
HASH_DIGITS = 16


def learn_codebooks(shards_dir, clip: ClipSpec, num_words, *, num_workers=None):
    """Learns the codebooks of a model from the training shards, or reads them from beside these.

    The sample is of the same size for any set of shards: `SAMPLED_CLIPS` clips, evenly spread. Where records of it are
    damaged, the codebooks are not kept.

    Args:
        shards_dir: the folder of shards.
        clip: what the model sees.
        num_words: words of each codebook.
        num_workers: processes; None for the number of processors.

    Returns:
        Dict from each kind of feature to its `Codebook`.

    Raises:
        ShardError: the shards are missing or damaged, or nothing can be written beside them.
    """
    manifest = read_manifest(shards_dir, "train")
    settings = _settings(manifest, clip, 1, SAMPLED_DESCRIPTORS)
    about = [FEATURES_VERSION, SAMPLED_SHARDS, SAMPLED_CLIPS, books.SOFTNESS, num_words, to_json(clip), settings]
    with _alone_in(shards_dir) as folder:
        stem = f"codebooks-{_fingerprint(about, manifest)}"
        path = _whole_file(folder, stem, "npz")
        if path is None:
            logger.info("codebooks of %d words: learned from clips of %s", num_words, shards_dir)
            found, is_whole = _learn(manifest, shards_dir, clip, settings, num_words, num_workers)
            if not is_whole:
                return found  # not kept: the shards may be repaired, and their hash says nothing of damage
            path = _save_codebooks(folder / stem, found)
        with np.load(path, allow_pickle=False) as file:
            return {kind: books.Codebook(file[kind], float(file[f"{kind}_width"])) for kind in KINDS}


def _save_codebooks(stem, found):
    unfinished = stem.with_name("unfinished.npz")
    arrays = {kind: codebook.words for kind, codebook in found.items()}
    widths = {f"{kind}_width": np.float64(codebook.width) for kind, codebook in found.items()}
    np.savez(unfinished, **arrays, **widths)
    return _publish(unfinished, stem, "npz", hash_of(unfinished))


def _learn(manifest, shards_dir, clip, settings, num_words, num_workers):
    """The codebooks, and whether no record was damaged where they were learned from."""
    damage = []
    shards = [manifest.shards[index] for index in _spread(len(manifest.shards), SAMPLED_SHARDS)]
    samples: list[list[np.ndarray]] = [[] for _ in KINDS]

    def jobs():
        for number, shard in enumerate(shards):
            wanted = set(_spread(shard["records"], math.ceil(SAMPLED_CLIPS / len(shards))))
            whole = records.read_records(Path(shards_dir) / shard["name"], lambda *found: damage.append(found))
            for index, (_, record) in enumerate(whole):
                if index in wanted:
                    yield _frames(records.record_to_dict(record), manifest, clip), [SEED, number, index]

    with _processes(settings, None, num_workers) as in_order:
        for arrays in in_order(jobs()):
            for sample, array in zip(samples, arrays, strict=True):
                sample.append(array)
    joined = [
        np.concatenate([np.zeros((0, KIND_DIMS[kind]), np.float32), *some])
        for kind, some in zip(KINDS, samples, strict=True)
    ]
    found = {kind: books.learn_codebook(rows, num_words, SEED) for kind, rows in zip(KINDS, joined, strict=True)}
    return found, not damage


def _spread(count, most):
    """`most` of the numbers below `count`, evenly spread; all of them where there are no more."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


class ClipVectors:
    """The vectors of all clips of a split, read from the disk as they are used.

    Args:
        files: structured arrays, one a shard, of `vectors`, float16 `[view, dim]`, and `labels`, bool `[class]`.
        num_rows: clips that the split has; where damaged ones are missing, the first ones stand in for them.
    """

    def __init__(self, files, num_rows):
        self._files = files
        self._ends = np.cumsum([len(file) for file in files])
        self.num_rows = num_rows
        self.num_views = files[0].dtype["vectors"].shape[0]

    def __len__(self):
        return self.num_rows

    def rows(self, numbers, views):
        """The vectors and labels of some clips.

        Args:
            numbers: int `[row]`, which clips.
            views: int `[row]`, which view of each.

        Returns:
            float16 `[row, dim]` and bool `[row, class]`.
        """
        found = []
        for number, view in zip(np.asarray(numbers) % self._ends[-1], views, strict=True):
            file = int(np.searchsorted(self._ends, number, side="right"))
            row = self._files[file][int(number - (self._ends[file] - len(self._files[file])))]
            found.append((row["vectors"][view], row["labels"]))
        vectors, labels = zip(*found, strict=True)
        return np.stack(vectors), np.stack(labels)


def clip_vectors(shards_dir, split, clip: ClipSpec, codebooks, num_views, *, max_bad_fraction, num_workers=None):
    """Computes the vectors of all clips of a split, or finds them beside the shards.

    Interrupted, it goes on with the shards that are not done. A damaged file is told of and computed anew.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        codebooks: dict from each kind of feature to its `Codebook`.
        num_views: views of each clip, 1 to 5, the same ones as evaluation's (`view_boxes`).
        max_bad_fraction: the part of the clips that may be damaged, and are left out with a warning.
        num_workers: processes; None for the number of processors.

    Returns:
        `ClipVectors`.

    Raises:
        ShardError: the shards are missing or damaged, or nothing can be written beside them.
    """
    manifest = read_manifest(shards_dir, split)
    settings = _settings(manifest, clip, num_views, None)
    dims = books.vector_dims(len(codebooks[KINDS[0]].words))
    row = np.dtype([("vectors", np.float16, (num_views, dims)), ("labels", np.bool_, (len(manifest.classes),))])
    about = [FEATURES_VERSION, to_json(clip), settings, _digest(codebooks)]
    with _alone_in(shards_dir) as features:
        folder = features / f"{split}-{_fingerprint(about, manifest)}"
        folder.mkdir(exist_ok=True)
        paths, lost = [], 0
        with _processes(settings, codebooks, num_workers) as in_order:
            for number, shard in enumerate(manifest.shards):
                stem = folder / Path(shard["name"]).stem
                path = _whole_file(folder, stem.name, "rows", shard["records"] * row.itemsize)
                if path is None:
                    logger.info("features of the %s clips: shard %d of %d", split, number + 1, len(manifest.shards))
                    clips = _clips(Path(shards_dir) / shard["name"], manifest, clip)
                    path = _write_rows(stem, row, clips, in_order)
                paths.append(path)
                lost += shard["records"] - path.stat().st_size // row.itemsize
                if lost > max_bad_fraction * manifest.records:
                    raise ShardError(f"more than {max_bad_fraction:g} of {manifest.records} records are damaged")
        if lost:
            logger.warning("%d damaged records of %d skipped", lost, manifest.records)
        files = [np.memmap(path, row, "r") for path in paths if path.stat().st_size]
    return ClipVectors(files, manifest.records)


def _settings(manifest, clip, num_views, sampled):
    """What a process must know of stored clips."""
    spec = manifest.spec
    return {
        "frame_format": spec.frame_format,
        "frame_size_px": spec.frame_size_px,
        "crop_size_px": clip.crop_size_px,
        "boxes": view_boxes(spec.frame_size_px, clip.crop_size_px, num_views, clip.flip),
        "sampled": sampled,
    }


def _fingerprint(about, manifest: Manifest):
    data = json.dumps([*about, manifest.fingerprint, manifest.content_sha256])
    return hashlib.sha256(data.encode()).hexdigest()[:HASH_DIGITS]


def _digest(codebooks):
    digest = hashlib.sha256()
    for kind in KINDS:
        digest.update(np.ascontiguousarray(codebooks[kind].words))
        digest.update(np.float64(codebooks[kind].width))
    return digest.hexdigest()


@contextlib.contextmanager
def _alone_in(shards_dir):
    """The folder of features, while no other process writes to it."""
    folder = on_disk("of feature_histograms, shards_dir", shards_dir) / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = filelock.FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("%s: another process is at work there; waiting for it", folder)
            lock.acquire()
        try:
            yield folder
        finally:
            lock.release()
    except OSError as error:
        raise ShardError(
            f"{error.filename or folder}: cannot be written, where the features of the clips are kept: {error.strerror}"
        ) from None


def _whole_file(folder, stem, ending, size_bytes=None):
    """The file whose content is what its name says, or None; others by that name are removed."""
    name = re.compile(rf"{re.escape(stem)}-([0-9a-f]{{{HASH_DIGITS}}})\.{ending}")
    whole = None
    for path in sorted(folder.iterdir()):
        match = name.fullmatch(path.name)
        if match is None:
            continue
        if hash_of(path)[:HASH_DIGITS] != match[1]:
            logger.warning("%s: damaged (its content has another hash than its name says); computed anew", path)
            path.unlink()
        elif size_bytes is not None and path.stat().st_size != size_bytes:
            logger.warning("%s: lacks clips that were damaged; computed anew", path)
            path.unlink()
        else:
            whole = path
    return whole


def _publish(unfinished, stem, ending, sha256):
    sync(unfinished)
    path = stem.with_name(f"{stem.name}-{sha256[:HASH_DIGITS]}.{ending}")
    os.replace(unfinished, path)
    sync(path.parent)
    return path


def _clips(path, manifest, clip):
    """Yields the frames that the model sees and the labels of each whole record of a shard."""

    def on_damage(offset, problem):
        logger.warning("skipped damage in %s at byte %d: %s", path, offset, problem)

    for _, record in records.read_records(path, on_damage):
        data = records.record_to_dict(record)
        labels = np.zeros(len(manifest.classes), np.bool_)
        labels[data[records.LABELS]] = True
        yield _frames(data, manifest, clip), labels


def _frames(data, manifest, clip):
    """The middle frames of a stored clip, those that evaluation sees."""
    return data[records.FRAMES][middle_frames(manifest.spec.clip_frames, clip)]


def _write_rows(stem, row, clips, in_order):
    unfinished = stem.with_name("unfinished.rows")
    labels: deque = deque()

    def jobs():
        for frames, of_clip in clips:
            labels.append(of_clip)
            yield frames, 0

    digest = hashlib.sha256()
    with open(unfinished, "wb") as file:
        for vectors in in_order(jobs()):
            content = np.array((vectors, labels.popleft()), row).tobytes()
            digest.update(content)
            file.write(content)
    return _publish(unfinished, stem, "rows", digest.hexdigest())


@contextlib.contextmanager
def _processes(settings, codebooks, num_workers):
    """Yields a function from jobs (frames, seed) to the answers of several processes, in the jobs' order."""
    workers = num_workers or os.cpu_count() or 1
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(workers) as pool:
        free: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(workers):
            free.put(stack.enter_context(FeatureProcess(settings, codebooks)))

        def answer(job):
            process = free.get()
            try:
                return process(*job)
            finally:
                free.put(process)

        def in_order(jobs):
            jobs = iter(jobs)
            waiting = deque(pool.submit(answer, job) for job in itertools.islice(jobs, WAITING_PER_PROCESS * workers))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(answer, job) for job in itertools.islice(jobs, 1))

        yield in_order
