"""The programs as a user runs them: real videos in, an exported classifier out; and every mistake one can make."""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

import deepvideo_tf as dv
from deepvideo_tf.config import FUSIONS, MODEL_NAMES
from tests.support.files import flip_a_bit, rewrite_manifest
from tests.support.programs import PROGRAMS, one_line, succeeded
from tests.support.repository import REPOSITORY


def test_the_path_from_videos_to_predictions(run_program, real_videos, tmp_path):
    video = real_videos / "Surfing/v_Surfing_g01_c01.avi"
    out = succeeded(
        run_program(
            "build-shards", f"--video_root={real_videos}", "--holdout_fraction=0.3", "--shards_dir=shards",
            "--clips_per_video=3", "--frame_size_px=48", "--num_shards=2", cwd=tmp_path,
        )
    )  # fmt: skip
    assert "train: 8 of 8 videos, 24 clips, 2 classes, 2 shards" in out
    assert "test: 4 of 4 videos, 12 clips, 2 classes, 2 shards" in out
    out = succeeded(
        run_program(
            "train", "--shards_dir=shards", "--workdir=run", "--model=multires", "--width=0.1", "--crop_size_px=44",
            "--num_epochs=8", "--optimizer=adamw", "--global_batch_size=8", cwd=tmp_path,
        )
    )  # fmt: skip
    assert "SavedModel: run/saved_model/1" in out
    out = succeeded(run_program("evaluate", "--workdir=run", "--shards_dir=shards", "--pictures=all", cwd=tmp_path))
    assert "test: 4 videos, 12 clips, 4 views a clip" in out
    names = ["filters", "predictions", "curves", "confusion", "ap", "saliency", "views"]
    assert f"Pictures: run/pictures-test ({', '.join(names)})" in out
    check_pictures(tmp_path / "run/pictures-test", names)
    evaluation = json.loads((tmp_path / "run/evaluation-test.json").read_text())
    assert set(evaluation["classes"]) == {"PlayingPiano", "Surfing"}
    assert "exports/1" in succeeded(
        run_program("export-saved-model", "--workdir=run", "--export_dir=exports", cwd=tmp_path)
    )
    succeeded(run_program("export-tflite", "--workdir=run", "--tflite_path=model.tflite", cwd=tmp_path))
    answers = []
    for model in ("run", "exports", "model.tflite"):
        result = run_program("predict", f"--model_path={model}", "--json", video, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        (line,) = result.stdout.splitlines()
        answers.append(json.loads(line))
    for answer in answers:
        assert answer["video"] == str(video)
        assert sum(row["probability"] for row in answer["classes"]) == pytest.approx(1, abs=1e-4)
        for row, other in zip(answer["classes"], answers[0]["classes"], strict=True):
            assert row["class"] == other["class"]
            assert row["probability"] == pytest.approx(other["probability"], abs=1e-3)


def check_pictures(folder, names):
    """What reports rely on."""
    index = json.loads((folder / "pictures.json").read_text())
    assert [picture["name"] for picture in index] == names
    assert {path.name for path in folder.iterdir()} == {"pictures.json", *(picture["file"] for picture in index)}
    for picture in index:
        assert set(picture) == {"name", "file", "title", "caption", "numbers"}
        assert re.fullmatch("[A-Z].*[0-9].*[.]", picture["caption"])
        with Image.open(folder / picture["file"]) as image:
            image.load()
            assert (image.format, min(image.size) > 200) == ("PNG", True)


def test_evaluating_an_average_against_another_run(run_program, small_run, small_shards, tmp_path):
    runs = [shutil.copytree(small_run, tmp_path / name, ignore=shutil.ignore_patterns("scores-*")) for name in "ab"]
    (runs[0] / "scores-test.npz").write_bytes(b"damaged")
    (tmp_path / "groups.json").write_text('{"sideways": ["moves_left", "moves_right"]}')
    result = run_program(
        "evaluate", "--workdir=average", f"--shards_dir={small_shards}", "--ensemble=a,b", "--against=b", "--k=1,2",
        "--groups=groups.json", "--motion", "--pictures=all", cwd=tmp_path,
    )  # fmt: skip
    output = succeeded(result)
    assert "a/scores-test.npz: not a whole file of scores: File is not a zip file; computed anew" in result.stderr
    assert "the average of a, b\n" in output
    assert re.search(r"video Hit@2 +[\d.]+  [\d.]+ to [\d.]+  0.500\n", output)
    assert re.search(r"[\d.]+ mAP of sideways\n", output)
    assert "against b, which has video Hit@1" in output
    assert "video Hit@1 +0.000 (95% interval 0.000 to 0.000)" in output
    assert re.search(r"frozen +[+-][\d.]+ +[+-][\d.]+ to [+-][\d.]+", output)
    assert output.splitlines()[-3] == "Evaluation: average/evaluation-test.json"
    assert output.splitlines()[-2] == "Pictures: average/pictures-test (predictions, confusion, ap)"
    check_pictures(tmp_path / "average/pictures-test", ["predictions", "confusion", "ap"])
    text = (tmp_path / "average/evaluation-test.json").read_text()
    assert len(json.loads(text)["confusion"]) == 4
    assert len(text.splitlines()) < 300


def test_a_table_of_many_classes_shows_the_best_and_the_worst(tmp_path):
    classes = {f"class{n}": {"videos": 4, "video_hit_at_1": 0.5, "ap": n / 487} for n in range(487)}
    intervals = {"clip_hit_at_1": [0.1, 0.3], "map": [0.1, 0.3]}
    result = {
        "split": "test", "videos": 1948, "clips": 1948, "skipped_clips": 3, "views": 4, "runs": ["run"],
        "clip_hit_at_1": 0.2, "map": 0.2, "map_by_group": {"empty": None}, "intervals": intervals,
        "chance": {"clip_hit_at_1": 1 / 487, "map": 1 / 487}, "classes": classes, "most_confused": [],
    }  # fmt: skip
    code = f"from pipelines import evaluate; evaluate._print_result({result!r})"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    lines = output.stdout.splitlines()
    assert "  skipped 3 damaged clips" in lines
    assert "  clip Hit@1        0.200  0.100 to 0.300  0.002" in lines
    assert "  ... 467 classes between these" in lines
    assert (lines[-21].split()[-1], lines[-1].split()[-1]) == ("class486", "class0")
    assert len(lines) < 30


def test_mistakes_of_evaluation_get_one_line(run_program, small_run, small_shards, tmp_path):
    shutil.copytree(small_run, tmp_path / "run", ignore=shutil.ignore_patterns("scores-*", "evaluation-*"))
    shutil.copytree(small_shards, tmp_path / "others")
    path = tmp_path / "others/test-manifest.json"
    rewrite_manifest(path, classes=[*json.loads(path.read_text())["classes"], "fifth"])
    (tmp_path / "groups.json").write_text('{"none": ["swimming"]}')
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (["--split=validation"], ["expected shards of the split 'validation', found test, train"]),
        (["--groups=groups.json"], ["groups.json: the group 'none' names 'swimming'", "none of the 4 classes"]),
        (["--k=5"], ["k must be a whole number from 1 to the 4 classes. Received: 5"]),
        (["--shards_dir=others"], ["run: cannot be used with others, which has other classes (5, not 4;"]),
    ):
        arguments = ["--workdir=run", f"--shards_dir={small_shards}", *arguments]
        one_line(run_program("evaluate", *arguments, cwd=tmp_path), *words)
        assert sorted(tmp_path.rglob("*")) == before


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


