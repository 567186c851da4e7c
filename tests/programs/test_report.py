"""`deepvideo-report` as a user runs it, the commands of docs/report.md among them."""

import json
import os
import re
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from tests.support.programs import one_line, succeeded


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), ("expected either --preset or --shards_dir", "none")),
        (("--preset=synthetic", "--shards_dir=s"), ("expected either --preset or --shards_dir", "both")),
        (("--preset=ucf101-6",), ("--preset=ucf101-6 needs --data_dir",)),
        (("--preset=synthetic", "--data_dir=d"), ("--preset=synthetic takes no --data_dir",)),
        (("--preset=synthetic", "--noflip"), ("--noflip goes with --shards_dir",)),
        (("--shards_dir=s", "--data_dir=d"), ("--data_dir goes with --preset",)),
        (("--preset=synthetic", "--init_from=run"), ("--init_from=run", "expected the folder of a trained run")),
        (("--preset=synthetic", "--budget_minutes=nan"), ("--budget_minutes must be finite",)),
        (("--shards_dir=nowhere",), ("nowhere: expected a folder of shards",)),
    ],
)
def test_flags_that_do_not_go_together(run_program, tmp_path, flags, words):
    one_line(run_program("report", "--report_dir=report", *flags, cwd=tmp_path), *words)
    assert not list((tmp_path / "report").glob("runs"))


def test_a_report_is_not_mixed_with_another(run_program, tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    state = report / "state.json"
    state.write_text(
        '{"made_for": {"title": "other", "budget_minutes": 5}, "plan": null, "done": [], "seconds": {}, "speed": null}'
    )
    result = run_program("report", f"--report_dir={report}", "--shards_dir=shards")
    one_line(result, str(report), "holds a report of title=other")
    for damaged in ('{"made_for": {}, "plan": {"width": 1}, "done": [], "seconds": {}, "speed": null}', "{"):
        state.write_text(damaged)
        one_line(run_program("report", f"--report_dir={report}", "--shards_dir=shards"), str(state), "not a whole")


@pytest.mark.long
def test_a_report_that_was_stopped_goes_on_and_is_whole(run_program, tmp_path):
    """On synthetic videos, told to stop in the middle of a training; then fine-tuning from one of its own nets."""
    program = Path(sysconfig.get_path("scripts")) / "deepvideo-report"
    arguments = ["--preset=synthetic", "--report_dir=report", "--budget_minutes=1", "--noframes"]
    stopped = subprocess.Popen([program, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    checkpoints = tmp_path / "report/runs/single_frame/checkpoints"
    while not checkpoints.exists():
        assert stopped.poll() is None
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    _, errors = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert errors.splitlines()[-1] == "deepvideo-report: error: interrupted; the same command goes on from here"
    baseline = tmp_path / "report/runs/feature_histograms/evaluation-test.json"
    before = os.stat(baseline).st_mtime_ns

    result = run_forever(program, arguments, tmp_path)
    assert os.stat(baseline).st_mtime_ns == before
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["is_synthetic"]
    for row in report["tables"]["table_1"]["rows"][:-1]:
        assert 0 <= row["cells"][1]["value"] <= 1
    assert report["tables"]["speed"]["rows"]
    assert {picture["name"] for picture in report["pictures"]} == {"filters", "curves", "confusion", "ap"}
    commands = re.findall(r"^\$ (deepvideo-.*)$", result.stdout, re.M)
    assert set(commands) <= set(report["commands"])
    assert not any("feature_histograms" in command for command in commands)
    page = (tmp_path / "report/report.html").read_text()
    assert "<strong>On which data:</strong> Synthetic videos" in page

    again = run_forever(program, arguments, tmp_path)
    assert "$ deepvideo" not in again.stdout
    assert (tmp_path / "report/report.html").read_text() == page

    transfer = [*arguments, "--init_from=report/runs/slow_fusion"]
    result = run_forever(program, transfer, tmp_path)
    assert len(re.findall(r"^\$ deepvideo-train", result.stdout, re.M)) == 3
    table = json.loads((tmp_path / "report/report.json").read_text())["tables"]["table_3"]
    assert [row["title"] for row in table["rows"]][2:] == [
        "fine-tune top layer", "fine-tune top 3 layers", "fine-tune all layers",
    ]  # fmt: skip
    state = tmp_path / "report/state.json"
    assert json.loads(state.read_text())["plan"]["budget_minutes"] == 1
    other = run_program("report", *transfer[:2], "--budget_minutes=2", cwd=tmp_path)
    one_line(other, "'budget_minutes': 2.0", "'budget_minutes': 1.0")


@pytest.mark.long
def test_a_report_on_shards(small_shards, tmp_path):
    program = Path(sysconfig.get_path("scripts")) / "deepvideo-report"
    flags = [f"--shards_dir={small_shards}", "--report_dir=report", "--noflip", "--budget_minutes=1"]
    run_forever(program, flags, tmp_path)
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["title"] == small_shards.name
    assert report["data"]["test_videos"] == 4
    assert report["with_frames"]
    assert {"predictions", "saliency", "views"} <= {picture["name"] for picture in report["pictures"]}
    assert all("--noflip" in command for command in report["commands"] if "deepvideo-train" in command)
    assert "data:image/png;base64," in (tmp_path / "report/report.html").read_text()


def run_forever(program, arguments, folder):
    result = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    succeeded(result)
    return result
