"""What the README tells a newcomer to do."""

import functools
import re
import subprocess
import sys

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import hold_out
from tests.support.programs import PROGRAMS
from tests.support.repository import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_notebook_example(synthetic_videos, tmp_path):
    code, _ = PYTHON
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    for split, part in zip(("train", "test"), hold_out(dv.read_folder(synthetic_videos), 0.25), strict=True):
        spec = dv.ShardSpec(clips_per_video=3, frame_size_px=100)
        dv.build_shards(part, tmp_path / "demo/synthetic/shards", split=split, spec=spec)
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "val_hit_at_1" in result.stdout


def test_the_models_example():
    _, code = PYTHON
    frames = np.random.default_rng(0).integers(0, 256, (12, 170, 170, 3), dtype=np.uint8)
    names = {"frames": frames}
    exec(code, names)
    expected = names["clip_net"].predict(frames[None, 2:], verbose=0)[0]
    np.testing.assert_allclose(names["logits"], expected, atol=1e-5)


def test_every_program_is_in_the_table():
    assert {f"deepvideo-{name}" for name in PROGRAMS} == set(re.findall(r"^\| `(deepvideo-[a-z-]+)` \|", README, re.M))


def test_every_flag_in_the_documents_exists(run_program):
    help_of = functools.cache(lambda name: run_program(name, "--help").stdout)
    others = [REPOSITORY / "BUILD.md", *(REPOSITORY / "docs").rglob("*.md")]
    for document in (README, *(path.read_text(encoding="utf-8") for path in others)):
        for name, arguments in re.findall(r"(?:\$ |^ *)deepvideo-([a-z-]+)((?: [^\n]*(?:\\\n)?)*)", document, re.M):
            for flag in re.findall(r"--(?:no)?([a-z_]+)", arguments):
                assert re.search(rf"--(\[no\])?{flag}:", help_of(name)), f"{name} has no --{flag}"


def test_the_demo(run_program, tmp_path):
    """The whole job on synthetic videos: the class is told from motion, far better than chance (0.25)."""
    result = run_program("demo", "--demo_dir=demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    hit_at_1 = float(re.search(r"^Video Hit@1 ([\d.]+) on 32 held-out synthetic videos", result.stdout, re.M).group(1))
    assert hit_at_1 > 0.8
    for what in ("Videos", "Shards", "Run", "SavedModel", "TFLite file"):
        path = re.search(rf"^{what}: +(\S+)$", result.stdout, re.M).group(1)
        assert (tmp_path / path).exists()
    answers = re.findall(r"moves_(\w+)/\d+.mp4\n  [\d.]+ moves_(\w+)", result.stdout)
    assert len(answers) == 2
    assert answers[0] == answers[1]
    command = re.search(r"^Next: deepvideo-(predict) (.*)$", result.stdout.split("Video Hit@1")[1], re.M)
    assert run_program(command.group(1), *command.group(2).split(), cwd=tmp_path).returncode == 0
    # Once more: everything is there already.
    again = run_program("demo", "--demo_dir=demo", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "Epoch" not in again.stdout


@pytest.mark.long
def test_the_demo_on_real_videos(run_program, ucf101_6, tmp_path):
    result = run_program("demo", f"--video_root={ucf101_6 / 'videos'}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert float(re.search(r"^Video Hit@1 ([\d.]+) on 72 held-out videos", result.stdout, re.M).group(1)) > 0.5
