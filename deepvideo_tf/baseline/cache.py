"""Codebooks and vectors of the clips in shards, computed once and kept beside the shards.

    SHARDS/features/codebooks-5f2b9c0d1e7a4f36-0a1b2c3d4e5f6071.npz
    SHARDS/features/train-8e1d7c6b5a493827/train-00000-of-00016-9c8b7a6d5e4f3021.rows     a file for each shard

The first hash is of all that the content depends on: the shards, the clips, the features. The last one is of the file's
own content, so that one rename publishes both, and damage is noticed. The folder can be deleted at any time.
"""

import contextlib
import hashlib
import logging
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.baseline import codebooks as books
from deepvideo_tf.baseline.feature_process import feature_processes
from deepvideo_tf.baseline.features import FEATURES_VERSION, KIND_DIMS, KINDS
from deepvideo_tf.baseline.vectors import ClipVectors
from deepvideo_tf.config import ClipSpec, to_json
from deepvideo_tf.data.sampling import middle_frames, view_boxes
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.errors import ShardError
from deepvideo_tf.execution.jobs import fingerprint_of
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.locks import locked
from deepvideo_tf.storage.paths import PathLike, on_disk
from deepvideo_tf.storage.writes import publish, staging_file

logger = logging.getLogger(__name__)

FOLDER = "features"  # beside the shards
SEED = 0  # of samples and k-means: runs with other seeds share their codebooks
SAMPLED_SHARDS = 64  # that codebooks are learned from, at most
SAMPLED_CLIPS = 1000  # in all of them, at most
SAMPLED_DESCRIPTORS = 100  # of each kind, of a clip
HASH_DIGITS = 16


