"""Where files may lie: on a disk, or in a bucket that TensorFlow's file systems reach (`gs://`).

A path on a disk is a `pathlib.Path` as ever, and `file://` is only another way to write one. An object of a bucket has
a `RemotePath`: the few of `Path`'s methods that this package uses, whose errors are `OSError`s too. An object appears
whole or not at all, but cannot be locked, synced or linked, and many of them do not appear together: whoever writes
several writes last the one that says that the others are there.
"""

import contextlib
import errno
import fnmatch
import io
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from deepvideo_tf.errors import ConfigError, DeepVideoError, first_line

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
REMOTE_SCHEMES = ("gs", "ram")  # TensorFlow's own; ram lasts as long as the process, and is good for trying things out
SUPPORTED = "a disk, file:/// or gs://BUCKET/..."
REACH_S = 30
COPY_BYTES = 8 << 20
REQUESTS = 32  # at once

_reached: set[str] = set()


def scheme_of(path):
    """The scheme of an address in lower case, `gs` of `gs://bucket/x`; None for a path without one."""
    match = SCHEME.match(str(path))
    return match and match[1].lower()


def is_remote(path):
    """Whether a path leads into a bucket."""
    return isinstance(path, RemotePath) or scheme_of(path) in REMOTE_SCHEMES


def to_path(path):
    """What a user calls a file or folder, as something to work with.

    Args:
        path: text, `pathlib.Path` or `RemotePath`.

    Returns:
        `pathlib.Path` for a disk, without `file://`; `RemotePath` for `gs://` and `ram://`.

    Raises:
        ConfigError: it has another scheme, or names no bucket.
    """
    if isinstance(path, RemotePath):
        return path
    scheme = scheme_of(path)
    if scheme is None:
        return Path(path)
    rest = str(path)[len(scheme) + len("://") :]
    if scheme == "file" and rest.startswith("/"):
        return Path(rest)
    if scheme in REMOTE_SCHEMES and rest.strip("/"):
        return RemotePath(f"{scheme}://{rest.strip('/')}")
    raise ConfigError(f"{path}: expected a path on {SUPPORTED}")


def on_disk(name, path):
    """Refuses an address where files are needed that the operating system can open.

    Args:
        name: what the path is, as an argument or flag.
        path: text, or a path; None where there is none.

    Returns:
        `pathlib.Path`, or None.

    Raises:
        ConfigError: it is not on a disk.
    """
    if path is None:
        return None
    if scheme_of(path) not in (None, "file"):
        raise ConfigError(
            f"{name} must be on a disk: only shards, runs and exported models may lie in a bucket (gs://). "
            f"Received: {str(path)!r}"
        )
    return to_path(path)


