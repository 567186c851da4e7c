"""The feature-histogram baseline as a user runs it, on real videos."""

import json
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.programs import one_line, succeeded

SMALL = (
    "--model=feature_histograms",
    "--histogram_words=20",
    "--width=0.05",
    "--crop_size_px=60",
    "--cached_views=2",
    "--optimizer=adamw",
    "--num_epochs=8",
)


@pytest.fixture(scope="module")
def shards(run_program, real_videos, tmp_path_factory):
    shards_dir = tmp_path_factory.mktemp("baseline") / "shards"
    succeeded(
        run_program(
            "build-shards",
            "--format=folder",
            f"--video_root={real_videos}",
            "--holdout_fraction=0.34",
            f"--shards_dir={shards_dir}",
            "--clips_per_video=4",
            "--frame_size_px=64",
        )
    )
    return shards_dir


@pytest.fixture(scope="module")
def run(run_program, shards, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("baseline") / "run"
    out = succeeded(run_program("train", f"--shards_dir={shards}", f"--workdir={workdir}", *SMALL))
    assert "No SavedModel" in out
    assert len(re.findall("^epoch ", out, re.M)) == 8
    return workdir


def test_trained_evaluated_and_asked(run_program, shards, run, real_videos):
    out = succeeded(run_program("evaluate", f"--workdir={run}", f"--shards_dir={shards}", "--motion"))
    assert "video Hit@1" in out
    result = json.loads((run / "evaluation-test.json").read_text())
    assert result["video_hit_at_1"] >= 0.75  # the sea and a piano; chance is 0.5
    with np.load(run / "scores-test.npz", allow_pickle=False) as scores:
        assert scores["clip_scores"].shape == (result["clips"], 2)
    video = real_videos / "Surfing/v_Surfing_g01_c01.avi"
    answer = run_program("predict", f"--model_path={run}", "--json", video)
    assert answer.returncode == 0, answer.stderr
    classes = json.loads(answer.stdout)["classes"]
    assert classes[0]["class"] == "Surfing"


def test_a_second_run_finds_the_features(run_program, shards, run, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (shards / "features").rglob("*-*.*")}
    other = run_program("train", f"--shards_dir={shards}", f"--workdir={tmp_path / 'run'}", *SMALL, "--seed=1")
    succeeded(other)
    assert "features of the" not in other.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (shards / "features").rglob("*-*.*")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_it_computes_features_it_says_so_in_one_line_and_goes_on(shards, tmp_path, number):
    shutil.copytree(shards, tmp_path / "shards", ignore=shutil.ignore_patterns("features"))
    train = Path(sysconfig.get_path("scripts")) / "deepvideo-train"
    command = [train, f"--shards_dir={tmp_path / 'shards'}", f"--workdir={tmp_path / 'run'}", *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if list((tmp_path / "shards").glob("features/*/*-*.rows")):
            break
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    assert process.returncode in (130, 0), errors
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("features/*/*-*.rows")}
    assert done
    subprocess.run(command, check=True, capture_output=True)
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in done.items())


@pytest.mark.parametrize(
    ("program", "flag"),
    [("export-saved-model", "--export_dir"), ("export-tflite", "--tflite_path"), ("export-onnx", "--onnx_path")],
)
def test_exports_refuse_it_in_one_line(run_program, run, tmp_path, program, flag):
    ending = {"--tflite_path": ".tflite", "--onnx_path": ".onnx"}.get(flag, "")
    one_line(run_program(program, f"--workdir={run}", f"{flag}={tmp_path / f'model{ending}'}"), str(run), "exported")
    assert not list(tmp_path.iterdir())


def test_wrong_flags_are_one_line(run_program, shards, tmp_path):
    for flag in ("--mixup_alpha=0.2", "--cached_views=0", "--hidden_layers=3", "--histogram_words=0"):
        result = run_program("train", f"--shards_dir={shards}", f"--workdir={tmp_path / 'run'}", *SMALL, flag)
        one_line(result, flag.split("=")[0][2:])