def learn_codebooks(
    shards_dir: PathLike, clip: ClipSpec, num_words: int, *, num_workers: int | None = None
) -> dict[str, books.Codebook]:
    """Learn the codebooks of a model from the training shards, or read them from beside these.

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
    with _only_writer(shards_dir) as folder:
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


def _save_codebooks(stem: Path, found: Mapping[str, books.Codebook]) -> Path:
    arrays: dict[str, Any] = {kind: codebook.words for kind, codebook in found.items()}
    arrays |= {f"{kind}_width": np.float64(codebook.width) for kind, codebook in found.items()}
    with staging_file(stem.parent, "unfinished.npz") as unfinished:
        np.savez(unfinished, **arrays)
        return _publish(unfinished, stem, "npz", hash_of(unfinished))


def _learn(
    manifest: Manifest,
    shards_dir: PathLike,
    clip: ClipSpec,
    settings: Mapping[str, Any],
    num_words: int,
    num_workers: int | None,
) -> tuple[dict[str, books.Codebook], bool]:
    """Return the codebooks, and whether no record was damaged where they were learned from."""
    damage: list[tuple[int, str]] = []
    shards = [manifest.shards[index] for index in evenly_spread(len(manifest.shards), SAMPLED_SHARDS)]
    samples: list[list[np.ndarray]] = [[] for _ in KINDS]

    def jobs() -> Iterator[tuple[list[bytes], list[int]]]:
        for number, shard in enumerate(shards):
            wanted = set(evenly_spread(shard["records"], math.ceil(SAMPLED_CLIPS / len(shards))))
            path = on_disk("shards_dir", shards_dir) / shard["name"]
            whole = records.read_records(path, lambda offset, problem: damage.append((offset, problem)))
            for index, (_, record) in enumerate(whole):
                if index in wanted:
                    yield _middle_frames(records.record_to_dict(record), manifest, clip), [SEED, number, index]

    with feature_processes(settings, None, num_workers) as in_order:
        for arrays in in_order(jobs()):
            for sample, array in zip(samples, arrays, strict=True):
                sample.append(array)
    joined = [
        np.concatenate([np.zeros((0, KIND_DIMS[kind]), np.float32), *some])
        for kind, some in zip(KINDS, samples, strict=True)
    ]
    found = {kind: books.learn_codebook(rows, num_words, SEED) for kind, rows in zip(KINDS, joined, strict=True)}
    return found, not damage


def evenly_spread(count: int, most: int) -> list[int]:
    """Return `most` of the numbers below `count`, evenly spread; all of them if there are no more."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def clip_vectors(
    shards_dir: PathLike,
    split: str,
    clip: ClipSpec,
    codebooks: Mapping[str, books.Codebook],
    num_views: int,
    *,
    max_bad_fraction: float,
    num_workers: int | None = None,
) -> ClipVectors:
    """Compute the vectors of all clips of a split, or find them beside the shards.

    After an interruption it resumes with the shards that are not done. A damaged file is reported and computed again.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        codebooks: dict from each kind of feature to its `Codebook`.
        num_views: views of each clip, 1 to 5, the same ones as evaluation's (`view_boxes`).
        max_bad_fraction: the fraction of the clips that may be damaged; they are left out with a warning.
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
    with _only_writer(shards_dir) as features:
        folder = features / f"{split}-{_fingerprint(about, manifest)}"
        folder.mkdir(exist_ok=True)
        paths, lost = [], 0
        with feature_processes(settings, codebooks, num_workers) as in_order:
            for number, shard in enumerate(manifest.shards):
                stem = folder / Path(shard["name"]).stem
                path = _whole_file(folder, stem.name, "rows", shard["records"] * row.itemsize)
                if path is None:
                    logger.info("features of the %s clips: shard %d of %d", split, number + 1, len(manifest.shards))
                    clips = _clips(features.parent / shard["name"], manifest, clip)
                    path = _write_rows(stem, row, clips, in_order)
                paths.append(path)
                lost += shard["records"] - path.stat().st_size // row.itemsize
                if lost > max_bad_fraction * manifest.records:
                    raise ShardError(f"more than {max_bad_fraction:g} of {manifest.records} records are damaged")
        if lost:
            logger.warning("%d damaged records of %d skipped", lost, manifest.records)
        files = [np.memmap(path, row, "r") for path in paths if path.stat().st_size]
    return ClipVectors(files, manifest.records)


def _settings(manifest: Manifest, clip: ClipSpec, num_views: int, sampled: int | None) -> dict[str, Any]:
    """Return what a process must know about stored clips."""
    spec = manifest.spec
    return {
        "frame_format": spec.frame_format,
        "frame_size_px": spec.frame_size_px,
        "crop_size_px": clip.crop_size_px,
        "boxes": view_boxes(spec.frame_size_px, clip.crop_size_px, num_views, clip.flip),
        "sampled": sampled,
    }


def _fingerprint(about: Sequence[Any], manifest: Manifest) -> str:
    return fingerprint_of([*about, manifest.fingerprint, manifest.content_sha256])[:HASH_DIGITS]


def _digest(codebooks: Mapping[str, books.Codebook]) -> str:
    digest = hashlib.sha256()
    for kind in KINDS:
        digest.update(np.ascontiguousarray(codebooks[kind].words).tobytes())
        digest.update(np.float64(codebooks[kind].width).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _only_writer(shards_dir: PathLike) -> Iterator[Path]:
    """Yield the folder of features, while no other process writes to it."""
    folder = on_disk("of feature_histograms, shards_dir", shards_dir) / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder / ".lock"):
            yield folder
    except OSError as error:
        raise ShardError(
            f"{error.filename or folder}: cannot be written, where the features of the clips are kept: {error.strerror}"
        ) from None


def _whole_file(folder: Path, stem: str, ending: str, size_bytes: int | None = None) -> Path | None:
    """Return the file whose content is what its name says, or None; others by that name are removed."""
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


def _publish(unfinished: Path, stem: Path, ending: str, sha256: str) -> Path:
    path = stem.with_name(f"{stem.name}-{sha256[:HASH_DIGITS]}.{ending}")
    publish(unfinished, path)
    return path


def _clips(path: Path, manifest: Manifest, clip: ClipSpec) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yield the frames that the model sees and the labels of each whole record of a shard."""

    def on_damage(offset: int, problem: str) -> None:
        logger.warning("skipped damage in %s at byte %d: %s", path, offset, problem)

    for _, record in records.read_records(path, on_damage):
        data = records.record_to_dict(record)
        labels = np.zeros(len(manifest.classes), np.bool_)
        labels[data[records.LABELS]] = True
        yield _middle_frames(data, manifest, clip), labels


def _middle_frames(data: Mapping[str, Any], manifest: Manifest, clip: ClipSpec) -> list[bytes]:
    """Return the middle frames of a stored clip, those that evaluation sees."""
    return data[records.FRAMES][middle_frames(manifest.spec.clip_frames, clip)]


def _write_rows(
    stem: Path,
    row: np.dtype,
    clips: Iterable[tuple[list[bytes], np.ndarray]],
    in_order: Callable[[Iterable[tuple[list[bytes], int]]], Iterable[np.ndarray]],
) -> Path:
    labels: deque[np.ndarray] = deque()

    def jobs() -> Iterator[tuple[list[bytes], int]]:
        for frames, of_clip in clips:
            labels.append(of_clip)
            yield frames, 0

    digest = hashlib.sha256()
    with staging_file(stem.parent, "unfinished.rows") as unfinished:
        with open(unfinished, "wb") as file:
            for vectors in in_order(jobs()):
                content = np.array((vectors, labels.popleft()), row).tobytes()
                digest.update(content)
                file.write(content)
        return _publish(unfinished, stem, "rows", digest.hexdigest())
