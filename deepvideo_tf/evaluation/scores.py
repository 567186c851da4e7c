"""The scores of a run for each clip and video of a split, and the file that keeps them.

Clip scores may be many times larger than memory: they are written to the disk as they are computed, and mapped, not
read.
"""

import json
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepvideo_tf.errors import DeepVideoError, ModelFileError, ShardError, first_line
from deepvideo_tf.storage.files import working_copy
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import staged_file

FORWARD = "forward"
MOTION_ORDERS = ("shuffled", "reversed", "frozen")
_SMALL_ARRAYS = ("about", "video_ids", "classes", "is_true", "video_scores", "clip_videos")
_CHUNK_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of each clip and each video of a split.

    Args:
        video_ids: ids of the videos, in the order of the shards.
        classes: class names, in the order of the scores.
        is_true: bool `[video, class]`.
        video_scores: float64 `[video, class]`, the mean of the video's clips.
        clip_scores: float32 `[clip, class]`, the mean of the clip's views; mapped from the disk.
        clip_videos: int64 `[clip]`, the index of the clip's video.
        about: what they were computed from: `split`, `shards_fingerprint`, `shards_sha256`, `models` (the names of the
            checkpoints, which hold a hash of their content), `num_views`, `time_order` (one of `forward`, `shuffled`,
            `reversed`, `frozen`).
    """

    video_ids: tuple[str, ...]
    classes: tuple[str, ...]
    is_true: np.ndarray
    video_scores: np.ndarray
    clip_scores: np.ndarray
    clip_videos: np.ndarray
    about: dict[str, Any]


def scores_path(workdir: PathLike, split: str, time_order: str = FORWARD) -> AnyPath:
    """Return the file of a run's scores."""
    ending = "" if time_order == FORWARD else f"-{time_order}"
    return to_path(workdir) / f"scores-{split}{ending}.npz"


def row_chunks(array: np.ndarray) -> Iterator[slice]:
    """Yield slices of the rows of a mapped array that fit into memory."""
    rows = max(1, _CHUNK_VALUES // array.shape[1])
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)


def check_same_clips(members: Mapping[Any, Scores]) -> None:
    """Raise ShardError unless scores can be compared and averaged.

    Args:
        members: from the name of a model to its `Scores`.

    Raises:
        ShardError: the scores are of different clips, videos or classes; the message names both models.
    """
    (name, scores), *others = members.items()
    for other_name, other in others:
        is_same = {
            "classes": scores.classes == other.classes,
            "videos": scores.video_ids == other.video_ids and np.array_equal(scores.is_true, other.is_true),
            "clips": np.array_equal(scores.clip_videos, other.clip_videos),
        }
        for what in is_same:
            if not is_same[what]:
                raise ShardError(f"{name} and {other_name}: expected scores of the same shards, found other {what}")


def save(scores: Scores, path: PathLike) -> None:
    """Write scores to one `.npz` file, which appears whole.

    Args:
        scores: the scores.
        path: the file; an existing one is replaced.

    Raises:
        ModelFileError: it cannot be written.
    """
    path = to_path(path)
    try:
        with staged_file(path, f"unfinished-{os.getpid()}-{path.name}") as local, open(local, "wb") as file:
            np.savez(
                file,
                about=np.array(json.dumps(scores.about)),
                video_ids=np.array(scores.video_ids),
                classes=np.array(scores.classes),
                is_true=scores.is_true,
                video_scores=scores.video_scores,
                clip_scores=scores.clip_scores,
                clip_videos=scores.clip_videos,
            )
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written: {error.strerror}") from None


def read(path: PathLike) -> Scores:
    """Read a file that `save` wrote, and check every byte; the clip scores stay on the disk.

    Args:
        path: the file.

    Returns:
        `Scores`.

    Raises:
        ModelFileError: there is no such file, or it is damaged or not a file of scores.
    """
    path = to_path(path)
    try:
        with working_copy(path) as local:
            return _read(local)
    except DeepVideoError:
        raise
    except Exception as error:  # damage raises anything: BadZipFile, KeyError, EOFError, errors of zlib
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ModelFileError(f"{path}: not a whole file of scores: {reason}") from None


def _read(path: Path) -> Scores:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} does not match its checksum")
        clip_scores = _map_member(path, archive.getinfo("clip_scores.npy"))
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in _SMALL_ARRAYS}
    scores = Scores(
        video_ids=tuple(arrays["video_ids"].tolist()),
        classes=tuple(arrays["classes"].tolist()),
        is_true=arrays["is_true"],
        video_scores=arrays["video_scores"],
        clip_scores=clip_scores,
        clip_videos=arrays["clip_videos"],
        about=json.loads(str(arrays["about"])),
    )
    _check_shapes(scores)
    return scores


def _map_member(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    """Map an array inside an `.npz` file, which NumPy's own reader would read into memory."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its clip scores are compressed")
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        name_bytes, extra_bytes = struct.unpack("<26xHH", file.read(30))
        file.seek(name_bytes + extra_bytes, os.SEEK_CUR)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](file)
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")


def _check_shapes(scores: Scores) -> None:
    videos, clips, classes = len(scores.video_ids), len(scores.clip_videos), len(scores.classes)
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "is_true": ((videos, classes), bool),
        "video_scores": ((videos, classes), np.float64),
        "clip_scores": ((clips, classes), np.float32),
        "clip_videos": ((clips,), np.int64),
    }
    for name, (shape, dtype) in expected.items():
        found = getattr(scores, name)
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(
                f"expected {name} of {dtype.__name__}{list(shape)}, found {found.dtype}{list(found.shape)}"
            )
    if not np.array_equal(np.unique(scores.clip_videos), np.arange(videos)) or not isinstance(scores.about, dict):
        raise ValueError("expected clips of each of its videos, and what they are about")
