"""Training programs stopped at random moments: the same command goes on, and ends with the same files."""

import itertools
import random
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

import deepvideo_tf as dv
from deepvideo_tf.runs import checkpoints
from deepvideo_tf.storage.files import hash_of
from tests.support.runs import checkpoint_names

TRAIN = Path(sysconfig.get_path("scripts")) / "deepvideo-train"
NUM_EPOCHS = 15
CONFIG = dv.TrainConfig(
    model="single_frame",
    clip=dv.ClipSpec(num_frames=1, crop_size_px=32),
    width=0.1,
    num_epochs=NUM_EPOCHS,
    global_batch_size=15,
)


def train_command(shards_dir, workdir):
    """Saves after every step, so that much of the time goes into writing checkpoints."""
    return [
        TRAIN, f"--shards_dir={shards_dir}", f"--workdir={workdir}", "--model=single_frame", "--crop_size_px=32",
        "--width=0.1", f"--num_epochs={NUM_EPOCHS}", "--global_batch_size=15", "--checkpoint_minutes=0",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(judged_shards, tmp_path_factory):
    """A run that was let alone, in this process."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    dv.train(CONFIG, judged_shards, workdir, checkpoint_minutes=0)
    return workdir


def total_steps(workdir):
    return max([0, *(int(path.name.split("-")[1]) for path in (workdir / "checkpoints").glob("step-*"))])


def stop_at(command, workdir, number, steps, delay_s):
    """Starts training and signals it some time after it has done some more steps; its status and standard error."""
    before = total_steps(workdir)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and total_steps(workdir) < before + steps:
        time.sleep(0.002)
    time.sleep(delay_s)
    process.send_signal(number)
    _, errors = process.communicate()
    return process.returncode, errors


def assert_whole(workdir):
    for path in (workdir / "checkpoints").glob("[bs]*"):
        assert hash_of(path)[: checkpoints.HASH_DIGITS] == checkpoints.NAME.fullmatch(path.name)[3]


def assert_stopped(number, status, errors):
    """Killed, or stopped in one line; or it had just ended by itself."""
    assert "Traceback" not in errors
    if number == signal.SIGKILL:
        assert status in (-signal.SIGKILL, 0)
        return
    lines = [line for line in errors.splitlines() if ": error: " in line]
    assert (status, len(lines)) in [(130, 1), (0, 0)], errors
    assert all("deepvideo-train: error: interrupted" in line for line in lines)


def check_end(command, workdir, expected):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert checkpoint_names(workdir) == checkpoint_names(expected)
    assert (workdir / "history.csv").read_text() == (expected / "history.csv").read_text()
    assert (workdir / "saved_model/1/saved_model.pb").is_file()


SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def test_a_run_stopped_in_three_ways_ends_the_same(judged_shards, undisturbed, tmp_path):
    rng = random.Random(0)
    command = train_command(judged_shards, tmp_path)
    statuses = []
    for number in SIGNALS:
        status, errors = stop_at(command, tmp_path, number, steps=2, delay_s=rng.uniform(0, 0.1))
        assert_stopped(number, status, errors)
        assert_whole(tmp_path)
        statuses.append(status)
    assert statuses.count(0) < len(SIGNALS)
    check_end(command, tmp_path, undisturbed)


@pytest.mark.long
def test_20_kills(judged_shards, undisturbed, tmp_path):
    """Each in a run of its own, so that the ends tell whether that very kill did harm."""
    rng = random.Random(1)
    at_work = in_a_write = 0
    for number in range(20):
        workdir = tmp_path / str(number)
        command = train_command(judged_shards, workdir)
        steps = rng.randint(0, 3 * NUM_EPOCHS - 5)
        status, errors = stop_at(command, workdir, signal.SIGKILL, steps, delay_s=rng.uniform(0, 0.1))
        assert_stopped(signal.SIGKILL, status, errors)
        at_work += status == -signal.SIGKILL
        in_a_write += (workdir / "checkpoints/unfinished.weights.h5").exists()
        assert_whole(workdir)
        check_end(command, workdir, undisturbed)
    assert at_work >= 10
    assert in_a_write >= 1


@pytest.mark.long
def test_20_polite_stops(judged_shards, undisturbed, tmp_path):
    """One run, stopped again and again as soon as it has done some step."""
    rng = random.Random(2)
    command = train_command(judged_shards, tmp_path)
    stopped = 0
    for number in itertools.islice(itertools.cycle([signal.SIGTERM, signal.SIGINT]), 20):
        status, errors = stop_at(command, tmp_path, number, steps=1, delay_s=rng.uniform(0, 0.05))
        assert_stopped(number, status, errors)
        stopped += status == 130
        assert_whole(tmp_path)
    assert stopped >= 5
    check_end(command, tmp_path, undisturbed)
