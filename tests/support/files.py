"""Shards and files that tests compare and damage."""

import hashlib
import json


def flip_a_bit(path):
    """Damages the middle of a file without changing its size."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewrite_manifest(path, source=None, **changes):
    """Writes a manifest with other content and a checksum that fits it, as another program might."""
    from deepvideo_tf.data.shards.build import _checksum

    data = json.loads((source or path).read_text()) | changes
    del data["checksum"]
    path.write_text(json.dumps(data | {"checksum": _checksum(data)}))


def hashes(shards_dir):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(shards_dir.iterdir())
        if path.suffix in (".tfrecord", ".json")
    }
