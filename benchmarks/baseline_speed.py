"""How many frames a second of a core become feature histograms, against decoding the same JPEG files alone.

  python benchmarks/baseline_speed.py --shards_dir=SHARDS

The features are computed as training does it: shards are read, parsed, decoded, described, encoded with codebooks of
the full size and written beside (links to) them. What counts is processor time, of this process and of the one that
computes, its start included. Decoding is `simplejpeg.decode_jpeg` on frames that are in memory. A frame counts once for
each view that is computed of it; appearance is looked at in a quarter of them, motion in all.
"""

import os
import statistics
import tempfile
from pathlib import Path

import simplejpeg
from absl import app, flags

import deepvideo_tf as dv
from deepvideo_tf.baseline import cache
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import read_manifest

_SHARDS_DIR = flags.DEFINE_string(
    "shards_dir", None, "Required. Shards of JPEG frames with a train split.", required=True
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each side is timed.", lower_bound=1)
_VIEWS = flags.DEFINE_integer("views", 1, "Of each clip.", lower_bound=1, upper_bound=5)
_WORDS = flags.DEFINE_integer("histogram_words", dv.HistogramConfig().words, "Of each codebook.", lower_bound=1)

GOAL = 100  # frames a second of a core
NUM_FRAMES = 16


def processor_s():
    """Seconds of processors that this process and those that it has waited for have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def decode_all(manifest, clip):
    """Frames a second of a core that are merely decoded."""
    files = [Path(_SHARDS_DIR.value) / shard["name"] for shard in manifest.shards]
    found = (record for file in files for _, record in records.read_records(file, print))
    count, used_s = 0, 0.0
    for record in found:
        frames = cache._frames(records.record_to_dict(record), manifest, clip)
        start_s = processor_s()
        for frame in frames:
            simplejpeg.decode_jpeg(frame, fastdct=True)
        used_s += processor_s() - start_s
        count += len(frames)
    return count / used_s


def describe_all(manifest, clip, codebooks):
    """Frames a second of a core that become histograms."""
    with tempfile.TemporaryDirectory() as folder:
        for file in Path(_SHARDS_DIR.value).iterdir():
            if file.is_file():
                (Path(folder) / file.name).symlink_to(file.resolve())
        start_s = processor_s()
        cache.clip_vectors(folder, "train", clip, codebooks, _VIEWS.value, max_bad_fraction=0, num_workers=1)
        return manifest.records * NUM_FRAMES * _VIEWS.value / (processor_s() - start_s)


def main(_):
    manifest = read_manifest(_SHARDS_DIR.value, "train")
    # The paper's part of the stored frame.
    size_px = round(manifest.spec.frame_size_px * 170 / 200)
    clip = dv.ClipSpec(num_frames=NUM_FRAMES, crop_size_px=size_px)
    codebooks = cache.learn_codebooks(_SHARDS_DIR.value, clip, _WORDS.value)
    sides = {"histograms": [], "decoding": []}
    for _ in range(_ROUNDS.value):
        sides["histograms"].append(describe_all(manifest, clip, codebooks))
        sides["decoding"].append(decode_all(manifest, clip))
    histograms, decoding = (statistics.median(rates) for rates in sides.values())
    size = f"{size_px} of {manifest.spec.frame_size_px} px"
    print(f"{manifest.records} clips of {NUM_FRAMES} frames, {size}, {_VIEWS.value} views")
    print(f"histograms  {histograms:8.0f} frames/s of a core (goal {GOAL})")
    print(f"decoding    {decoding:8.0f}")
    print(f"ratio       {histograms / decoding:8.3f}")


if __name__ == "__main__":
    app.run(main)
