"""Shards, runs and exports in a bucket, through the programs: an emulated object store behind TensorFlow's own `gs://`."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import deepvideo_tf as dv
from tests.conftest import REPOSITORY

TRAINING = ("--model=single_frame", "--crop_size_px=36", "--noflip", "--width=0.02", "--global_batch_size=12")
# Runs in a process whose environment leads to the bucket: TensorFlow reads it once.
LISTING = "import sys, tensorflow as tf; print(*(d + n for d, _, f in tf.io.gfile.walk(sys.argv[1]) for n in f))"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The environment in which `gs://bucket` is there, with what else a fast answer takes."""
    folder = tmp_path_factory.mktemp("bucket")
    with open(folder / "log", "wb") as log:
        command = [sys.executable, "-m", "tests.bucket_server", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY)
    try:
        yield os.environ | json.loads(process.stdout.readline()) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    finally:
        process.kill()
        process.wait()


def run(bucket, name, *arguments, timeout_s=100):
    """Runs a program where the bucket is; returns what it printed."""
    program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=bucket, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(bucket, folder):
    command = [sys.executable, "-c", LISTING, folder]
    done = subprocess.run(command, capture_output=True, text=True, env=bucket, check=True, timeout=60)
    return sorted(name.removeprefix(folder).lstrip("/") for name in done.stdout.split())


# As the programs do it, in a process that imports TensorFlow once.
LIBRARY = """
import json, sys
import deepvideo_tf as dv
from deepvideo_tf.data.shards import verify_shards
from deepvideo_tf.training import fit
from deepvideo_tf.training.checkpoints import load_run

videos, folder = sys.argv[1:]
fit.export_saved_model = lambda workdir, export_dir: export_dir / "1"  # it takes as long as all the rest
config = dv.TrainConfig(
    model="single_frame",
    clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
    width=0.02,
    num_epochs=1,
    global_batch_size=12,
)
found = {}
for place in (folder, "gs://bucket/library"):
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
    shards = dv.build_shards(dv.read_folder(videos), f"{place}/shards", spec=spec, num_shards=3, num_workers=2).shards
    problems = verify_shards(f"{place}/shards", "train")
    dv.train(config, f"{place}/shards", f"{place}/run")
    found[place] = [shards, problems, load_run(f"{place}/run").checkpoint.name]
print(json.dumps(found))
"""


def test_the_library_writes_the_same_into_a_bucket_as_onto_a_disk(bucket, synthetic_videos, tmp_path):
    command = [sys.executable, "-c", LIBRARY, synthetic_videos, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=bucket, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    disk, remote = json.loads(done.stdout).values()
    assert remote == disk  # the checkpoint's name has the hash of its content
    assert remote[1] == []


@pytest.mark.long
def test_shards_and_a_run_in_a_bucket_are_those_of_a_disk(bucket, synthetic_videos, tmp_path):
    videos = (f"--video_root={synthetic_videos}", "--clips_per_video=3", "--frame_size_px=36", "--num_shards=3")
    run(bucket, "build-shards", *videos, "--shards_dir=gs://bucket/disk/shards")
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
    manifest = dv.build_shards(dv.read_folder(synthetic_videos), tmp_path / "shards", spec=spec, num_shards=3)
    assert objects(bucket, "gs://bucket/disk/shards") == sorted(
        ["train-manifest.json", *(shard["name"] for shard in manifest.shards)]
    )
    config = dv.TrainConfig(
        model="single_frame",
        clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
        width=0.02,
        num_epochs=1,
        global_batch_size=12,
    )
    dv.train(config, tmp_path / "shards", tmp_path / "run")
    where = ("--shards_dir=gs://bucket/disk/shards", "--workdir=gs://bucket/disk/run")
    printed = run(bucket, "train", *TRAINING, "--num_epochs=1", *where)
    assert "SavedModel: gs://bucket/disk/run/saved_model/1" in printed
    here = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}  # with the hash of the weights
    there = {Path(name).name for name in objects(bucket, "gs://bucket/disk/run/checkpoints")}
    assert there == here
