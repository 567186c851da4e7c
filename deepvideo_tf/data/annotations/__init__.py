"""Lists of labelled videos: a folder of classes, a list, a table, and the lists of UCF-101 and Sports-1M.

What a list names is untrusted: a path may lead nowhere but below the video root.
"""

import csv
import glob
import gzip
import hashlib
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from deepvideo_tf.errors import AnnotationError, ConfigError
from deepvideo_tf.storage.paths import on_disk

SPLITS = ("train", "validation", "test")
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
MAX_LINE_BYTES = 100_000  # more is no list of videos
UCF101_FOLDS = (1, 2, 3)
YOUTUBE_ID = r"([A-Za-z0-9_-]{11})"
YOUTUBE_URL = re.compile(rf"https?://(?:www\.)?youtube\.com/watch\?v={YOUTUBE_ID}")
# The names that downloaders give: <id>, <title>-<id>, <title> [<id>].
YOUTUBE_STEMS = (re.compile(rf"{YOUTUBE_ID}$"), re.compile(rf".*\[{YOUTUBE_ID}\]$"), re.compile(rf".*-{YOUTUBE_ID}$"))


@dataclass(frozen=True)
class LabelledVideo:
    """A video, or a part of one, and what it shows.

    Args:
        path: below the video root, with forward slashes.
        labels: indices into the class names, ascending, at least one.
        start_s: where the part begins, seconds from the first frame.
        end_s: where it ends; None for the end of the video.
    """

    path: str
    labels: tuple[int, ...]
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def video_id(self):
        """The path, and for a part of a video its seconds: `tennis/a.mp4#2-7.5`."""
        if self.start_s == 0 and self.end_s is None:
            return self.path
        return f"{self.path}#{self.start_s:.10g}-{'' if self.end_s is None else f'{self.end_s:.10g}'}"


@dataclass(frozen=True)
class Annotations:
    """Labelled videos below one root.

    Args:
        video_root: the folder below which the videos lie, by their paths.
        classes: class names; a label is an index into them.
        videos: the videos, in the order of their list.
        ignored: files below the root that are not videos by their names (`read_folder` only).
        absent: what is listed but not below the root (`read_sports1m` only; elsewhere such a video is a bad one).
    """

    video_root: str
    classes: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]
    ignored: tuple[str, ...] = ()
    absent: tuple[LabelledVideo, ...] = ()


def _check_video_root(video_root):
    on_disk("video_root", video_root)
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


