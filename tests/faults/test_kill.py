"""Programs killed with SIGKILL: nothing half-made has a final name, and the same command ends the job."""

import random
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from tests.support.files import hashes

SCRIPTS = Path(sysconfig.get_path("scripts"))
NUM_SHARDS = 5
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def build_command(videos, shards_dir):
    return [
        SCRIPTS / "deepvideo-build-shards", f"--video_root={videos}", f"--shards_dir={shards_dir}",
        "--frame_size_px=200", "--clips_per_video=25", f"--num_shards={NUM_SHARDS}", "--num_workers=1",
    ]  # fmt: skip


def finished_shards(shards_dir):
    return len(list((shards_dir / ".train-build").glob("*.json")))


def kill_at(command, shards_dir, shards, delay_s):
    """Starts a build and kills it some time after it has finished a number of shards; whether it was still at work."""
    process = subprocess.Popen(command, **QUIET)
    while process.poll() is None and finished_shards(shards_dir) < shards:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL and (shards_dir / ".train-build").exists()


@pytest.fixture(scope="module")
def undisturbed(synthetic_videos, tmp_path_factory):
    """A build that was let alone."""
    shards_dir = tmp_path_factory.mktemp("undisturbed")
    subprocess.run(build_command(synthetic_videos, shards_dir), check=True, **QUIET)
    return shards_dir


def check_kills(synthetic_videos, undisturbed, tmp_path, kills):
    rng = random.Random(0)
    at_work = 0
    for number in range(kills):
        shards_dir = tmp_path / str(number)
        command = build_command(synthetic_videos, shards_dir)
        at_work += kill_at(command, shards_dir, 1 + number % (NUM_SHARDS - 1), rng.uniform(0, 0.2))
        assert set(hashes(shards_dir).items()) <= set(hashes(undisturbed).items())
        subprocess.run(command, check=True, **QUIET)
        assert hashes(shards_dir) == hashes(undisturbed)
        assert not (shards_dir / ".train-build").exists()
    assert at_work >= kills / 2


def test_a_killed_build_is_taken_up(synthetic_videos, undisturbed, tmp_path):
    check_kills(synthetic_videos, undisturbed, tmp_path, kills=3)


@pytest.mark.long
def test_a_build_killed_50_times(synthetic_videos, undisturbed, tmp_path):
    check_kills(synthetic_videos, undisturbed, tmp_path, kills=50)


def decoders_of(parent):
    """Decoder processes of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_decoder = b"deepvideo_tf.data.video.process" in (path / "cmdline").read_bytes()
            if is_decoder and int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(path)
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes from /proc")
def test_no_decoder_outlives_its_parent(synthetic_videos, tmp_path):
    process = subprocess.Popen(build_command(synthetic_videos, tmp_path / "shards"), **QUIET)
    decoders = []
    while not decoders:
        assert process.poll() is None
        decoders = decoders_of(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(path.exists() for path in decoders):
        assert time.monotonic() < deadline
        time.sleep(0.05)
