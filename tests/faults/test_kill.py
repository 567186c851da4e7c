"""Programs killed with SIGKILL: nothing half-made has a final name, and the same command ends the job."""

import random
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from tests.data.test_shards import hashes

SCRIPTS = Path(sysconfig.get_path("scripts"))


def build_command(videos, shards_dir):
    return [
        SCRIPTS / "deepvideo-build-shards", f"--video_root={videos}", f"--shards_dir={shards_dir}",
        "--frame_size_px=64", "--clips_per_video=4", "--num_shards=5",
    ]  # fmt: skip


def killed_after(command, seconds):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def undisturbed(synthetic_videos, tmp_path_factory):
    """A build that was let alone, and the seconds it took."""
    shards_dir = tmp_path_factory.mktemp("undisturbed")
    start = time.monotonic()
    subprocess.run(build_command(synthetic_videos, shards_dir), check=True, stdout=subprocess.DEVNULL)
    return shards_dir, time.monotonic() - start


def check_kills(synthetic_videos, undisturbed, tmp_path, kills):
    expected, whole_s = undisturbed
    rng = random.Random(0)
    for number in range(kills):
        shards_dir = tmp_path / str(number)
        # Most of the time goes into starting up: two thirds of the kills fall into the work.
        killed_after(build_command(synthetic_videos, shards_dir), whole_s * rng.uniform(0.5, 1.0))
        if shards_dir.exists() and not (shards_dir / "train-manifest.json").exists():
            assert set(hashes(shards_dir).items()) <= set(hashes(expected).items())
        subprocess.run(build_command(synthetic_videos, shards_dir), check=True, stdout=subprocess.DEVNULL)
        assert hashes(shards_dir) == hashes(expected)
        assert not (shards_dir / ".train-build").exists()


def test_a_killed_build_is_taken_up(synthetic_videos, undisturbed, tmp_path):
    check_kills(synthetic_videos, undisturbed, tmp_path, kills=3)


@pytest.mark.long
def test_a_build_killed_50_times(synthetic_videos, undisturbed, tmp_path):
    check_kills(synthetic_videos, undisturbed, tmp_path, kills=50)


def test_no_decoder_outlives_its_parent(synthetic_videos, tmp_path):
    killed_after(build_command(synthetic_videos, tmp_path / "shards"), 5)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and decoders():
        time.sleep(0.2)
    assert not decoders()


def decoders():
    """Decoder processes whose parent is gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"deepvideo_tf.data.decode_process" in command and parent == 1:
            found.append(path)
    return found
