"""A disk that is full, played by a limit on the size of files: one line, and nothing half-made under a final name."""

import resource
import subprocess
import sysconfig
from pathlib import Path

import pytest

LIMIT_BYTES = 30_000


def run_with_limit(name, *arguments):
    program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES)),
    )


@pytest.mark.parametrize(
    "command",
    [
        "build-shards --video_root={videos} --shards_dir={out} --num_shards=1",
        "export-saved-model --workdir={run} --export_dir={out}",
        "export-tflite --workdir={run} --tflite_path={out}/model.tflite",
    ],
)
def test_a_full_disk(synthetic_videos, small_run, tmp_path, command):
    out = tmp_path / "out"
    result = run_with_limit(*command.format(videos=synthetic_videos, run=small_run, out=out).split())
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    assert "Traceback" not in result.stderr
    assert [path.name for path in out.glob("*") if not path.name.startswith(".")] == []


def test_a_disk_too_full_for_a_checkpoint(small_shards, tmp_path):
    """HDF5 itself would crash, and take the process with it."""
    flags = "--model=single_frame --crop_size_px=32 --width=0.05 --num_epochs=1 --checkpoint_minutes=0"
    result = run_with_limit("train", f"--shards_dir={small_shards}", f"--workdir={tmp_path}", *flags.split())
    assert result.returncode == 1, result.stderr
    (error,) = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert f"{tmp_path}/checkpoints: no checkpoint can be written: " in error
    assert "Traceback" not in result.stderr
    assert "HDF5" not in result.stderr
    assert list((tmp_path / "checkpoints").iterdir()) == []
