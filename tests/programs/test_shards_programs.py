"""`deepvideo-build-shards` and `deepvideo-verify-shards` as a user runs them."""

import json
import re
import shutil

from tests.support.files import flip_a_bit
from tests.support.programs import succeeded


def test_a_build_lists_what_it_skips(run_program, synthetic_videos, tmp_path):
    shutil.copytree(synthetic_videos, tmp_path / "videos")
    (tmp_path / "videos/moves_up/0000.mp4").write_text("no video")
    (tmp_path / "videos/moves_up/notes.txt").write_text("no video")
    arguments = ("--video_root=videos", "--shards_dir=shards", "--clips_per_video=1", "--frame_size_px=32")
    result = run_program("build-shards", *arguments, cwd=tmp_path)
    assert "train: 15 of 16 videos, 1 skipped, 15 clips" in succeeded(result)
    assert "train: 16 of 16 videos\n" in result.stderr  # a plain line, since this is no terminal
    assert "  skipped moves_up/0000.mp4: cannot be decoded" in result.stdout
    assert "ignored moves_up/notes.txt: not a video by its name" in result.stdout
    result = run_program("build-shards", *arguments, "--max_bad_fraction=0.05", "--shards_dir=other", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: 1 of 16 videos are bad, more than the part of 0.05" in result.stderr
    assert [path.name for path in (tmp_path / "other").iterdir() if not path.name.startswith(".")] == []


def test_a_table_of_parts_of_videos(run_program, synthetic_videos, tmp_path):
    table = "path,labels,split,start_s,end_s\n"
    table += "moves_up/0000.mp4,up,train,,0.8\nmoves_up/0000.mp4,up,test,0.8,\nmoves_left/0001.mp4,left,train,,\n"
    (tmp_path / "videos.csv").write_text(table)
    arguments = ("--format=csv", "--annotations=videos.csv", f"--video_root={synthetic_videos}", "--shards_dir=shards")
    output = succeeded(run_program("build-shards", *arguments, "--frame_size_px=32", cwd=tmp_path))
    assert "train: 2 of 2 videos" in output
    assert "test: 1 of 1 videos" in output
    output = run_program("inspect-shards", "--shards_dir=shards", cwd=tmp_path).stdout
    assert "same video: train moves_up/0000.mp4#0-0.8 and test moves_up/0000.mp4#0.8-" in output
    assert "length: 0.8 to 1.6 s" in output
    assert (tmp_path / "shards/train-clips.png").stat().st_size > 1000


def test_sports1m_tells_what_is_there(run_program, synthetic_videos, tmp_path):
    (tmp_path / "videos").mkdir()
    names = [f"{number:011d}" for number in range(12)]
    for name in names[:6]:
        shutil.copy(synthetic_videos / "moves_up/0000.mp4", tmp_path / f"videos/{name}.mp4")
    lines = [f"https://www.youtube.com/watch?v={name} {number % 2}" for number, name in enumerate(names)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    (tmp_path / "labels.txt").write_text("boomerang\nboxing\n")
    arguments = ("--format=sports1m", "--annotations=list.txt", "--classes=labels.txt", "--video_root=videos")
    result = run_program("build-shards", *arguments, "--shards_dir=shards", "--frame_size_px=32", cwd=tmp_path)
    output = succeeded(result)
    reports = [json.loads(path.read_text()) for path in sorted((tmp_path / "shards").glob("*-coverage.json"))]
    assert sum(report["present"] for report in reports) == 6
    assert f"{reports[0]['present']} of {reports[0]['listed']} listed videos are there" in output
    assert not set(reports[0]["absent"]) & set(names[:6])


def test_verify_names_what_is_damaged(run_program, small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards")
    result = run_program("verify-shards", "--shards_dir=shards", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "train: 3 shards with 36 clips are as their manifest says" in result.stdout
    path = tmp_path / "shards/test-00001-of-00003.tfrecord"
    flip_a_bit(path)
    result = run_program("verify-shards", "--shards_dir=shards", cwd=tmp_path)
    assert result.returncode == 1
    assert re.search(rf"shards/{path.name} at byte \d+: the record does not match its checksum", result.stdout)
    assert result.stderr.splitlines()[-1] == "deepvideo-verify-shards: error: shards: 1 problem, listed above"
