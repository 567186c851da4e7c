"""Two processes that train together on the JAX backend, as programs on this machine."""

import csv
import math
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import ProcessSpec
from deepvideo_tf.data.annotations import hold_out
from deepvideo_tf.errors import ConfigError, TrainingError
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.training.executors import restarts
from tests.support.repository import REPOSITORY

TRAIN = os.path.join(sysconfig.get_path("scripts"), "deepvideo-train")
UNION_FIT = REPOSITORY / "tests/support/union_fit.py"
MODEL = ("--model=single_frame", "--width=0.1", "--crop_size_px=32", "--noflip")
NO_DROPOUT = ("--dropout=0", "--top_dropout=0")
STEPS_PER_EPOCH = 5  # of 32 clips


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """160 train clips in 4 shards and 16 validation clips in 3, 36 px."""
    folder = tmp_path_factory.mktemp("processes")
    videos = dv.make_synthetic(folder / "videos", videos_per_class=11)
    train, validation = hold_out(dv.read_folder(videos), 1 / 11)
    spec = dv.ShardSpec(clips_per_video=4, frame_size_px=36)
    for split, part, number in (("train", train, 4), ("validation", validation, 3)):
        dv.build_shards(part, folder / "shards", split=split, spec=spec, num_shards=number)
    return folder / "shards"


@pytest.fixture(scope="module")
def first_run(shards, tmp_path_factory):
    """A run under TensorFlow from which others start."""
    workdir = tmp_path_factory.mktemp("first") / "run"
    clip = dv.ClipSpec(num_frames=1, crop_size_px=32, flip=False)
    dv.train(dv.TrainConfig(model="single_frame", clip=clip, width=0.1, num_epochs=1), shards, workdir)
    return workdir


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(number, count, port, shards, workdir, *flags):
    command = [TRAIN, f"--shards_dir={shards}", f"--workdir={workdir}", *MODEL, *flags]
    command += [f"--num_processes={count}", f"--process_id={number}", f"--coordinator_address=127.0.0.1:{port}"]
    log = open(f"{workdir}-{number}.log", "a", encoding="utf-8")  # noqa: SIM115 (the process's)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def end(*processes, timeout_s=400):
    """Waits for processes, and kills what is left of them."""
    try:
        return [process.wait(timeout=timeout_s) for process in processes]
    finally:
        for process in processes:
            process.kill()


def logs(workdir):
    return "\n".join(path.read_text() for path in sorted(workdir.parent.glob(f"{workdir.name}-*.log")))


def train_together(shards, workdir, *flags):
    port = free_port()
    assert end(*(start(number, 2, port, shards, workdir, *flags) for number in range(2))) == [0, 0], logs(workdir)


def progress(workdir):
    return read_description(find_checkpoint(workdir, best=False)).progress


