"""Shards in tests."""

import hashlib


def hashes(shards_dir):
    """SHA-256 by name of all shards and manifests in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(shards_dir.iterdir())
        if path.suffix in (".tfrecord", ".json")
    }
