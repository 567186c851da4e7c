"""Objects in a bucket (`gs://`), reached through TensorFlow's file systems.

An object appears whole or not at all, but cannot be locked, synced or linked. Several objects do not appear together:
write last the one that says that the others are complete.
"""

import contextlib
import errno
import fnmatch
import io
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from deepvideo_tf.errors import DeepVideoError, first_line

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
REMOTE_SCHEMES = ("gs", "ram")  # TensorFlow's own; ram lasts as long as the process, for trying things out
REACH_S = 30
COPY_BYTES = 8 << 20

_reached: set[str] = set()


class RemotePath:
    """Address of an object, or of a folder, which is the common beginning of objects' names.

    It has the methods of `pathlib.Path` that this package uses; their errors are `OSError`s too. It is not an
    `os.PathLike`, so nothing mistakes it for a file on the disk.

    Args:
        address: `gs://bucket/a/b`, without a slash at its end.
    """

    def __init__(self, address: str):
        self._address = address

    def __str__(self) -> str:
        return self._address

    def __repr__(self) -> str:
        return f"RemotePath({self._address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(other) == str(self)

    def __lt__(self, other: "RemotePath") -> bool:
        return str(self) < str(other)

    def __hash__(self) -> int:
        return hash(self._address)

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self._address}/{name}")

    @property
    def name(self) -> str:
        return self._address.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        return RemotePath(self._address.rpartition("/")[0])

    def with_name(self, name: str) -> "RemotePath":
        return self.parent / name

    def with_suffix(self, suffix: str) -> "RemotePath":
        return self.with_name(str(Path(self.name).with_suffix(suffix)))

    def absolute(self) -> "RemotePath":
        return self

    def resolve(self) -> "RemotePath":
        return self

    def stat(self) -> SimpleNamespace:
        with self.os_errors():
            return SimpleNamespace(st_size=self._gfile().stat(str(self)).length)

    def exists(self) -> bool:
        return self._is(lambda found: True)

    def is_file(self) -> bool:
        return self._is(lambda found: not found.is_directory)

    def is_dir(self) -> bool:
        return self._is(lambda found: found.is_directory)

    def _is(self, test: Callable[[Any], bool]) -> bool:
        try:
            with self.os_errors():
                return test(self._gfile().stat(str(self)))
        except FileNotFoundError:
            return False

    def iterdir(self) -> Iterator["RemotePath"]:
        with self.os_errors():
            names = {name.strip("/") for name in self._gfile().listdir(str(self))}
        return iter([self / name for name in sorted(names) if name])

    def glob(self, pattern: str) -> list["RemotePath"]:
        return [path for path in (self.iterdir() if self.is_dir() else ()) if fnmatch.fnmatchcase(path.name, pattern)]

    def mkdir(self, **_: bool) -> None:
        """Do nothing: a folder exists when something is in it."""

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open a stream for reading; use `write_bytes` or `upload` for writing."""
        assert mode == "rb"
        return io.BufferedReader(_Stream(self), 1 << 20)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, content: bytes) -> None:
        with self.writer() as file:
            file.write(content)

    @contextlib.contextmanager
    def writer(self) -> Iterator[Any]:
        """Yield TensorFlow's file to write to; the object appears, whole, at the end of the block."""
        with self.os_errors(), self._gfile().GFile(str(self), "wb") as file:
            yield file

    def upload(self, local: Path) -> None:
        """Copy a file on the disk to this object, which appears when it is whole."""
        with open(local, "rb") as source, self.writer() as target:
            while block := source.read(COPY_BYTES):
                target.write(block)

    def download(self, folder: str | Path) -> Path:
        """Copy this object into a folder on the disk, under its own name; return the copy's path."""
        local = Path(folder) / self.name
        with self.open() as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
        return local

    def rename(self, target: "RemotePath") -> None:
        with self.os_errors():
            self._gfile().rename(str(self), str(target), overwrite=True)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with self.os_errors():
                self._gfile().remove(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_tree(self) -> None:
        """Remove every object below this folder."""
        with self.os_errors():  # gfile's rmtree also wants an object for each folder
            gfile = self._gfile()
            for folder, _, names in gfile.walk(str(self)):
                for name in names:
                    gfile.remove(f"{folder.rstrip('/')}/{name}")

    def reader(self) -> Any:
        """Open TensorFlow's file for reading; its errors are TensorFlow's (see `os_errors`)."""
        return self._gfile().GFile(str(self), "rb")

    @contextlib.contextmanager
    def os_errors(self) -> Iterator[None]:
        """Turn TensorFlow's errors into `OSError`s that name this object."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.NotFoundError as error:
            text = first_line(error.message) if "bucket" in error.message else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, text, str(self)) from None
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {first_line(error.message)}", str(self)) from None

    def _gfile(self) -> Any:
        import tensorflow as tf

        _reach(self._address, tf)
        return tf.io.gfile


def is_bucket_error(error: Exception) -> bool:
    """Return whether TensorFlow raised `error` for an object in a bucket, as it does inside of a graph."""
    return "gs://" in str(error) and type(error).__module__.startswith("tensorflow")


def _reach(address: str, tf: Any) -> None:
    """Look for a bucket once, without waiting as long as TensorFlow, which retries for minutes."""
    bucket = "/".join(address.split("/")[:3])
    if bucket in _reached or not bucket.startswith("gs://"):
        return
    found: list[str | None] = []

    def look() -> None:
        try:
            tf.io.gfile.stat(bucket)
        except tf.errors.OpError as error:
            found.append(f"{type(error).__name__}: {first_line(error.message)}")
        else:
            found.append(None)

    looking = threading.Thread(target=look, daemon=True)  # a daemon: the process may end while it waits
    looking.start()
    looking.join(REACH_S)
    if not found:
        raise DeepVideoError(
            f"{bucket}: no answer in {REACH_S} s: the object store cannot be reached, or gives no credentials"
        )
    if found[0] is not None:
        raise DeepVideoError(f"{bucket}: {found[0]}")
    _reached.add(bucket)


class _Stream(io.RawIOBase):
    """TensorFlow's file as a Python stream."""

    def __init__(self, path: RemotePath):
        super().__init__()
        self._path = path
        with path.os_errors():
            self._file = path.reader()
            self._size = self._file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._path.os_errors():
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._path.os_errors():
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
            self._file.seek(base + offset)
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