def test_two_processes_train_judge_and_export(shards, tmp_path):
    """From new weights; what they say of the validation is what one process under TensorFlow finds."""
    train_together(shards, tmp_path / "run", "--num_epochs=2")
    run = load_run(tmp_path / "run")
    clips, targets = next(dv.make_dataset(shards, "validation", run.config.clip, batch_size=16).as_numpy_iterator())
    logits = run.model.predict(clips, verbose=0)
    losses = np.log(np.exp(logits).sum(axis=1)) - (logits * targets).sum(axis=1)
    with open(tmp_path / "run/history.csv", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    assert [int(epoch["epoch"]) for epoch in epochs] == [0, 1]
    best = progress(tmp_path / "run").best
    assert math.isclose(-best[1], losses.mean(), rel_tol=1e-4)
    assert math.isclose(best[0], (logits.argmax(axis=1) == targets.argmax(axis=1)).mean(), abs_tol=1e-6)
    assert np.ptp(logits, axis=0).max() > 0
    assert (tmp_path / "run/saved_model/1/saved_model.pb").exists()
    assert logs(tmp_path / "run").count("Process 0 exports it") == 1
    # A process that was lost at the end, and is started again, waits for nobody and leaves the run to the first.
    assert end(start(1, 2, free_port(), shards, tmp_path / "run", "--num_epochs=2")) == [0]
    assert logs(tmp_path / "run").count("Process 0 exports it") == 2


def weights_of_two(shards, first_run, workdir, *flags):
    train_together(
        shards,
        workdir,
        f"--init_from={first_run}",
        "--finetune=all",
        *NO_DROPOUT,
        "--schedule=constant",
        "--num_epochs=10",
        *flags,
    )
    assert progress(workdir).total_steps == 50
    from deepvideo_tf.runs.run import build_untrained
    from deepvideo_tf.runs.state import load_weights

    model = build_untrained(load_run(workdir).config, 4)
    load_weights(find_checkpoint(workdir, best=False), model)
    return model.get_weights()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_two_processes_end_with_the_weights_of_one(shards, first_run, tmp_path, backend):
    """Within 1e-5 after 50 steps of 32 clips."""
    two = weights_of_two(shards, first_run, tmp_path / "run")
    command = [sys.executable, UNION_FIT, shards, tmp_path / "run", "50", tmp_path / "one.npz"]
    subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": backend}, timeout=400)
    one = np.load(tmp_path / "one.npz")
    assert one["backend"] == backend
    differences = [np.abs(weight - one[f"after{number}"]).max() for number, weight in enumerate(two)]
    moved = max(np.abs(weight - one[f"before{number}"]).max() for number, weight in enumerate(two))
    print(f"largest difference {max(differences):.2e} where the weights moved by {moved:.2e}")
    assert moved > 1e-2
    assert max(differences) < 1e-5


def children(process):
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def wait_until(condition, timeout_s=120):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def steps_of(workdir):
    names = [path.name for path in (workdir / "checkpoints").glob("step-*")]
    return max([0, *(int(name.split("-")[1]) for name in names)])


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("whole", [False, True])
def test_a_killed_process_costs_the_steps_since_the_last_checkpoint(shards, first_run, tmp_path, killed, whole):
    """Its child alone, which is started again; or all of it, and its command is given again, as a scheduler does."""
    flags = ("--num_epochs=10", f"--init_from={first_run}", "--finetune=all", *NO_DROPOUT, "--checkpoint_minutes=0")
    train_together(shards, tmp_path / "whole", *flags)
    workdir, port = tmp_path / "run", free_port()
    processes = [start(number, 2, port, shards, workdir, *flags) for number in range(2)]
    wait_until(lambda: steps_of(workdir) >= 8)
    other_child = children(processes[1 - killed])
    if whole:
        processes[killed].kill()
        processes[killed].wait()
        processes[killed] = start(killed, 2, port, shards, workdir, *flags)
    else:
        os.kill(children(processes[killed])[0], signal.SIGKILL)
    killed_s = time.monotonic()
    wait_until(lambda: children(processes[1 - killed]) != other_child)
    noticed_s = time.monotonic() - killed_s
    reached = steps_of(workdir)
    wait_until(lambda: steps_of(workdir) > reached)
    print(f"noticed after {noticed_s:.1f} s, going on after {time.monotonic() - killed_s:.1f} s")
    assert end(*processes) == [0, 0], logs(workdir)
    assert noticed_s < 60
    whole_run, run = (load_run(folder).model.get_weights() for folder in (tmp_path / "whole", workdir))
    for one, other in zip(whole_run, run, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
@pytest.mark.parametrize("told", [0, 1])
def test_one_process_told_to_stop_stops_all_of_them_and_they_go_on(shards, tmp_path, told):
    workdir, port = tmp_path / "run", free_port()
    flags = ("--num_epochs=40", "--checkpoint_minutes=0")
    processes = [start(number, 2, port, shards, workdir, *flags) for number in range(2)]
    wait_until(lambda: steps_of(workdir) >= 3)
    processes[told].terminate()
    assert end(*processes) == [130, 130], logs(workdir)
    reached = steps_of(workdir)
    assert logs(workdir).count(f"saved in {workdir} after step {reached}") == 2
    assert "Traceback" not in logs(workdir)
    processes = [start(number, 2, port, shards, workdir, *flags) for number in range(2)]
    wait_until(lambda: steps_of(workdir) > reached)
    for process in processes:
        process.terminate()
    assert end(*processes) == [130, 130]


@pytest.mark.long
def test_processes_with_other_flags_are_refused(shards, tmp_path):
    port = free_port()
    flags = [("--num_epochs=1",), ("--num_epochs=2",)]
    processes = [start(number, 2, port, shards, tmp_path / "run", *flags[number]) for number in range(2)]
    assert end(*processes) == [1, 1]
    assert "all processes must have the same flags and shards, this one has others" in logs(tmp_path / "run")


@pytest.mark.long
def test_a_run_goes_on_under_the_other_backend_and_ends_with_the_same_weights(shards, tmp_path):
    """Stopped under each in turn, in the middle of an epoch; dropout off, whose masks are others."""
    epochs = 30
    flags = (*NO_DROPOUT, f"--num_epochs={epochs}", "--checkpoint_minutes=0")
    alone = [TRAIN, f"--shards_dir={shards}", *MODEL, *flags]
    subprocess.run([*alone, f"--workdir={tmp_path / 'whole'}"], check=True, capture_output=True)
    workdir, reached = tmp_path / "run", 0

    def under_jax():
        return start(0, 1, free_port(), shards, workdir, *flags)

    def under_tensorflow():
        with open(f"{workdir}-alone.log", "a", encoding="utf-8") as log:
            return subprocess.Popen([*alone, f"--workdir={workdir}"], stdout=log, stderr=log)

    for begin in (under_tensorflow, under_jax):
        process = begin()
        wait_until(lambda reached=reached: steps_of(workdir) >= reached + 7)
        process.terminate()
        assert end(process) == [130], logs(workdir)
        reached = steps_of(workdir)
        assert 7 <= reached < epochs * STEPS_PER_EPOCH
    assert end(under_tensorflow()) == [0], logs(workdir)
    assert progress(workdir).total_steps == epochs * STEPS_PER_EPOCH
    weights = [load_run(folder).model.get_weights() for folder in (tmp_path / "whole", workdir)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 2, "a:1"), "process_id must be at least 0 and below the 2 of num_processes. Received: 2"),
        ((0, 2), "coordinator_address must be given for num_processes=2: HOST:PORT"),
        ((0, 2, "host"), "coordinator_address must be HOST:PORT. Received: 'host'"),
        ((0, 2, "host:99999"), "coordinator_address must be HOST:PORT. Received: 'host:99999'"),
    ],
)
def test_a_place_that_cannot_be(arguments, message):
    with pytest.raises(ConfigError, match="^" + message):
        ProcessSpec(*arguments)