def find_videos(names):
    """The video files that files, folders and patterns stand for.

    Args:
        names: list of paths; a folder stands for all videos in and below it, by the endings of their names, and a
            pattern as `a/*.mp4` or `**/*.avi` for what it matches. A file is taken whatever its name.

    Returns:
        List of paths, those of each name in code point order, each one once. A plain name is among them whether or not
        there is such a file: it is a bad video then.

    Raises:
        AnnotationError: a folder holds no video, or a pattern matches no file.
    """
    found: dict[str, None] = {}
    for name in map(str, names):
        if os.path.isdir(name):
            below = (path for path in Path(name).rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
            paths = sorted(map(str, below))
        elif os.path.exists(name) or not glob.has_magic(name):
            paths = [name]
        else:
            paths = sorted(path for path in glob.glob(name, recursive=True) if os.path.isfile(path))
        if not paths:
            expected = "a folder with videos" if os.path.isdir(name) else "a pattern that matches files"
            raise AnnotationError(f"{name}: expected {expected}, found none")
        found.update(dict.fromkeys(paths))
    return list(found)


def read_video_paths(video_root, video_list=None):
    """The paths of videos without labels, below a root.

    Args:
        video_root: the folder that the paths start from.
        video_list: a file with a relative path a line; None for all videos in and below the root, by the endings of
            their names, in code point order.

    Returns:
        Tuple of relative paths, in their order.

    Raises:
        AnnotationError: there is no video, or a line leads out of the root or stands there twice.
    """
    _check_video_root(video_root)
    if video_list is None:
        return tuple(Path(path).relative_to(video_root).as_posix() for path in find_videos([video_root]))
    root = os.path.realpath(video_root)
    found: dict[str, str] = {}
    for where, line in _read_lines(video_list):
        path = _checked_path(line.strip(), root, where)
        if path in found:
            raise AnnotationError(f"{where}: {path} stands in {found[path]} already")
        found[path] = where
    if not found:
        raise AnnotationError(f"{video_list}: expected a line for each video, found none")
    return tuple(found)


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
    places = {}
    for where, line in _read_lines(path):
        name = line.strip()
        if not name.isprintable():
            raise AnnotationError(f"{where}: expected a name of printable characters, found {name!r:.80}")
        if name in places:
            raise AnnotationError(f"{where}: the class {name!r} stands at {places[name]} already")
        if int(where.rpartition(":")[2]) != len(places) + 1:
            raise AnnotationError(f"{path}:{len(places) + 1}: expected a class name, found an empty line")
        places[name] = where
    if not places:
        raise AnnotationError(f"{path}: expected one class name a line, found none")
    return tuple(places)


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
    label_of = _label_of(names)
    root = os.path.realpath(video_root)
    videos = _Videos()
    for where, line in _read_lines(annotations):
        path, _, label_text = line.strip().rpartition(" ")
        if not path:
            raise AnnotationError(f"{where}: expected 'relative/path label[,label]', found {line.strip()!r:.80}")
        labels = {_label(text, label_of, where, classes) for text in label_text.split(",")}
        videos.add(LabelledVideo(_checked_path(path.strip(), root, where), tuple(sorted(labels))), where)
    if not videos.found:
        raise AnnotationError(f"{annotations}: expected a line 'relative/path label[,label]' a video, found none")
    return Annotations(str(video_root), names, tuple(videos.found))


class _Videos:
    """The videos of a list, none of them twice."""

    def __init__(self):
        self.found = []
        self._where = {}

    def add(self, video, where):
        if video.video_id in self._where:
            raise AnnotationError(f"{where}: {video.video_id} stands at {self._where[video.video_id]} already")
        self._where[video.video_id] = where
        self.found.append(video)


def _label_of(names):
    return {name: label for label, name in enumerate(names)}


def read_csv(annotations, video_root, classes=None):
    """Reads a table with the columns `path` and `labels`, and if need be `split`, `start_s` and `end_s`.

    The first line names the columns; others than these are left alone. Labels are class names or 0-based numbers,
    several of them parted by `;`. A path may stand on several lines, with different parts of the video.

    Args:
        annotations: the table, UTF-8, as spreadsheets write it (comma separated values).
        video_root: the folder that the paths start from.
        classes: the file of class names, one a line; None for the labels of the table, in code point order.

    Returns:
        Dict from split to `Annotations`; the only key is None where the table has no column `split`.

    Raises:
        AnnotationError: a file cannot be read, or a line is not as described: the message names file and line.
    """
    _check_video_root(video_root)
    root = os.path.realpath(video_root)
    rows = list(_read_rows(annotations))
    if classes is None:
        numbers = [where for where, row in rows if any(text.isdigit() for text in _labels_in(row))]
        if numbers:
            raise AnnotationError(
                f"{numbers[0]}: expected names for labels, found a number; numbers need the class names"
            )
        names = tuple(sorted({text for _, row in rows for text in _labels_in(row)}))
    else:
        names = read_classes(classes)
    label_of = _label_of(names)
    splits = {}
    for where, row in rows:
        labels = {_label(text, label_of, where, classes or annotations) for text in _labels_in(row)}
        if not labels:
            raise AnnotationError(f"{where}: expected a label, found none")
        start_s, end_s = (_seconds(row, name, where) for name in ("start_s", "end_s"))
        if end_s is not None and end_s <= (start_s or 0):
            raise AnnotationError(f"{where}: expected an end_s after start_s, found {row['end_s']!r:.80}")
        path = _checked_path(row["path"].strip(), root, where)
        split = row.get("split")
        if "split" in row and split not in SPLITS:
            raise AnnotationError(f"{where}: expected a split of {', '.join(SPLITS)}, found {split!r:.80}")
        video = LabelledVideo(path, tuple(sorted(labels)), start_s or 0.0, end_s)
        splits.setdefault(split, _Videos()).add(video, where)
    if not splits:
        raise AnnotationError(f"{annotations}: expected a line for each video, found none")
    return {split: Annotations(str(video_root), names, tuple(videos.found)) for split, videos in splits.items()}


def _read_rows(path):
    """Yields (where, dict by column) for each line of a table."""
    places = []

    def texts():
        for where, line in _read_lines(path):
            places.append(where)
            yield line + "\n"

    rows = csv.reader(texts(), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if not {"path", "labels"} <= set(header) or len(set(header)) < len(header):
            raise AnnotationError(f"{path}:1: expected the columns path and labels once each, found {header!r:.80}")
        for row in rows:
            if len(row) != len(header):
                raise AnnotationError(f"{places[-1]}: expected {len(header)} columns, found {len(row)}")
            columns = dict(zip(header, row, strict=True))
            _check_printable(columns, places[-1])
            yield places[-1], columns
    except csv.Error as error:
        raise AnnotationError(f"{places[-1]}: not a table of comma separated values: {error}") from None


def _labels_in(row):
    return [text.strip() for text in row["labels"].split(";") if text.strip()]


def _check_printable(row, where):
    for name, text in row.items():
        if name in ("path", "labels") and not text.isprintable():
            raise AnnotationError(f"{where}: expected printable characters in {name}, found {text!r:.80}")


def _seconds(row, name, where):
    text = (row.get(name) or "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+", text):
        raise AnnotationError(f"{where}: expected {name} in seconds, found {text!r:.80}")
    return float(text)


def read_ucf101(lists_dir, video_root, fold=1):
    """Reads the official lists of UCF-101: `classInd.txt`, and `trainlist0X.txt` and `testlist0X.txt` of one fold.

    Labels are the numbers of `classInd.txt` less 1: its order is not that of sorted names (HammerThrow comes before
    Hammering in one and after it in the other).

    Args:
        lists_dir: the folder of the lists.
        video_root: the folder of class folders.
        fold: 1, 2 or 3; the paper's results are the mean over all three (section 4.2).

    Returns:
        Dict of `train` and `test` `Annotations`.

    Raises:
        AnnotationError: a list cannot be read, or a line is not as in the official ones: the message names the line.
        ConfigError: no such fold.
    """
    if fold not in UCF101_FOLDS:
        raise ConfigError(f"fold must be one of 1, 2, 3. Received: {fold!r}")
    _check_video_root(video_root)
    root = os.path.realpath(video_root)
    names = []
    for where, line in _read_lines(Path(lists_dir) / "classInd.txt"):
        number, _, name = line.strip().partition(" ")
        if number != str(len(names) + 1) or not name:
            raise AnnotationError(f"{where}: expected '{len(names) + 1} <class>', found {line.strip()!r:.80}")
        names.append(name)
    label_of = _label_of(names)
    splits = {}
    for split in ("train", "test"):
        videos = _Videos()
        for where, line in _read_lines(Path(lists_dir) / f"{split}list{fold:02d}.txt"):
            path, _, number = line.strip().partition(" ")
            # The folder tells the class: the files of HandstandPushups are called v_HandStandPushups_*.
            label = label_of.get(path.partition("/")[0])
            if label is None or number not in ([str(label + 1)] if split == "train" else ["", str(label + 1)]):
                raise AnnotationError(f"{where}: expected '<class>/<file>' and the class's number, found {line!r:.80}")
            videos.add(LabelledVideo(_checked_path(path, root, where), (label,)), where)
        splits[split] = Annotations(str(video_root), tuple(names), tuple(videos.found))
    return splits


def read_sports1m(annotations, video_root, classes):
    """Reads a list of Sports-1M: a line with a video's address and the numbers of its labels (section 4.1).

    The data set gives addresses, not videos: a video is there if a file below the root is named after its YouTube id.

    Args:
        annotations: a list of the data set, plain or gzipped.
        video_root: the folder to look for the videos in, with all folders below it.
        classes: the data set's `labels.txt`; line 1 is label 0.

    Returns:
        `Annotations` of the videos that are there; those that are not stand in `absent`.

    Raises:
        AnnotationError: a file cannot be read, or a line is not as described: the message names file and line.
    """
    _check_video_root(video_root)
    names = read_classes(classes)
    numbers = {str(label): label for label in range(len(names))}
    files = _files_by_youtube_id(video_root)
    there, absent = _Videos(), _Videos()
    for where, line in _read_lines(annotations):
        url, _, label_text = line.strip().partition(" ")
        match = YOUTUBE_URL.fullmatch(url)
        if not match or not label_text:
            raise AnnotationError(
                f"{where}: expected 'https://www.youtube.com/watch?v=<id> label[,label]', found {line.strip()!r:.80}"
            )
        labels = {_label(text, numbers, where, classes) for text in label_text.split(",")}
        youtube_id = match.group(1)
        path = files.get(youtube_id)
        (absent if path is None else there).add(LabelledVideo(path or youtube_id, tuple(sorted(labels))), where)
    if not there.found:
        raise AnnotationError(f"{annotations}: none of its {len(absent.found)} videos has a file below {video_root}")
    return Annotations(str(video_root), names, tuple(there.found), absent=tuple(absent.found))


def cut_validation(annotations):
    """Cuts Sports-1M's validation part, 10 of 80 parts, from its training list (section 4.1).

    Which videos they are is decided by a hash of their ids, and never changes, whichever videos are there.

    Args:
        annotations: of the training list.

    Returns:
        Training and validation `Annotations`.
    """

    def part(videos, is_validation):
        return tuple(video for video in videos if _is_validation(video.path) == is_validation)

    return tuple(
        replace(annotations, videos=part(annotations.videos, kind), absent=part(annotations.absent, kind))
        for kind in (False, True)
    )


def _is_validation(path):
    name = _youtube_id(Path(path).stem) or Path(path).stem
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 80 < 10


def _youtube_id(stem):
    for pattern in YOUTUBE_STEMS:
        match = pattern.fullmatch(stem)
        if match:
            return match.group(1)
    return None


def _files_by_youtube_id(video_root):
    """Path below the root by YouTube id; of several files the first in code point order."""
    found = {}
    for folder, folders, names in os.walk(video_root):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            youtube_id = _youtube_id(stem)
            path = os.path.join(folder, name)
            if youtube_id and suffix.lower() in VIDEO_SUFFIXES and not os.path.islink(path):
                found.setdefault(youtube_id, os.path.relpath(path, video_root).replace(os.sep, "/"))
    return found


def coverage(annotations):
    """How much of a list is there.

    Args:
        annotations: from `read_sports1m`.

    Returns:
        Dict of `listed`, `present`, `absent` (ids) and `classes`: for each name the videos listed and present.
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


def _read_lines(path):
    """Yields (`path:line number`, text) for each line that is not empty; of a gzipped file too."""
    on_disk("a list", path)
    try:
        with open(path, "rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with (gzip.open if is_gzip else open)(path, "rb") as file:
            for number in range(1, 2**63):
                line = file.readline(MAX_LINE_BYTES + 1)
                if not line:
                    return
                where = f"{path}:{number}"
                if len(line) > MAX_LINE_BYTES:
                    raise AnnotationError(f"{where}: the line is longer than {MAX_LINE_BYTES} bytes")
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield where, text
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{where}: expected UTF-8 text, found byte {error.object[error.start]:#x}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise AnnotationError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name of the list itself
        raise AnnotationError(f"{str(path)!r}: cannot be read: {error}") from None


def _checked_path(path, root, where):
    """The path in its simplest form, refused where it leads out of the root, by itself or by a link."""
    if not path.isprintable():  # NUL, line ends, what a terminal takes for commands
        raise AnnotationError(f"{where}: expected a path of printable characters, found {path!r:.80}")
    if "://" in path:
        raise AnnotationError(f"{where}: expected a path below the video root, found an address, {path!r:.80}")
    simplest = os.path.normpath(path)
    resolved = os.path.realpath(os.path.join(root, simplest))
    leads_out = os.path.isabs(path) or simplest.split(os.sep)[0] in ("..", ".")
    if leads_out or os.path.commonpath([root, resolved]) != root:
        by_link = "" if leads_out else ", a link that leads out of it"
        raise AnnotationError(f"{where}: expected a path below the video root, found {path!r:.80}{by_link}")
    return simplest.replace(os.sep, "/")


def _label(text, label_of, where, classes):
    num_classes = len(label_of)
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if text in label_of and (not is_number or label_of[text] == int(text)):
        return label_of[text]
    if text in label_of:
        raise AnnotationError(
            f"{where}: {text!r} is both a label number and the name of class {label_of[text]} in {classes}; "
            "give that class a name that is no number"
        )
    if is_number and int(text) < num_classes:
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
        groups.setdefault(group_of(video.video_id), []).append(video)
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


def group_of(video_id):
    """The source video that it was cut from, by UCF-101's naming; the video itself where it is named otherwise."""
    match = GROUP_PATTERN.match(video_id.rpartition("/")[2])
    return video_id.rpartition("/")[0] + "/" + match.group(1) if match else video_id
