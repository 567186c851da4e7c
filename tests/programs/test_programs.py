"""The programs as a user runs them: real videos in, an exported classifier out; and every mistake one can make."""

import json
import subprocess
import sys

import pytest

from tests.support.programs import PROGRAMS, check_pictures, one_line, succeeded
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