def test_describe_shows_every_layer_of_one_model(run_program):
    lines = run_program("describe", "--model=slow_fusion").stdout.splitlines()
    assert lines[0] == "slow_fusion, 487 classes, width 1"
    cells = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert cells["conv1"] == ["4x54x54x96", "139,488", f"{4 * 54 * 54 * 11 * 11 * 12 * 96:,}"]
    assert cells["conv3_windows"] == ["1x14x14x512", "0", "0"]
    assert cells["total"][0] == "75,511,751"


def test_describe_shows_all_models_side_by_side(run_program):
    outputs, parameters, multiply_adds = (
        {line.split()[0]: line.split()[1:] for line in table.splitlines() if line}
        for table in run_program("describe", "--width=0.1", "--num_classes=5").stdout.split("\n\n")[1::2]
    )
    assert set(outputs) == set(parameters) == set(multiply_adds) == {"model", *MODEL_NAMES}
    assert outputs["slow_fusion"][:4] == ["10x170x170x3", "4x54x54x10", "2x27x27x26", "1x14x14x38"]
    assert outputs["multires_slow_fusion"][:2] == ["10x178x178x3", "4x27x27x10"]
    both, one = (int(parameters[name][0].replace(",", "")) for name in ("multires", "fovea"))
    assert both == 2 * one == 2 * (11 * 11 * 3 + 1) * 10
    assert [multiply_adds[name][-1] for name in FUSIONS] == ["1.00"] * 4
    assert float(multiply_adds["fovea"][-1]) > float(multiply_adds["multires"][-1]) > 1


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


