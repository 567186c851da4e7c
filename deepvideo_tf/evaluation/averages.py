"""Averages of clip scores, and the scratch files that hold what may not fit into memory."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from deepvideo_tf.errors import ModelFileError
from deepvideo_tf.evaluation.scores import Scores, check_same_clips, row_chunks
from deepvideo_tf.storage.files import scratch_dir
from deepvideo_tf.storage.paths import PathLike


@contextlib.contextmanager
def scratch_files(folder: PathLike | None, count: int = 1) -> Iterator[list[IO[bytes]]]:
    """Yield files without a name for the rows of clip scores; what has mapped one can read it after the block.

    Args:
        folder: where they are; None, or a bucket, for the system's temporary folder.
        count: how many.

    Yields:
        The files, opened for writing.

    Raises:
        ModelFileError: they cannot be made or written.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(tempfile.TemporaryFile(dir=scratch_dir(folder))) for _ in range(count)]
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise ModelFileError(f"{where}: the scores cannot be written: {error.strerror}") from None


def append_rows(file: IO[bytes], rows: np.ndarray) -> None:
    """Append rows, `[clip, class]`, as float32."""
    # Written, not mapped: a full disk then raises an error instead of ending the process.
    file.write(np.ascontiguousarray(rows, np.float32).data)


def map_rows(file: IO[bytes], num_classes: int) -> np.ndarray:
    """Map the rows that were appended, float32 `[clip, class]`."""
    file.flush()
    return np.memmap(file, np.float32, "r").reshape(-1, num_classes)


def video_means(clip_scores: np.ndarray, clip_videos: np.ndarray) -> np.ndarray:
    """Average the clips of each video.

    Args:
        clip_scores: `[clip, class]`.
        clip_videos: int `[clip]`, the index of the clip's video.

    Returns:
        float64 `[video, class]`.
    """
    counts = np.bincount(clip_videos)
    sums = np.zeros((len(counts), clip_scores.shape[1]))
    for rows in row_chunks(clip_scores):
        np.add.at(sums, clip_videos[rows], clip_scores[rows])
    return np.divide(sums, counts[:, None], out=sums)


def average_scores(members: Mapping[Any, Scores], *, folder: PathLike | None = None) -> Scores:
    """Average the scores of several models for the same clips (the CNN average of Table 1).

    Args:
        members: from the name of a model to its `Scores`; the models and their clips may be of any kind.
        folder: where the averages of the clips are put, in a file without a name; None for the system's temporary
            folder.

    Returns:
        `Scores`; those of the member itself if there is only one.

    Raises:
        ShardError: the scores are of different clips or classes.
        ModelFileError: the averages cannot be written.
    """
    check_same_clips(members)
    scores = list(members.values())
    if len(scores) == 1:
        return scores[0]
    with scratch_files(folder) as (file,):
        for rows in row_chunks(scores[0].clip_scores):
            append_rows(file, np.stack([member.clip_scores[rows] for member in scores]).mean(axis=0, dtype=np.float64))
        clip_scores = map_rows(file, len(scores[0].classes))
    return Scores(
        scores[0].video_ids,
        scores[0].classes,
        scores[0].is_true,
        sum((member.video_scores for member in scores[1:]), scores[0].video_scores) / len(scores),
        clip_scores,
        scores[0].clip_videos,
        scores[0].about | {"models": [name for member in scores for name in member.about["models"]]},
    )
