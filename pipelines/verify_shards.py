"""Compare shards with their manifest, byte by byte, and report file and offset of each problem.

deepvideo-verify-shards --shards_dir=SHARDS
"""

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.errors import ShardError

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder of the shards.", required=True)


def main() -> None:
    from deepvideo_tf.data.shards.inspection import splits_in
    from deepvideo_tf.data.shards.manifest import read_manifest
    from deepvideo_tf.data.shards.verify import verify_shards

    splits = splits_in(_SHARDS_DIR.value)
    manifests = {split: read_manifest(_SHARDS_DIR.value, split, check_sizes=False) for split in splits}
    cli.import_tensorflow()
    problems = []
    for split, manifest in manifests.items():
        with cli.progress(len(manifest.shards), "shard", split) as on_shard:
            problems += verify_shards(_SHARDS_DIR.value, split, on_shard=on_shard)
    for problem in problems:
        place = "" if problem["offset"] is None else f" at byte {problem['offset']}"
        print(f"{problem['file']}{place}: {problem['problem']}")
    if problems:
        raise ShardError(f"{_SHARDS_DIR.value}: {len(problems)} problem{'s' * (len(problems) > 1)}, listed above")
    for split, manifest in manifests.items():
        print(f"{split}: {len(manifest.shards)} shards with {manifest.records} clips are as their manifest says")


def run() -> None:
    cli.run(main, in_buckets=("shards_dir",))


if __name__ == "__main__":
    run()
