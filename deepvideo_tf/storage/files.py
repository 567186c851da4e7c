"""Reading, measuring and removing files, on a disk and in a bucket alike."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path

REQUESTS = 32  # at once

_copies: dict[str, tuple[tempfile.TemporaryDirectory, Path]] = {}


@contextlib.contextmanager
def working_copy(path: PathLike) -> Iterator[Path]:
    """Yield a file that the operating system can open: the file itself, or for a bucket a copy, removed afterwards."""
    path = to_path(path)
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="deepvideo-copy-") as folder:
        yield path.download(folder)


def cached_copy(path: AnyPath) -> Path:
    """Return a file that the operating system can open, as `working_copy`, for several reads in a row.

    A copy is kept until another one is asked for, so a file's name must change with its content.
    """
    if isinstance(path, Path):
        return path
    if str(path) not in _copies:
        for folder, _ in _copies.values():
            folder.cleanup()
        _copies.clear()
        folder = tempfile.TemporaryDirectory(prefix="deepvideo-copy-")
        _copies[str(path)] = folder, path.download(folder.name)
    return _copies[str(path)][1]


def scratch_dir(folder: PathLike | None) -> Path | None:
    """Return where to put a file that has no name: the folder, or None (the system's own) if it is in a bucket."""
    path = None if folder is None else to_path(folder)
    return path if isinstance(path, Path) else None


def is_writable(folder: AnyPath) -> bool:
    """Return whether this process may write to a folder. A bucket tells only when it is written to."""
    return isinstance(folder, RemotePath) or os.access(folder, os.W_OK)


def hash_of(path: PathLike) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with to_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sizes_of(files: Sequence[AnyPath]) -> list[int | None]:
    """Return the sizes of files in bytes, in their order; None where there is no such file."""
    if all(isinstance(file, Path) for file in files):
        return [_size_of(file) for file in files]
    with ThreadPoolExecutor(REQUESTS) as pool:  # a request takes a while, thousands of them minutes
        return list(pool.map(_size_of, files))


def _size_of(file: AnyPath) -> int | None:
    return file.stat().st_size if file.exists() else None


def move(source: AnyPath, target: AnyPath) -> None:
    """Rename a file within a disk or within a bucket; an existing target is replaced."""
    if isinstance(source, RemotePath) and isinstance(target, RemotePath):
        source.rename(target)
    else:
        os.replace(str(source), str(target))


def remove_tree(path: AnyPath, *, missing_ok: bool = False) -> None:
    """Remove a folder and everything in it; with `missing_ok`, ignore all errors, such as that there is none."""
    with contextlib.suppress(OSError) if missing_ok else contextlib.nullcontext():
        if isinstance(path, RemotePath):
            path.remove_tree()
        else:
            shutil.rmtree(path, ignore_errors=missing_ok)