def command(code):
    return [sys.executable, "-c", f"import os, signal, sys; {code}"]


def test_a_command_is_run_again_until_it_is_not_lost(tmp_path):
    """Killed, aborted, and told of a loss; then it ends with a status of its own."""
    code = (
        f"n = len(os.listdir({str(tmp_path)!r})); open(os.path.join({str(tmp_path)!r}, str(n)), 'w').close(); "
        "n == 0 and os.kill(os.getpid(), signal.SIGKILL); n == 1 and os.abort(); sys.exit(75 if n == 2 else 3)"
    )
    assert restarts.run_with_restarts(command(code), lambda: str(len(os.listdir(tmp_path)))) == 3
    assert len(list(tmp_path.iterdir())) == 4


def test_a_command_that_gets_nowhere_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(restarts, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(restarts, "MAX_LOSSES", 2)
    with pytest.raises(TrainingError, match="lost a process of the run 3 times without a new checkpoint"):
        restarts.run_with_restarts(command("sys.exit(75)"), lambda: None)
    assert len([line for line in caplog.messages if "going on from its last checkpoint" in line]) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process_id=0"], "--process_id must be given with --num_processes. Received: 0"),
        (["--coordinator_address=a:1"], "--coordinator_address must be given with --num_processes. Received: 'a:1'"),
        (["--num_processes=2", "--coordinator_address=a:1"], "--process_id must be given"),
        (
            ["--num_processes=4", "--process_id=0", "--coordinator_address=a:1"],
            "--num_processes must be at most 3, since each needs one of the train shards. Received: 4",
        ),
        (
            ["--num_processes=3", "--process_id=0", "--coordinator_address=a:1"],
            "--global_batch_size must be a multiple of --num_processes=3. Received: 32",
        ),
        (["--num_processes=1", "--strategy=mirrored"], "--strategy must not be given with --num_processes"),
    ],
)
def test_wrong_flags_are_refused_before_anybody_waits(small_shards, tmp_path, flags, message):
    arguments = [TRAIN, f"--shards_dir={small_shards}", f"--workdir={tmp_path / 'run'}", *flags]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert message in line
