"""Format `csv`: a table with the columns `path` and `labels`, and optionally `split`, `start_s` and `end_s`."""

import csv
import re
from collections.abc import Iterator

from deepvideo_tf.data.annotations.find import check_video_root, checked_path
from deepvideo_tf.data.annotations.lines import labels_by_name, parse_labels, read_classes, read_lines
from deepvideo_tf.data.annotations.source import AnnotationSource, register_format
from deepvideo_tf.data.annotations.videos import SPLITS, Annotations, FilePath, LabelledVideo, UniqueVideos
from deepvideo_tf.errors import AnnotationError

SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+")


@register_format("csv", required=("annotations",), optional=("classes",))
def read(source: AnnotationSource) -> dict[str, Annotations]:
    """Read a table; without a column `split`, as the split of the source."""
    splits = read_csv(source.annotations, source.video_root, source.classes or None)
    return {source.split if split is None else split: videos for split, videos in splits.items()}


def read_csv(
    annotations: FilePath,
    video_root: FilePath,
    classes: FilePath | None = None,
) -> dict[str | None, Annotations]:
    """Read a table with the columns `path` and `labels`, and optionally `split`, `start_s` and `end_s`.

    The first line names the columns; other columns are ignored. Labels are class names or 0-based numbers, separated by
    `;`. A path may have several lines, for different parts of the video.

    Args:
        annotations: the table, UTF-8, comma-separated values.
        video_root: the folder that the paths are relative to.
        classes: a file with one class name per line; None for the labels in the table, in code point order.

    Returns:
        `Annotations` by split; the only key is None if the table has no column `split`.

    Raises:
        AnnotationError: a file cannot be read, or a line has another form; the message names file and line.
    """
    root = check_video_root(video_root)
    rows = list(_read_rows(annotations))
    names = _names_in(rows) if classes is None else read_classes(classes)
    label_of = labels_by_name(names)
    splits: dict[str | None, UniqueVideos] = {}
    for where, row in rows:
        labels = parse_labels(_labels_in(row), label_of, where, classes or annotations)
        if not labels:
            raise AnnotationError(f"{where}: expected a label, found none")
        start_s, end_s = (_seconds(row, name, where) for name in ("start_s", "end_s"))
        if end_s is not None and end_s <= (start_s or 0):
            raise AnnotationError(f"{where}: expected an end_s after start_s, found {row['end_s']!r:.80}")
        path = checked_path(row["path"].strip(), root, where)
        split = row.get("split")
        if "split" in row and split not in SPLITS:
            raise AnnotationError(f"{where}: expected a split of {', '.join(SPLITS)}, found {split!r:.80}")
        splits.setdefault(split, UniqueVideos()).add(LabelledVideo(path, labels, start_s or 0.0, end_s), where)
    if not splits:
        raise AnnotationError(f"{annotations}: expected a line for each video, found none")
    return {split: Annotations(str(video_root), names, tuple(videos.found)) for split, videos in splits.items()}


def _read_rows(path: FilePath) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, text by column) for each line below the header."""
    where = str(path)

    def lines() -> Iterator[str]:
        nonlocal where
        for where, line in read_lines(path):  # noqa: B007 - read below
            yield line + "\n"

    table = csv.reader(lines(), strict=True)
    try:
        header = [name.strip() for name in next(table, [])]
        if not {"path", "labels"} <= set(header) or len(set(header)) < len(header):
            raise AnnotationError(f"{path}:1: expected the columns path and labels once each, found {header!r:.80}")
        for row in table:
            if len(row) != len(header):
                raise AnnotationError(f"{where}: expected {len(header)} columns, found {len(row)}")
            columns = dict(zip(header, row, strict=True))
            for name in ("path", "labels"):
                if not columns[name].isprintable():
                    found = f"{columns[name]!r:.80}"
                    raise AnnotationError(f"{where}: expected printable characters in {name}, found {found}")
            yield where, columns
    except csv.Error as error:
        raise AnnotationError(f"{where}: not a table of comma separated values: {error}") from None


def _labels_in(row: dict[str, str]) -> list[str]:
    return [text.strip() for text in row["labels"].split(";") if text.strip()]


def _names_in(rows: list[tuple[str, dict[str, str]]]) -> tuple[str, ...]:
    """Return the labels of a table as class names, in code point order."""
    for where, row in rows:
        if any(text.isdigit() for text in _labels_in(row)):
            raise AnnotationError(f"{where}: expected names for labels, found a number; numbers need the class names")
    return tuple(sorted({text for _, row in rows for text in _labels_in(row)}))


def _seconds(row: dict[str, str], name: str, where: str) -> float | None:
    text = row.get(name, "").strip()
    if not text:
        return None
    if not SECONDS.fullmatch(text):
        raise AnnotationError(f"{where}: expected {name} in seconds, found {text!r:.80}")
    return float(text)
