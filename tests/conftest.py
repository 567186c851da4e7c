"""What all tests share: the real videos, a small set of synthetic shards, and a run trained on them."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.files import rewrite_manifest
from tests.support.repository import real_data

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def ucf101_6():
    """Six classes of UCF-101."""
    return real_data("ucf101-6")


@pytest.fixture(scope="session")
def odd_videos():
    """Assorted odd and broken videos."""
    return real_data("odd-videos")


@pytest.fixture(scope="session")
def synthetic_videos(tmp_path_factory):
    """Four classes of four synthetic videos, <class>/<number>.mp4."""
    import deepvideo_tf as dv

    return dv.make_synthetic(tmp_path_factory.mktemp("synthetic") / "videos", videos_per_class=4)


@pytest.fixture(scope="session")
def small_shards(synthetic_videos, tmp_path_factory):
    """Train and test shards of the synthetic videos: 36 px frames, 3 clips a video, 3 shards a split."""
    import deepvideo_tf as dv
    from deepvideo_tf.data.annotations import hold_out

    shards_dir = tmp_path_factory.mktemp("shards")
    parts = hold_out(dv.read_folder(synthetic_videos), 0.25)
    for split, part in zip(("train", "test"), parts, strict=True):
        spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
        dv.build_shards(part, shards_dir, split=split, spec=spec, num_shards=3, num_workers=2)
    return shards_dir


@pytest.fixture(scope="session")
def other_shards(small_shards, tmp_path_factory):
    """The small shards under other names of their classes, from frames of another rate, and with damage."""
    folder = tmp_path_factory.mktemp("others")
    for name in ("classes", "rate", "damaged"):
        shutil.copytree(small_shards, folder / name)
    for split in ("train", "test"):
        manifest = folder / f"classes/{split}-manifest.json"
        rewrite_manifest(manifest, classes=["a", "b", "c", "d"])
        manifest = folder / f"rate/{split}-manifest.json"
        rewrite_manifest(manifest, spec=json.loads(manifest.read_text())["spec"] | {"frame_rate_fps": 5.0})
    for path in (folder / "damaged").glob("*.tfrecord"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4] = b"\xff\xff\xff\xff"
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def small_config():
    """A run that takes seconds."""
    import deepvideo_tf as dv

    clip = dv.ClipSpec(num_frames=10, crop_size_px=32, flip=False)
    return dv.TrainConfig(
        model="multires_early_fusion",
        clip=clip,
        width=0.05,
        optimizer="adamw",
        num_epochs=2,
        global_batch_size=8,
    )


@pytest.fixture(scope="session")
def judged_shards(small_shards, tmp_path_factory):
    """The small shards with their test split as a validation split: 36 clips to train on, 12 to judge by."""
    shards_dir = tmp_path_factory.mktemp("judged") / "shards"
    shutil.copytree(small_shards, shards_dir)
    rewrite_manifest(shards_dir / "validation-manifest.json", shards_dir / "test-manifest.json", split="validation")
    return shards_dir


@pytest.fixture(scope="session")
def tiny_config():
    """A run of 2 epochs of 3 steps each, as fast as one can be."""
    import deepvideo_tf as dv

    clip = dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False)
    return dv.TrainConfig(model="single_frame", clip=clip, width=0.02, num_epochs=2, global_batch_size=12)


@pytest.fixture(scope="session")
def tiny_run(tiny_config, judged_shards, tmp_path_factory):
    """The folder of a run that was let alone, with a checkpoint after every step."""
    import deepvideo_tf as dv

    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    dv.train(tiny_config, judged_shards, workdir, checkpoint_minutes=0)
    return workdir


@pytest.fixture(scope="session")
def small_run(small_shards, small_config, tmp_path_factory):
    """The folder of a run trained on the small shards."""
    import deepvideo_tf as dv

    workdir = tmp_path_factory.mktemp("runs") / "run"
    dv.train_and_export(small_config, small_shards, workdir)
    return workdir


@pytest.fixture(scope="session")
def run_program():
    """Runs an installed program as a user would; returns its status and what it printed."""

    def run(name, *arguments, cwd=None):
        program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
        return subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False, timeout=500
        )

    return run