class RemotePath:
    """The address of an object, or of what its name begins with, which stands for a folder.

    Not an `os.PathLike`: nothing takes it for a file on the disk by mistake.

    Args:
        address: `gs://bucket/a/b`, without a slash at its end.
    """

    def __init__(self, address):
        self._address = address

    def __str__(self):
        return self._address

    def __repr__(self):
        return f"RemotePath({self._address!r})"

    def __eq__(self, other):
        return isinstance(other, RemotePath) and str(other) == str(self)

    def __lt__(self, other):
        return str(self) < str(other)

    def __hash__(self):
        return hash(self._address)

    def __truediv__(self, name):
        return RemotePath(f"{self._address}/{name}")

    @property
    def name(self):
        return self._address.rpartition("/")[2]

    @property
    def suffix(self):
        return Path(self.name).suffix

    @property
    def parent(self):
        return RemotePath(self._address.rpartition("/")[0])

    def with_name(self, name):
        return self.parent / name

    def with_suffix(self, suffix):
        return self.with_name(str(Path(self.name).with_suffix(suffix)))

    def absolute(self):
        return self

    def resolve(self):
        return self

    def stat(self):
        with self._telling():
            return SimpleNamespace(st_size=self._gfile().stat(str(self)).length)

    def exists(self):
        return self._is(lambda found: True)

    def is_file(self):
        return self._is(lambda found: not found.is_directory)

    def is_dir(self):
        return self._is(lambda found: found.is_directory)

    def _is(self, test):
        try:
            with self._telling():
                return test(self._gfile().stat(str(self)))
        except FileNotFoundError:
            return False

    def iterdir(self):
        with self._telling():
            names = {name.strip("/") for name in self._gfile().listdir(str(self))}
        return iter([self / name for name in sorted(names) if name])

    def glob(self, pattern):
        return [path for path in (self.iterdir() if self.is_dir() else ()) if fnmatch.fnmatchcase(path.name, pattern)]

    def mkdir(self, **_):
        """Nothing: a folder is there when something is in it."""

    def open(self, mode="rb"):
        """A stream to read from; writing is `write_bytes`."""
        assert mode == "rb"
        return io.BufferedReader(_Stream(self), 1 << 20)

    def read_bytes(self):
        with self.open() as file:
            return file.read()

    def read_text(self, encoding="utf-8", errors="strict"):
        return self.read_bytes().decode(encoding, errors)

    def write_bytes(self, content):
        with self._telling(), self._gfile().GFile(str(self), "wb") as file:
            file.write(content)

    def rename(self, target):
        with self._telling():
            self._gfile().rename(str(self), str(target), overwrite=True)

    def unlink(self, missing_ok=False):
        try:
            with self._telling():
                self._gfile().remove(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    @contextlib.contextmanager
    def _telling(self):
        """TensorFlow's errors as the operating system's, which say which file they are of."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.NotFoundError as error:
            text = first_line(error.message) if "bucket" in error.message else os.strerror(errno.ENOENT)
            raise FileNotFoundError(errno.ENOENT, text, str(self)) from None
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {first_line(error.message)}", str(self)) from None

    def _gfile(self):
        import tensorflow as tf

        _reach(self._address, tf)
        return tf.io.gfile


def _reach(address, tf):
    """Looks for a bucket once, and does not wait for it as long as TensorFlow does, which tries again for minutes."""
    bucket = "/".join(address.split("/")[:3])
    if bucket in _reached or not bucket.startswith("gs://"):
        return
    found = []

    def look():
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
    """TensorFlow's file as one of Python's."""

    def __init__(self, path):
        super().__init__()
        self._path = path
        with path._telling():
            self._file = path._gfile().GFile(str(path), "rb")
            self._size = self._file.size()

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, buffer):
        with self._path._telling():
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset, whence=os.SEEK_SET):
        with self._path._telling():
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
            self._file.seek(base + offset)
            return self._file.tell()

    def tell(self):
        return self._file.tell()

    def close(self):
        if not self.closed:
            self._file.close()
        super().close()


def upload(local, path):
    """Copies a file on the disk to an object, which appears when it is whole.

    Args:
        local: path of the file.
        path: `RemotePath`.

    Raises:
        OSError: it cannot be read or written.
    """
    with open(local, "rb") as source, path._telling(), path._gfile().GFile(str(path), "wb") as target:
        while block := source.read(COPY_BYTES):
            target.write(block)


def download(path, folder):
    """Copies an object into a folder on the disk.

    Args:
        path: `RemotePath`.
        folder: `pathlib.Path`.

    Returns:
        `pathlib.Path` of the copy, under the object's name.

    Raises:
        OSError: it cannot be read or written.
    """
    local = Path(folder) / path.name
    with path.open() as source, open(local, "wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    return local


def sizes_of(files):
    """Sizes of files in bytes, in their order; None where there is no such file.

    Args:
        files: list of paths, all on a disk or all in a bucket.

    Returns:
        Iterator of int or None.
    """
    if not files or not is_remote(files[0]):
        return map(_size_of, files)
    with ThreadPoolExecutor(REQUESTS) as pool:  # an answer takes a while, thousands of them minutes
        return iter(list(pool.map(_size_of, files)))


def _size_of(file):
    return file.stat().st_size if file.exists() else None


def move(source, target):
    """Renames a file, in place of one that is there: on a disk at once, in a bucket by a copy in it."""
    if is_remote(target):
        source.rename(target)
    else:
        os.replace(source, target)


def remove_tree(path):
    """Removes a folder and all that is in it.

    Args:
        path: `pathlib.Path` or `RemotePath`.

    Raises:
        OSError: it cannot be removed.
    """
    if is_remote(path):
        _remove_objects(path)
    else:
        shutil.rmtree(path)


def _remove_objects(path):
    with path._telling():  # `rmtree` wants an object for each folder, too
        gfile = path._gfile()
        for folder, _, names in gfile.walk(str(path)):
            for name in names:
                gfile.remove(f"{folder.rstrip('/')}/{name}")