def test_help_and_bad_flags_of_every_program(run_program):
    for name in PROGRAMS:
        result = run_program(name, "--help")
        assert result.returncode == 0
        assert result.stdout.startswith(f"usage: deepvideo-{name} [flags]")
        assert "\nflags:\n  --" in result.stdout
        assert result.stderr == ""
        one_line(run_program(name, "--nonsense=1"), "'nonsense'", f"deepvideo-{name}: error: ")


def test_every_installed_program_is_tested():
    from importlib.metadata import distribution

    entries = distribution("deepvideo-tf").entry_points
    assert {entry.name for entry in entries} == {f"deepvideo-{name}" for name in PROGRAMS}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("build-shards --video_root=nowhere --shards_dir=out", ["nowhere", "expected the folder"]),
        ("build-shards --video_root=videos --shards_dir=out", ["videos/empty", "found none"]),
        ("build-shards --shards_dir=out", ["--video_root must be given"]),
        ("build-shards --video_root=videos --shards_dir=out stray", ["'stray'", "takes flags only"]),
        ("build-shards --video_root=videos --shards_dir=out --split=dev", ["--split=dev", "train|validation|test"]),
        ("build-shards --video_root=videos --shards_dir=out --clip_frames=9", ["clip_frames must be", "9"]),
        ("build-shards --video_root=videos --shards_dir=out --annotations=list.txt", ["does not take --annotations"]),
        ("build-shards --format=list --video_root=videos --shards_dir=out", ["needs --annotations"]),
        (
            "build-shards --format=list --annotations=list.txt --classes=classes.txt --video_root=videos "
            "--shards_dir=out",
            ["list.txt:2", "expected a label from 0 to 1", "'2'"],
        ),
        ("build-shards --format=csv --video_root=videos --shards_dir=out", ["--format=csv needs --annotations"]),
        (
            "build-shards --format=csv --annotations=list.txt --video_root=videos --shards_dir=out",
            ["list.txt:1", "columns path and labels"],
        ),
        (
            "build-shards --format=ucf101 --annotations=. --video_root=videos --shards_dir=out",
            ["classInd.txt", "cannot be read"],
        ),
        ("build-shards --fold=1 --video_root=videos --shards_dir=out", ["--format=folder does not take --fold"]),
        (
            "build-shards --format=sports1m --annotations=list.txt --video_root=videos --shards_dir=out",
            ["--format=sports1m needs --classes"],
        ),
        ("build-shards --video_root=videos --shards_dir=out --max_frame_pixels=0", ["max_frame_pixels must be", "0"]),
        ("build-shards --video_root=videos --shards_dir=out --decode_timeout_s=0", ["decode_timeout_s must be", "0.0"]),
        ("verify-shards --shards_dir=nowhere", ["nowhere", "expected a folder of shards"]),
        ("inspect-shards --shards_dir=nowhere", ["nowhere", "expected a folder of shards"]),
        ("build-shards --video_root= --shards_dir=out", ["--video_root must not be empty"]),
        ("train --shards_dir=nowhere --workdir=out", ["nowhere", "expected a folder of shards"]),
        ("train --shards_dir=nowhere --workdir=out --model=resnet", ["--model=resnet"]),
        ("train --shards_dir=nowhere --workdir=out --finetune=top", ["init_from must be", "finetune=top"]),
        (
            "train --shards_dir=nowhere --workdir=out --init_from=run",
            ["finetune must be given with init_from"],
        ),
        ("train --shards_dir=nowhere --workdir=out --init_from=run --finetune=two", ["--finetune=two"]),
        ("train --shards_dir=nowhere --workdir=out --warmup_steps=-1", ["warmup_steps must be", "-1"]),
        ("train --shards_dir=nowhere --workdir=out --checkpoint_minutes=-1", ["checkpoint_minutes", "-1"]),
        ("train --shards_dir=nowhere --workdir=out --width=-1", ["width must be a number, finite and above 0", "-1"]),
        ("evaluate --shards_dir=nowhere --workdir=out", ["nowhere", "expected a folder of shards"]),
        ("evaluate --shards_dir=nowhere --workdir=out --k=1,five", ["--k=", "whole numbers with commas", "--k=1,5"]),
        ("evaluate --shards_dir=nowhere --workdir=out --ensemble=a,,b", ["--ensemble=", "folders of runs with commas"]),
        ("evaluate --shards_dir=nowhere --workdir=out --num_views=6", ["--num_views=6"]),
        ("evaluate --shards_dir=nowhere --workdir=out --pictures=ap,maps", ["--pictures=", "expected some of all"]),
        ("export-saved-model --workdir=nowhere --export_dir=out", ["nowhere", "expected the folder of a trained run"]),
        (
            "export-tflite --workdir=nowhere --tflite_path=out.tflite",
            ["nowhere", "expected the folder of a trained run"],
        ),
        ("predict --model_path=nowhere a.mp4", ["nowhere", "expected a run's folder"]),
        ("predict --model_path=videos", ["expected VIDEO..."]),
        ("predict --model_path=nowhere */*.mkv", ["*/*.mkv", "expected a pattern that matches files"]),
        ("predict --model_path=nowhere videos/empty", ["videos/empty: expected a folder with videos"]),
        (
            "predict-many --model_path=nowhere --video_root=videos --predictions_dir=out",
            ["nowhere", "expected a run's"],
        ),
        ("predict-many --model_path=nowhere --video_root=videos", ["--predictions_dir must be given"]),
        (
            "predict-many --model_path=nowhere --video_root=videos --predictions_dir=out --ray_address=auto",
            ["ray_address goes with engine=ray only", "'auto'"],
        ),
        ("build-shards --video_root=videos --shards_dir=out --ray_address=auto", ["ray_address goes with engine=ray"]),
        ("build-shards --video_root=videos --shards_dir=out --engine=spark", ["--engine=spark", "local|ray"]),
        ("check-parity --workdir=run --shards_dir=shards", ["expected MODEL..."]),
        (
            "check-parity --workdir=nowhere --shards_dir=shards a.tflite",
            ["nowhere", "expected the folder of a trained"],
        ),
        ("make-synthetic --video_root=videos", ["videos", "expected a new or empty folder"]),
        ("describe --width=0", ["width must be a number, finite and above 0", "0.0"]),
        ("describe --num_classes=0", ["num_classes must be", "0"]),
        ("describe --num_frames=10", ["--num_frames needs --model"]),
        ("describe --model=slow_fusion --num_frames=12", ["num_frames must be 10, 18, 26", "12"]),
        ("describe --model=resnet", ["--model=resnet"]),
        ("demo --video_root=nowhere --demo_dir=out", ["nowhere", "expected the folder that holds the videos"]),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(run_program, tmp_path, command, words):
    (tmp_path / "videos/run").mkdir(parents=True)
    (tmp_path / "videos/empty").mkdir()
    (tmp_path / "videos/run/a.mp4").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("run/a.mp4 0\nrun/b.mp4 2\n")
    (tmp_path / "classes.txt").write_text("run\nswim\n")
    before = sorted(tmp_path.rglob("*"))
    name, *arguments = command.split()
    one_line(run_program(name, *arguments, cwd=tmp_path), *words)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("workdir", "arguments", "words"),
    [
        ("{run}", "--model=multires_early_fusion --optimizer=adamw --num_epochs=3", ["(num_epochs=2 there, 3 here)"]),
        (
            "{run}",
            "--model=multires_late_fusion --num_frames=2 --frame_stride=9",
            ["model=multires_early_fusion there"],
        ),
        ("new", "--model=single_frame --num_frames=1 --init_from={run} --finetune=top", ["{run}: its weights do not"]),
    ],
)
def test_train_refuses_what_does_not_fit_together(
    run_program, small_run, small_shards, tmp_path, workdir, arguments, words
):
    line = f"--shards_dir={small_shards} --workdir={workdir} --crop_size_px=32 --width=0.05 --noflip {arguments}"
    result = run_program(
        "train", "--num_frames=10", "--global_batch_size=8", *line.format(run=small_run).split(), cwd=tmp_path
    )
    one_line(result, *[word.format(run=small_run) for word in words])


def test_a_program_runs_as_a_file_too(tmp_path):
    for path in ("pipelines/build_shards.py", "export/tflite.py"):
        result = subprocess.run(
            [sys.executable, REPOSITORY / path, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert result.stdout.startswith(f"usage: {path.split('/')[1]} [flags]")
        assert "\n  --" in result.stdout
