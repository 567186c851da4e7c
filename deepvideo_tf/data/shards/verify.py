"""Comparing the content of shards with their manifest."""

from collections.abc import Callable
from typing import Any

from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.storage.files import hash_of
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path


def verify_shards(
    shards_dir: PathLike, split: str, *, on_shard: Callable[[], object] | None = None
) -> list[dict[str, Any]]:
    """Compare the content of all shards of a split with its manifest, and find where they differ.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        on_shard: called with no arguments after each shard, for a progress bar.

    Returns:
        List of problems, empty if there are none: dicts of `file`, `offset` (bytes, None for the whole file) and
        `problem`.

    Raises:
        ShardError: there is no finished build of this split, or its manifest is damaged.
    """
    manifest = read_manifest(shards_dir, split, check_sizes=False)
    problems: list[dict[str, Any]] = []
    for shard in manifest.shards:
        path = to_path(shards_dir) / shard["name"]
        problems += [
            {"file": str(path), "offset": offset, "problem": problem} for offset, problem in _damage(path, shard)
        ]
        if on_shard is not None:
            on_shard()
    known = {shard["name"] for shard in manifest.shards}
    strange = sorted(str(file) for file in to_path(shards_dir).glob(f"{split}-*.tfrecord") if file.name not in known)
    problems += [{"file": file, "offset": None, "problem": "not in the manifest"} for file in strange]
    return problems


def _damage(path: AnyPath, shard: dict[str, Any]) -> list[tuple[int | None, str]]:
    """Return (offset, problem) pairs of one shard."""
    if not path.is_file():
        return [(None, "no such file")]
    if hash_of(path) == shard["sha256"]:
        return []
    from deepvideo_tf.data.shards.records import read_records  # here: it imports TensorFlow

    found: list[tuple[int | None, str]] = []
    records = sum(1 for _ in read_records(path, lambda offset, problem: found.append((offset, problem))))
    size = path.stat().st_size
    if size < shard["bytes"]:
        found.append((size, f"cut off: expected {shard['bytes']} bytes, found {size}"))
    elif size > shard["bytes"]:
        found.append((shard["bytes"], f"{size - shard['bytes']} bytes too many"))
    # Whole records, but not those that were written.
    return found or [(0, f"expected {shard['records']} records of SHA-256 {shard['sha256']}, found {records} others")]
