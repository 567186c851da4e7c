"""Lines of annotation files: reading them, class names and labels."""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping

from deepvideo_tf.data.annotations.videos import FilePath
from deepvideo_tf.errors import AnnotationError
from deepvideo_tf.storage.paths import on_disk

MAX_LINE_BYTES = 100_000  # a longer line is not part of a list of videos


def read_lines(path: FilePath) -> Iterator[tuple[str, str]]:
    """Yield (`path:line number`, text) for each line of a UTF-8 file, plain or gzipped, that is not blank.

    Raises AnnotationError if the file cannot be read or decompressed, is not UTF-8, or has an overlong line.
    """
    on_disk("a list", path)
    where = str(path)
    try:
        with open(path, "rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if is_gzip else open(path, "rb") as file:
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
        raise AnnotationError(f"{path}: cannot be decompressed: {error}") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name of the list itself
        raise AnnotationError(f"{str(path)!r}: cannot be read: {error}") from None


def read_classes(path: FilePath) -> tuple[str, ...]:
    """Read a file with one class name per line; line 1 is label 0.

    Args:
        path: UTF-8 text; lines may end in CRLF.

    Returns:
        The names.

    Raises:
        AnnotationError: the file cannot be read, has no name, a blank line between names, or the same name twice.
    """
    lines: dict[str, str] = {}
    for where, line in read_lines(path):
        name = line.strip()
        if not name.isprintable():
            raise AnnotationError(f"{where}: expected a name of printable characters, found {name!r:.80}")
        if name in lines:
            raise AnnotationError(f"{where}: the class {name!r} appears twice, first at {lines[name]}")
        if int(where.rpartition(":")[2]) != len(lines) + 1:
            raise AnnotationError(f"{path}:{len(lines) + 1}: expected a class name, found an empty line")
        lines[name] = where
    if not lines:
        raise AnnotationError(f"{path}: expected one class name per line, found none")
    return tuple(lines)


def labels_by_name(names: Iterable[str]) -> dict[str, int]:
    """Return the label of each class name."""
    return {name: label for label, name in enumerate(names)}


def parse_labels(
    texts: Iterable[str], label_of: Mapping[str, int], where: str, names_file: FilePath
) -> tuple[int, ...]:
    """Return the labels of one video, given as class names or 0-based numbers, ascending; raise AnnotationError.

    `where` (file and line) and the file that the names of `label_of` come from are for messages.
    """
    return tuple(sorted({_parse_label(text, label_of, where, names_file) for text in texts}))


def _parse_label(text: str, label_of: Mapping[str, int], where: str, names_file: FilePath) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    by_name = label_of.get(text)
    if by_name is not None and (not is_number or by_name == int(text)):
        return by_name
    if by_name is not None:
        raise AnnotationError(
            f"{where}: {text!r} is both a label number and the name of class {by_name} in {names_file}; "
            "give that class a name that is not a number"
        )
    if is_number and int(text) < len(label_of):
        return int(text)
    raise AnnotationError(
        f"{where}: expected a label from 0 to {len(label_of) - 1} or a name of {names_file}, found {text!r:.80}"
    )
