"""Writing files so that nobody ever sees half of one."""

import contextlib
import hashlib
import os
import shutil
import uuid
from pathlib import Path

from deepvideo_tf.storage.paths import is_remote, to_path


def write_text_atomically(path, text):
    """Writes a UTF-8 text file under a temporary name, syncs it to the disk and renames it; for one writer at a time.

    Args:
        path: the file; one that is there is replaced.
        text: its content.

    Raises:
        OSError: it cannot be written.
    """
    path = to_path(path)
    _write_atomically(path, text.encode(), f"{path.name}.tmp")  # the next one writes over a killed one's


def write_bytes_atomically(path, content):
    """Writes a file under a temporary name, syncs it to the disk and renames it; also beside writers on other machines.

    Args:
        path: the file; one that is there is replaced.
        content: its bytes.

    Raises:
        OSError: it cannot be written.
    """
    path = to_path(path)
    _write_atomically(path, content, f"{path.name}.{uuid.uuid4().hex}.tmp")


def _write_atomically(path, content, temporary_name):
    if is_remote(path):
        path.write_bytes(content)  # an object appears when it is whole
        return
    temporary = path.with_name(temporary_name)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C, too
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(path)  # not that of the temporary one
        raise


def hash_of(path):
    """SHA-256 of a file's content, hexadecimal."""
    with to_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reserve(path, size_bytes):
    """Makes sure of the room for a file before a library writes it that does not survive a full disk.

    Args:
        path: the file; made if it is not there.
        size_bytes: how large it will be at most.

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


def sync(path):
    """Makes sure that a file's content, or a folder's list of names, is on the disk and not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
