"""Labeled videos, and collections of them."""

import os
from dataclasses import dataclass

from deepvideo_tf.errors import AnnotationError

FilePath = str | os.PathLike[str]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class LabelledVideo:
    """A video, or a part of one, with its labels.

    Args:
        path: path below the video root, with forward slashes.
        labels: indices into the class names, ascending, at least one.
        start_s: start of the part, seconds from the first frame.
        end_s: end of the part, seconds from the first frame; None for the end of the video.
    """

    path: str
    labels: tuple[int, ...]
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def video_id(self) -> str:
        """The path, followed by the seconds if this is a part of a video: `tennis/a.mp4#2-7.5`."""
        if self.start_s == 0 and self.end_s is None:
            return self.path
        return f"{self.path}#{self.start_s:.10g}-{'' if self.end_s is None else f'{self.end_s:.10g}'}"


@dataclass(frozen=True)
class Annotations:
    """Labeled videos below one root.

    Args:
        video_root: the folder that the paths of the videos are relative to.
        classes: class names; a label is an index into them.
        videos: the videos, in the order of their list.
        ignored: files below the root without a video suffix (`read_folder` only).
        absent: listed videos without a file below the root (`read_sports1m` only; other formats keep such videos in
            `videos`, and building shards reports them as bad).
    """

    video_root: str
    classes: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]
    ignored: tuple[str, ...] = ()
    absent: tuple[LabelledVideo, ...] = ()


class UniqueVideos:
    """Videos in the order in which they were added; adding one twice is an error."""

    def __init__(self) -> None:
        self.found: list[LabelledVideo] = []
        self._where: dict[str, str] = {}

    def add(self, video: LabelledVideo, where: str) -> None:
        """Add a video that a line (`where`: file and number) lists; raise AnnotationError if it was added before."""
        if video.video_id in self._where:
            raise AnnotationError(f"{where}: {video.video_id} appears twice, first at {self._where[video.video_id]}")
        self._where[video.video_id] = where
        self.found.append(video)
