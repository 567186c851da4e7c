"""Format `sports1m`: the lists of Sports-1M, whose videos are files named after their YouTube ids."""

import hashlib
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepvideo_tf.data.annotations.find import check_video_root, has_video_suffix
from deepvideo_tf.data.annotations.lines import parse_labels, read_classes, read_lines
from deepvideo_tf.data.annotations.source import AnnotationSource, register_format
from deepvideo_tf.data.annotations.videos import Annotations, FilePath, LabelledVideo, UniqueVideos
from deepvideo_tf.errors import AnnotationError

YOUTUBE_ID = r"([A-Za-z0-9_-]{11})"
YOUTUBE_URL = re.compile(rf"https?://(?:www\.)?youtube\.com/watch\?v={YOUTUBE_ID}")
# The names that downloaders give: <id>, <title> [<id>], <title>-<id>.
YOUTUBE_STEMS = (re.compile(rf"{YOUTUBE_ID}$"), re.compile(rf".*\[{YOUTUBE_ID}\]$"), re.compile(rf".*-{YOUTUBE_ID}$"))


@register_format("sports1m", required=("annotations", "classes"), lists_absent=True)
def read(source: AnnotationSource) -> dict[str, Annotations]:
    """Read a list; the training list as the splits `train` and `validation`."""
    videos = read_sports1m(source.annotations, source.video_root, source.classes)
    if source.split != "train":
        return {source.split: videos}
    parts = zip(("train", "validation"), cut_validation(videos), strict=True)
    return {split: part for split, part in parts if part.videos or part.absent}


def read_sports1m(annotations: FilePath, video_root: FilePath, classes: FilePath) -> Annotations:
    """Read a list of Sports-1M: a line with a video's URL and the numbers of its labels (section 4.1).

    The data set lists URLs, not files. A video is present if a file below the root is named after its YouTube id.

    Args:
        annotations: a list of the data set, plain or gzipped.
        video_root: the folder to look for the videos in, including all folders below it.
        classes: the data set's `labels.txt`; line 1 is label 0.

    Returns:
        `Annotations` of the videos that are present; the others are in `absent`.

    Raises:
        AnnotationError: a file cannot be read, or a line has another form; the message names file and line.
    """
    check_video_root(video_root)
    names = read_classes(classes)
    numbers = {str(label): label for label in range(len(names))}
    files = _files_by_youtube_id(video_root)
    present, absent = UniqueVideos(), UniqueVideos()
    for where, line in read_lines(annotations):
        url, _, label_text = line.strip().partition(" ")
        match = YOUTUBE_URL.fullmatch(url)
        if not match or not label_text:
            raise AnnotationError(
                f"{where}: expected 'https://www.youtube.com/watch?v=<id> label[,label]', found {line.strip()!r:.80}"
            )
        labels = parse_labels(label_text.split(","), numbers, where, classes)
        path = files.get(match.group(1))
        (absent if path is None else present).add(LabelledVideo(path or match.group(1), labels), where)
    if not present.found:
        raise AnnotationError(f"{annotations}: none of its {len(absent.found)} videos has a file below {video_root}")
    return Annotations(str(video_root), names, tuple(present.found), absent=tuple(absent.found))


def _files_by_youtube_id(video_root: FilePath) -> dict[str, str]:
    """Return the path below the root for each YouTube id; of several files the first in code point order."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(video_root):
        folders.sort()
        for name in sorted(names):
            youtube_id = _youtube_id(name)
            path = os.path.join(folder, name)
            if youtube_id and has_video_suffix(name) and not os.path.islink(path):
                found.setdefault(youtube_id, os.path.relpath(path, video_root).replace(os.sep, "/"))
    return found


def _youtube_id(path: str) -> str | None:
    stem = Path(path).stem
    return next((match.group(1) for match in (stems.fullmatch(stem) for stems in YOUTUBE_STEMS) if match), None)


def cut_validation(annotations: Annotations) -> tuple[Annotations, Annotations]:
    """Cut Sports-1M's validation set, 10 of 80 parts, from its training list (section 4.1).

    Args:
        annotations: `Annotations` of the training list.

    Returns:
        Training and validation `Annotations`.
    """

    def part(is_validation: bool) -> Annotations:
        present, absent = (
            tuple(video for video in videos if is_for_validation(video.path) == is_validation)
            for videos in (annotations.videos, annotations.absent)
        )
        return replace(annotations, videos=present, absent=absent)

    return part(False), part(True)


def is_for_validation(path: str) -> bool:
    """Return whether `cut_validation` takes a video; a hash of its YouTube id, or of the id in its path, decides."""
    name = _youtube_id(path) or Path(path).stem
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 80 < 10


def coverage(annotations: Annotations) -> dict[str, Any]:
    """Count how many videos of a list are present.

    Args:
        annotations: `Annotations` from `read_sports1m`.

    Returns:
        `listed` and `present` (counts), `absent` (ids) and `classes`: for each class name `listed` and `present`.
    """
    present = Counter(label for video in annotations.videos for label in video.labels)
    absent = Counter(label for video in annotations.absent for label in video.labels)
    return {
        "listed": len(annotations.videos) + len(annotations.absent),
        "present": len(annotations.videos),
        "absent": [video.path for video in annotations.absent],
        "classes": {
            name: {"listed": present[label] + absent[label], "present": present[label]}
            for label, name in enumerate(annotations.classes)
        },
    }
