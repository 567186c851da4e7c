"""`deepvideo-predict` and `deepvideo-check-parity` as a user runs them."""

import json
import re
import shutil
import zipfile

import pytest

import deepvideo_tf as dv
from tests.support.programs import one_line, succeeded


def test_predict_goes_on_after_a_bad_video(run_program, small_run, synthetic_videos, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    good = synthetic_videos / "moves_up/0001.mp4"
    result = run_program("predict", f"--model_path={small_run}", "bad.mp4", good, "absent.mp4", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == str(good)
    assert len(result.stdout.splitlines()) == 5
    assert [line.split(": ", 2)[1:] for line in result.stderr.splitlines()] == [
        ["error", "bad.mp4: cannot be decoded: Invalid data found when processing input"],
        ["error", "absent.mp4: no such file"],
        ["2 of 3 videos could not be classified"],
    ]


@pytest.fixture(scope="module")
def small_tflite(small_run, tmp_path_factory):
    return dv.export_tflite(small_run, tmp_path_factory.mktemp("tflite") / "small.tflite")


def test_predict_takes_folders_and_patterns(run_program, small_tflite, synthetic_videos, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"text")
    names = [synthetic_videos / "moves_left", f"{synthetic_videos}/*/0001.mp4", "bad.mp4"]
    result = run_program("predict", f"--model_path={small_tflite}", "--json", *names, cwd=tmp_path)
    assert result.returncode == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    folders = ("moves_left",) * 4 + ("moves_down", "moves_right", "moves_up")
    files = ("0000", "0001", "0002", "0003", "0001", "0001", "0001")
    expected = [f"{synthetic_videos}/{folder}/{file}.mp4" for folder, file in zip(folders, files, strict=True)]
    assert [line["video"] for line in lines] == [*expected, "bad.mp4"]
    assert lines[-1]["error"].startswith("cannot be decoded")
    assert all(len(line["classes"]) == 4 for line in lines[:-1])
    assert result.stderr.splitlines()[-1] == "deepvideo-predict: 1 of 8 videos could not be classified"


def test_predict_answers_while_a_video_runs(run_program, small_tflite, synthetic_videos, tmp_path):
    video = synthetic_videos / "moves_up/0000.mp4"
    flags = ("--stream", "--hop_s=0.2", "--top=2")
    result = run_program("predict", f"--model_path={small_tflite}", *flags, "--json", video)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    times_s = [line["time_s"] for line in lines]
    assert times_s == sorted(times_s)
    assert len(lines) >= 3
    assert all(line["video"] == str(video) and len(line["classes"]) == 2 for line in lines)
    text = run_program("predict", f"--model_path={small_tflite}", *flags, video).stdout
    assert len(re.findall(r"^ +[\d.]+ s  [\d.]+ moves_\w+  [\d.]+ moves_\w+$", text, re.M)) == len(lines)
    one_line(run_program("predict", f"--model_path={small_tflite}", "--stream", "97", cwd=tmp_path), "camera 97")


def test_predict_writes_annotated_copies(run_program, small_tflite, synthetic_videos, tmp_path):
    flags = (f"--model_path={small_tflite}", "--annotate=copies")
    video = synthetic_videos / "moves_up/0000.mp4"
    result = run_program("predict", *flags, video, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{video} -> copies/0000.mp4\n" in result.stdout
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["0000.mp4"]
    one_line(run_program("predict", *flags, synthetic_videos, cwd=tmp_path), "would both be copied to copies/0000.mp4")
    one_line(run_program("predict", *flags, "--stream", video, cwd=tmp_path), "--stream and --annotate")
    copied = tmp_path / "copies/0000.mp4"
    one_line(run_program("predict", *flags, copied, cwd=tmp_path), "the copy of", "would replace it")
    one_line(run_program("predict", flags[0], "--stream", "--num_views=2", video), "--num_views")
    named = tmp_path / "new\nline \udcff.mp4"
    named.symlink_to(video)
    (line,) = run_program("predict", flags[0], "--json", named).stdout.splitlines()
    assert json.loads(line)["video"] == str(named)


def test_parity_is_a_table_that_fails(run_program, small_run, small_shards, small_tflite, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    flags = (f"--workdir={run}", f"--shards_dir={small_shards}")
    table = succeeded(run_program("check-parity", *flags, small_tflite))
    assert re.search(r"small\.tflite +TFLite float32 +[\d.e+-]+ +[\d.e+-]+ +1\.0000", table)
    assert len(json.loads((run / "parity-test.json").read_text())["models"]) == 2
    # A file that says of itself that it is exact, and is not.
    liar, about = tmp_path / "liar.tflite", {"quantization": "dynamic_int8"}
    shutil.copy(dv.export_tflite(small_run, tmp_path / "int8.tflite", **about), liar)
    text = zipfile.ZipFile(liar).read("model_card.json").decode().replace('"dynamic_int8"', '"float32"')
    flatbuffer_bytes = zipfile.ZipFile(liar).infolist()[0].header_offset
    liar.write_bytes(liar.read_bytes()[:flatbuffer_bytes])
    with zipfile.ZipFile(liar, "a") as archive:
        archive.writestr("model_card.json", text)
    result = run_program("check-parity", *flags, small_tflite, liar)
    assert result.returncode == 1
    assert re.search(r"TFLite float32 .* broken$", result.stdout, re.M)
    (error,) = [line for line in result.stderr.splitlines() if ": error: " in line and "differ by" in line]
    assert "liar.tflite: probabilities differ by" in error
