"""Video files below a root. Paths in lists are untrusted: none may leave the video root."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from deepvideo_tf.data.annotations.lines import read_lines
from deepvideo_tf.data.annotations.videos import FilePath
from deepvideo_tf.errors import AnnotationError
from deepvideo_tf.storage.paths import on_disk

VIDEO_SUFFIXES = frozenset([
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".vob", ".webm", ".wmv",
])  # fmt: skip


def has_video_suffix(path: FilePath) -> bool:
    """Return whether the suffix of a path is one of `VIDEO_SUFFIXES`, in upper or lower case."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def check_video_root(video_root: FilePath) -> str:
    """Return the path of the video root with all links resolved; raise AnnotationError if it is not a folder."""
    on_disk("video_root", video_root)
    if not os.path.isdir(video_root):
        found = "a file" if os.path.exists(video_root) else "nothing there"
        raise AnnotationError(f"{video_root}: expected the folder that holds the videos, found {found}")
    return os.path.realpath(video_root)


def checked_path(path: str, root: str, where: str) -> str:
    """Return a listed path in its simplest form, with forward slashes.

    Raises AnnotationError, which names the line (`where`), if the path is not printable, is a URL, or leaves the root
    (from `check_video_root`) by itself or by a link.
    """
    if not path.isprintable():  # NUL, line ends, escape sequences for terminals
        raise AnnotationError(f"{where}: expected a path of printable characters, found {path!r:.80}")
    if "://" in path:
        raise AnnotationError(f"{where}: expected a path below the video root, found an address, {path!r:.80}")
    simplest = os.path.normpath(path)
    resolved = os.path.realpath(os.path.join(root, simplest))
    leaves_root = os.path.isabs(path) or simplest.split(os.sep)[0] in ("..", ".")
    if leaves_root or os.path.commonpath([root, resolved]) != root:
        by_link = "" if leaves_root else ", a link that leads out of it"
        raise AnnotationError(f"{where}: expected a path below the video root, found {path!r:.80}{by_link}")
    return simplest.replace(os.sep, "/")


def find_videos(names: Iterable[FilePath]) -> list[str]:
    """Find the video files that files, folders and patterns stand for.

    Args:
        names: paths. A folder stands for all files in and below it with a video suffix; a pattern such as `a/*.mp4` or
            `**/*.avi` for the files that it matches. A file is taken whatever its suffix.

    Returns:
        Paths, those of each name in code point order, each one once. A plain name is included even if no such file
        exists: it is then a bad video.

    Raises:
        AnnotationError: a folder holds no video, or a pattern matches no file.
    """
    found: dict[str, None] = {}
    for name in map(str, names):
        if os.path.isdir(name):
            paths = sorted(str(path) for path in Path(name).rglob("*") if has_video_suffix(path) and path.is_file())
        elif os.path.exists(name) or not glob.has_magic(name):
            paths = [name]
        else:
            paths = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
        if not paths:
            expected = "a folder with videos" if os.path.isdir(name) else "a pattern that matches files"
            raise AnnotationError(f"{name}: expected {expected}, found none")
        found.update(dict.fromkeys(paths))
    return list(found)


def read_video_paths(video_root: FilePath, video_list: FilePath | None = None) -> tuple[str, ...]:
    """Read the paths of videos without labels, relative to a root.

    Args:
        video_root: the folder that the paths are relative to.
        video_list: a file with one relative path per line; None for all files in and below the root with a video
            suffix, in code point order.

    Returns:
        The relative paths, in their order.

    Raises:
        AnnotationError: no video is found, or a line leaves the root or appears twice.
    """
    root = check_video_root(video_root)
    if video_list is None:
        return tuple(Path(path).relative_to(video_root).as_posix() for path in find_videos([video_root]))
    found: dict[str, str] = {}
    for where, line in read_lines(video_list):
        path = checked_path(line.strip(), root, where)
        if path in found:
            raise AnnotationError(f"{where}: {path} appears twice, first at {found[path]}")
        found[path] = where
    if not found:
        raise AnnotationError(f"{video_list}: expected one path per line, found none")
    return tuple(found)
