"""Staged writes: files and folders are written under a temporary name and get their own when they are whole.

For a disk the temporary name is in the same folder, and one rename publishes. For a bucket, files are made in the
system's temporary folder and uploaded; an object appears when it is whole.
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.files import remove_tree
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def write_text_atomically(path: PathLike, text: str) -> None:
    """Write a UTF-8 text file that appears whole, in place of an existing one; for one writer at a time."""
    with staged_file(path, f"{to_path(path).name}.tmp") as local:  # the next write replaces a killed one's
        local.write_bytes(text.encode())


def write_bytes_atomically(path: PathLike, content: bytes) -> None:
    """Write a file that appears whole, in place of an existing one, also while other machines write it."""
    with staged_file(path) as local:
        local.write_bytes(content)


@contextlib.contextmanager
def staged_file(path: PathLike, temporary: str | None = None) -> Iterator[Path]:
    """Yield a file on the disk to write, and publish it under its own name at the end of the block.

    Where the block raises, also by Ctrl-C, nothing is published and nothing is left.

    Args:
        path: the file; an existing one is replaced.
        temporary: its name until then; None for one of its own, so that several may write the same file.

    Yields:
        `pathlib.Path` to write.

    Raises:
        OSError: it cannot be written; `filename` is `path`.
    """
    path = to_path(path)
    with staging_file(path.parent, temporary or f"{path.name}.{uuid.uuid4().hex}.tmp") as local:
        try:
            yield local
            publish(local, path)
        except OSError as error:
            if error.filename in (None, local, str(local)):
                error.filename = str(path)
            raise


@contextlib.contextmanager
def staging_file(folder: AnyPath, name: str) -> Iterator[Path]:
    """Yield a file on the disk to write before `publish` moves it into a folder; for names that depend on the content.

    Args:
        folder: the folder that the file is for.
        name: the file's name until then. One that a killed process left is removed first.

    Yields:
        `pathlib.Path` to write. It is removed at the end of the block unless published.
    """
    if isinstance(folder, RemotePath):
        with tempfile.TemporaryDirectory(prefix="deepvideo-") as temporary:
            yield Path(temporary) / name
        return
    local = folder / name
    local.unlink(missing_ok=True)  # it may be another name of a published file, so it is not written into
    try:
        yield local
    finally:
        with contextlib.suppress(OSError):
            local.unlink()


def publish(local: Path, *paths: AnyPath) -> None:
    """Give a whole file its name, or several, in their order; each appears whole.

    Args:
        local: from `staging_file`; gone afterwards, if it is for a disk.
        *paths: the names, all in the folder that it was staged for; existing files are replaced.

    Raises:
        OSError: it cannot be synced, renamed or uploaded.
    """
    *others, last = paths
    if isinstance(last, RemotePath):
        for path in paths:
            assert isinstance(path, RemotePath)
            path.upload(local)
        return
    sync(local)
    for path in others:
        assert isinstance(path, Path)
        _link(local, path)
    os.replace(local, last)
    sync(last.parent)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        copy = target.with_name(f"unfinished-{target.name}")
        shutil.copyfile(source, copy)
        os.replace(copy, target)


@contextlib.contextmanager
def staging_folder(parent: AnyPath, name: str) -> Iterator[Path]:
    """Yield an empty folder on the disk to fill before `publish_folder` moves it into another folder.

    Args:
        parent: the folder that it is for.
        name: its name until then. One that a killed process left is removed first: for one writer at a time.

    Yields:
        `pathlib.Path`. It is removed at the end of the block unless published.
    """
    if isinstance(parent, RemotePath):
        with tempfile.TemporaryDirectory(prefix="deepvideo-") as temporary:
            yield Path(temporary)
        return
    local = parent / name
    remove_tree(local, missing_ok=True)
    local.mkdir()
    try:
        yield local
    finally:
        remove_tree(local, missing_ok=True)


def publish_folder(local: Path, path: AnyPath, last: str) -> None:
    """Give a whole folder its name: on a disk by one rename, in a bucket file by file.

    Args:
        local: from `staging_folder`; gone afterwards, if it is for a disk.
        path: its name. In a bucket, objects that a killed process left there are removed.
        last: name of the file that is uploaded last; without it, `is_published` is False.

    Raises:
        OSError: it cannot be synced, renamed or uploaded.
    """
    if isinstance(path, RemotePath):
        if path.is_dir():
            path.remove_tree()
        files = sorted(file for file in local.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.name == last):
            (path / file.relative_to(local).as_posix()).upload(file)
        return
    for file in [*local.rglob("*"), local]:
        sync(file)
    os.rename(local, path)
    sync(path.parent)


def is_published(folder: AnyPath, last: str) -> bool:
    """Return whether `publish_folder` has finished a folder; `last` as there."""
    return (folder / last).is_file() if isinstance(folder, RemotePath) else folder.is_dir()


def reserve(path: str | Path, size_bytes: int) -> None:
    """Allocate a file's room on the disk, for a library that does not survive a full disk while it writes.

    Args:
        path: the file; made if it does not exist.
        size_bytes: its largest size.

    Raises:
        OSError: the disk, the user's quota or a limit does not allow for it.
    """
    path = Path(path)
    free = shutil.disk_usage(path.parent).free
    if free < size_bytes:
        raise OSError(f"it needs {size_bytes} bytes, the disk has {free} left")
    with open(path, "ab") as file:
        if hasattr(os, "posix_fallocate"):  # it is absent on macOS
            os.posix_fallocate(file.fileno(), 0, size_bytes)


def sync(path: str | Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
