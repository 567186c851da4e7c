"""Lists of labelled videos: from a folder of classes, or from a list file."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from deepvideo_tf.errors import AnnotationError, ConfigError

VIDEO_SUFFIXES = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".flv",
        ".gif",
        ".m2ts",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".ogv",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
    ]
)
# UCF-101 names its files v_<Class>_g<group>_c<clip>; the clips of a group are cut from one source video.
GROUP_PATTERN = re.compile(r"(v_.+_g\d+)_c\d+")


@dataclass(frozen=True)
class LabelledVideo:
    """A video and what it shows.

    Args:
        video_id: path below the video root, with forward slashes.
        labels: indices into the class names, ascending, at least one.
    """

    video_id: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Annotations:
    """Labelled videos below one root.

    Args:
        video_root: the folder that `video_id`s start from.
        classes: class names; a label is an index into them.
        videos: the videos, in the order of their list.
        ignored: files below the root that are not videos by their names (`read_folder` only).
    """

    video_root: str
    classes: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]
    ignored: tuple[str, ...] = ()


def _check_video_root(video_root):
    if not os.path.isdir(video_root):
        came = "a file" if os.path.exists(video_root) else "nothing there"
        raise AnnotationError(f"{video_root}: expected the folder that holds the videos, found {came}")


def read_folder(video_root):
    """Reads a folder `<video_root>/<class>/<video>`; the class names are the folder names in code point order.

    Args:
        video_root: the folder of class folders.

    Returns:
        `Annotations`.

    Raises:
        AnnotationError: the folder is missing, has no class folders, or one of them holds no video.
    """
    _check_video_root(video_root)
    root = Path(video_root)
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise AnnotationError(f"{video_root}: expected a folder for each class, found no folder")
    videos = []
    ignored = [entry.name for entry in sorted(root.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
    for label, folder in enumerate(folders):
        # One level of folders, as the format says; what lies deeper is listed among the ignored. Hidden files are the
        # file manager's own.
        names = sorted(entry.name for entry in (root / folder).iterdir() if not entry.name.startswith("."))
        _check_names([folder, *names], root)
        found = [
            name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES and (root / folder / name).is_file()
        ]
        if not found:
            raise AnnotationError(
                f"{root / folder}: expected videos of the class {folder!r} "
                f"({', '.join(sorted(VIDEO_SUFFIXES))}), found none"
            )
        videos += [LabelledVideo(f"{folder}/{name}", (label,)) for name in found]
        ignored += [f"{folder}/{name}" for name in names if name not in set(found)]
    return Annotations(str(video_root), tuple(folders), tuple(videos), tuple(ignored))


def _check_names(names, root):
    for name in names:
        if not name.isprintable():  # also what Python makes of bytes that are not UTF-8
            raise AnnotationError(f"{root}: expected printable names in UTF-8, found {name!r}")


def read_classes(path):
    """Reads a file with one class name a line; line 1 is label 0.

    Args:
        path: UTF-8 text; line ends may be CRLF.

    Returns:
        Tuple of names.

    Raises:
        AnnotationError: the file cannot be read, has no name, an empty line between names, or a name twice.
    """
    names = [line.strip() for line in _read_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise AnnotationError(f"{path}: expected one class name a line, found none")
    seen = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise AnnotationError(f"{path}:{number}: expected a class name, found an empty line")
        if name in seen:
            raise AnnotationError(f"{path}:{number}: the class {name!r} stands on line {seen[name]} already")
        seen[name] = number
    return tuple(names)


def read_list(annotations, video_root, classes):
    """Reads a list with a line `relative/path label[,label]` for each video.

    A label is a 0-based number or a class name. Empty lines say nothing. The label begins
    after the last space of the line, so paths may hold spaces; labels may not, so a class whose name holds one is
    given by its number.

    Args:
        annotations: the list file, UTF-8.
        video_root: the folder that the paths start from.
        classes: the file of class names, one a line.

    Returns:
        `Annotations`. Whether the videos are there is found out when they are decoded.

    Raises:
        AnnotationError: a file cannot be read, or a line is not as described: the message names file and line.
    """
    _check_video_root(video_root)
    names = read_classes(classes)
    label_of = {name: label for label, name in enumerate(names)}
    root = os.path.realpath(video_root)
    videos, first_line = [], {}
    for number, line in enumerate(_read_lines(annotations), start=1):
        if not line.strip():
            continue
        where = f"{annotations}:{number}"
        path, _, label_text = line.strip().rpartition(" ")
        if not path:
            raise AnnotationError(f"{where}: expected 'relative/path label[,label]', found {line.strip()!r:.80}")
        video_id = _checked_path(path.strip(), root, where)
        if video_id in first_line:
            raise AnnotationError(f"{where}: {video_id} stands on line {first_line[video_id]} already")
        first_line[video_id] = number
        labels = {_label(text, label_of, len(names), where, classes) for text in label_text.split(",")}
        videos.append(LabelledVideo(video_id, tuple(sorted(labels))))
    if not videos:
        raise AnnotationError(f"{annotations}: expected a line 'relative/path label[,label]' a video, found none")
    return Annotations(str(video_root), names, tuple(videos))


def _read_lines(path):
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().splitlines()
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#x}") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None


def _checked_path(path, root, where):
    """The path in its simplest form, refused where it leads out of the root, by itself or by a link."""
    if "\0" in path:
        raise AnnotationError(f"{where}: the path holds a NUL character")
    simplest = os.path.normpath(path)
    resolved = os.path.realpath(os.path.join(root, simplest))
    if os.path.isabs(path) or simplest.startswith("..") or os.path.commonpath([root, resolved]) != root:
        by_link = "" if os.path.isabs(path) or simplest.startswith("..") else ", a link that leads out of it"
        raise AnnotationError(f"{where}: expected a path below the video root, found {path!r:.80}{by_link}")
    return simplest.replace(os.sep, "/")


def _label(text, label_of, num_classes, where, classes):
    if text in label_of and (not text.isdigit() or label_of[text] == int(text)):
        return label_of[text]
    if text in label_of:
        raise AnnotationError(
            f"{where}: {text!r} is both a label number and the name of class {label_of[text]} in {classes}; "
            "give that class a name that is no number"
        )
    if text.isascii() and text.isdigit() and int(text) < num_classes:
        return int(text)
    raise AnnotationError(
        f"{where}: expected a label from 0 to {num_classes - 1} or a name of {classes}, found {text!r:.80}"
    )


def hold_out(annotations, fraction):
    """Parts the videos of each class into a training and a test set, the same ones every time.

    Videos that UCF-101's naming puts into one group stay together, since they come from one source video. Which ones
    are held out is decided by a hash of their paths, not by their order.

    Args:
        annotations: single-label `Annotations`.
        fraction: part of each class to hold out, above 0 and below 1; at least one video or group is, and never all.

    Returns:
        Training and test `Annotations`.

    Raises:
        AnnotationError: a class has a single video or group, which cannot be parted.
        ConfigError: the fraction is outside its range.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"holdout_fraction must be above 0 and below 1. Received: {fraction!r}")
    groups_of_class = {}
    for video in annotations.videos:
        groups = groups_of_class.setdefault(video.labels[0], {})
        groups.setdefault(_group(video.video_id), []).append(video)
    test = set()
    for label, groups in groups_of_class.items():
        if len(groups) < 2:
            raise AnnotationError(
                f"{annotations.video_root}: expected at least 2 videos of the class "
                f"{annotations.classes[label]!r}, so that one can be held out, found 1"
            )
        order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
        held_out = min(max(1, round(fraction * len(order))), len(order) - 1)
        test.update(video for group in order[:held_out] for video in groups[group])
    parts = [tuple(video for video in annotations.videos if (video in test) == is_test) for is_test in (False, True)]
    return tuple(Annotations(annotations.video_root, annotations.classes, part, annotations.ignored) for part in parts)


def _group(video_id):
    match = GROUP_PATTERN.match(video_id.rpartition("/")[2])
    return video_id.rpartition("/")[0] + "/" + match.group(1) if match else video_id
