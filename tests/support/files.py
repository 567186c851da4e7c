"""Shards and files that tests compare and damage."""

import hashlib
import json


def flip_a_bit(path):
    """Damage the middle of a file without changing its size."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewrite_manifest(path, source=None, **changes):
    """Write a manifest with other content and the checksum that fits it, as another program might."""
    data = json.loads((source or path).read_text()) | changes
    del data["checksum"]
    checksum = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(data | {"checksum": checksum}))


def hashes(shards_dir):
    """Return the SHA-256 of each shard and manifest of a folder, by file name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(shards_dir.iterdir())
        if path.suffix in (".tfrecord", ".json")
    }
