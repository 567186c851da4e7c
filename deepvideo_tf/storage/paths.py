"""What a path is: a file on a disk, or an object in a bucket.

A path on a disk is a `pathlib.Path`, also when written as `file://`. An object in a bucket is a `RemotePath` with the
same methods. Code outside of `storage` does not ask which one it has: it uses those methods, or the functions of
`storage.files`, `storage.writes` and `storage.locks`, which work for both.
"""

import os
from pathlib import Path
from typing import TypeAlias, overload

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.storage.buckets import REMOTE_SCHEMES, SCHEME, RemotePath

AnyPath: TypeAlias = Path | RemotePath
PathLike: TypeAlias = str | os.PathLike[str] | RemotePath

SUPPORTED = "a disk, file:/// or gs://BUCKET/..."


def scheme_of(path: PathLike) -> str | None:
    """Return the scheme of an address in lower case, `gs` of `gs://bucket/x`; None for a path without one."""
    match = SCHEME.match(str(path))
    return match[1].lower() if match else None


def is_remote(path: PathLike) -> bool:
    """Return whether a path is in a bucket. Only `storage` asks this."""
    return isinstance(path, RemotePath) or scheme_of(path) in REMOTE_SCHEMES


def is_on_disk(*paths: PathLike) -> bool:
    """Return whether programs that take no buckets can use all these paths."""
    return not any(is_remote(path) for path in paths)


def to_path(path: PathLike) -> AnyPath:
    """Return the path object for what a user calls a file or folder.

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


@overload
def on_disk(name: str, path: None) -> None: ...
@overload
def on_disk(name: str, path: PathLike) -> Path: ...
def on_disk(name: str, path: PathLike | None) -> Path | None:
    """Return a path that the operating system can open.

    Args:
        name: the argument or flag that holds the path, for the message.
        path: text, or a path; None where there is none.

    Returns:
        `pathlib.Path`, or None.

    Raises:
        ConfigError: it is not on a disk.
    """
    if path is None:
        return None
    if scheme_of(path) in (None, "file"):
        found = to_path(path)
        if isinstance(found, Path):
            return found
    raise ConfigError(
        f"{name} must be on a disk: only shards, runs and exported models may lie in a bucket (gs://). "
        f"Received: {str(path)!r}"
    )
