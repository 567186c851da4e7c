"""Locks between processes: one file on the disk for each thing that only one process may do at a time."""

import contextlib
import logging
from collections.abc import Iterator

from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.paths import AnyPath

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(path: AnyPath, busy: Exception | None = None) -> Iterator[None]:
    """Hold a lock for the length of a block. A bucket has no locks: there the block just runs.

    Args:
        path: the lock's file, in a folder that exists; it stays there.
        busy: raised where another process holds the lock; None to report that and wait.

    Raises:
        OSError: the lock's file cannot be written.
    """
    if isinstance(path, RemotePath):
        yield
        return
    import filelock  # late: predicting with TFLite files does without it

    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if busy is not None:
            raise busy from None
        logger.info("%s: another process is at work there; waiting for it", path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_unlocked(path: AnyPath, busy: Exception) -> None:
    """Raise `busy` if another process holds the lock. Make no file, and need no folder."""
    if path.exists():
        with locked(path, busy):
            pass
