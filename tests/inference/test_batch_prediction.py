import json
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import read_video_paths
from deepvideo_tf.errors import AnnotationError, ConfigError, ModelFileError, ShardError
from deepvideo_tf.inference.batch_prediction import MANIFEST_NAME
from tests.support.files import flip_a_bit

NUM_SHARDS = 3


@pytest.fixture(scope="module")
def tflite(small_run, tmp_path_factory):
    return dv.export_tflite(small_run, tmp_path_factory.mktemp("tflite") / "model.tflite")


@pytest.fixture(scope="module")
def videos(synthetic_videos, tmp_path_factory):
    """Four synthetic videos and a bad one."""
    root = tmp_path_factory.mktemp("many") / "videos"
    for path in sorted(synthetic_videos.glob("*/0000.mp4")):
        (root / path.parent.name).mkdir(parents=True)
        shutil.copy(path, root / path.parent.name)
    (root / "moves_up/bad.mp4").write_text("this is no video")
    return root


def predict(model, videos, folder, **arguments):
    arguments = {"num_shards": NUM_SHARDS, "num_workers": 2, "top": 2} | arguments
    return dv.predict_many(model, videos, read_video_paths(videos), folder, **arguments)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.fixture(scope="module")
def predicted(tflite, videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    predict(tflite, videos, folder)
    return folder


def test_each_video_has_the_answer_that_it_has_alone(tflite, videos, predicted):
    lines = [
        json.loads(line)
        for number in range(NUM_SHARDS)
        for line in (predicted / f"predictions-{number:05d}-of-{NUM_SHARDS:05d}.jsonl").read_text().splitlines()
    ]
    assert [line["video"] for line in lines] == sorted(str(path.relative_to(videos)) for path in videos.glob("*/*"))
    predictor = dv.load_predictor(tflite, num_threads=1)
    for line in lines:
        if line["video"] == "moves_up/bad.mp4":
            assert set(line) == {"video", "error"}
            continue
        expected = list(dv.predict_video(predictor, videos / line["video"]).items())[:2]
        assert [(row["class"], row["probability"]) for row in line["classes"]] == [
            (name, round(probability, 6)) for name, probability in expected
        ]


def test_the_manifest_counts_and_lists(predicted):
    manifest = json.loads((predicted / MANIFEST_NAME).read_text())
    assert manifest["videos"] == 5
    assert [item["video"] for item in manifest["bad"]] == ["moves_up/bad.mp4"]
    assert manifest["bad"][0]["reason"]
    assert [shard["videos"] for shard in manifest["shards"]] == [1, 2, 2]
    for shard in manifest["shards"]:
        assert (predicted / shard["name"]).stat().st_size == shard["bytes"]


def test_what_is_there_is_not_made_again(tflite, videos, predicted, tmp_path):
    folder = tmp_path / "taken_up"
    shutil.copytree(predicted, folder)
    (folder / MANIFEST_NAME).unlink()
    (folder / f"predictions-00001-of-{NUM_SHARDS:05d}.jsonl").unlink()
    (folder / f"predictions-00002-of-{NUM_SHARDS:05d}.jsonl").write_text('{"video": "another.mp4"}\n')
    (folder / "predictions-00001-of-00003.jsonl.0123.tmp").write_text("half")
    before = (folder / f"predictions-00000-of-{NUM_SHARDS:05d}.jsonl").stat().st_mtime_ns
    seen = []
    predict(tflite, videos, folder, on_video=lambda: seen.append(1))
    assert len(seen) == 5
    assert contents(folder) == contents(predicted)
    assert (folder / f"predictions-00000-of-{NUM_SHARDS:05d}.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"top": 1}, {"num_shards": 2}, {"num_views": 2}])
def test_answers_to_something_else_are_refused(tflite, videos, predicted, change):
    before = contents(predicted)
    with pytest.raises(ShardError, match="holds predictions of other videos, with other settings or another model"):
        predict(tflite, videos, predicted, **change)
    assert contents(predicted) == before


def test_a_damaged_model_leaves_nothing(tflite, videos, tmp_path):
    damaged = tmp_path / "damaged.tflite"
    shutil.copy(tflite, damaged)
    flip_a_bit(damaged)
    with pytest.raises(ModelFileError, match=str(damaged)):
        predict(damaged, videos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [{"engine": "spark"}, {"ray_address": "auto"}, {"num_shards": 0}, {"top": 0}])
def test_arguments_out_of_range(tflite, videos, tmp_path, arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        predict(tflite, videos, tmp_path / "out", **arguments)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a.mp4\nb.mp4\na.mp4\n", "list:3: a.mp4 appears twice, first at .*list:1"),
        ("../a.mp4\n", "list:1: .*below"),
        ("", ""),
    ],
)
def test_a_list_of_videos_is_checked(tmp_path, lines, words):
    (tmp_path / "list").write_text(lines)
    with pytest.raises(AnnotationError, match=words or "expected one path per line"):
        read_video_paths(tmp_path, tmp_path / "list")


def test_a_list_keeps_its_order(tmp_path):
    (tmp_path / "list").write_text("b.mp4\r\n\na/c.mp4\n")
    assert read_video_paths(tmp_path, tmp_path / "list") == ("b.mp4", "a/c.mp4")


def test_a_killed_job_is_taken_up(tflite, videos, predicted, tmp_path):
    program = Path(sysconfig.get_path("scripts")) / "deepvideo-predict-many"
    command = [
        program, f"--model_path={tflite}", f"--video_root={videos}", f"--predictions_dir={tmp_path / 'out'}",
        f"--num_shards={NUM_SHARDS}", "--num_workers=1", "--top=2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("out/*.jsonl")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "4 of 5 videos classified, 3 shards\n1 videos are bad" in result.stdout
    assert "moves_up/bad.mp4: " in result.stderr
    assert contents(tmp_path / "out") == contents(predicted)


@pytest.mark.long
@pytest.mark.parametrize("model", ["run", "saved_model"])
def test_models_of_tensorflow(small_run, videos, predicted, tmp_path, model):
    """On threads that share one model, to the last digits of another runtime."""
    path = small_run if model == "run" else small_run / "saved_model"
    predict(path, videos, tmp_path)
    for name, content in contents(predicted).items():
        if not name.endswith(".jsonl"):
            continue
        for line, other in zip(content.splitlines(), (tmp_path / name).read_text().splitlines(), strict=True):
            expected, answer = json.loads(line), json.loads(other)
            assert answer["video"] == expected["video"]
            for row, expected_row in zip(answer.get("classes", []), expected.get("classes", []), strict=True):
                assert row["probability"] == pytest.approx(expected_row["probability"], abs=1e-4)
