"""Locks between processes."""

import pytest

from deepvideo_tf.errors import ShardError
from deepvideo_tf.storage.locks import check_unlocked, locked
from deepvideo_tf.storage.paths import to_path


def test_a_lock_is_held_by_one_block_at_a_time(tmp_path):
    path, busy = tmp_path / ".lock", ShardError("another process is at work")
    check_unlocked(path, busy)
    assert not path.exists()
    with locked(path, busy):
        for _ in range(2):
            with pytest.raises(ShardError, match="another process"), locked(path, busy):
                pass
            with pytest.raises(ShardError, match="another process"):
                check_unlocked(path, busy)
    check_unlocked(path, busy)
    with locked(path, busy):
        pass


def test_a_bucket_has_no_locks(tmp_path):
    path, busy = to_path(f"ram://{tmp_path.name}/.lock"), ShardError("another process is at work")
    with locked(path, busy), locked(path, busy):
        pass
