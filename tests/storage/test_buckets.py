"""Shards, runs and exports in a bucket, through the programs: an emulated object store behind TensorFlow's own `gs://`."""

import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

import deepvideo_tf as dv
from tests.support import bucket_server
from tests.support.repository import REPOSITORY

TRAINING = ("--model=single_frame", "--crop_size_px=36", "--noflip", "--width=0.02", "--global_batch_size=12")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The environment in which `gs://bucket` is there, with what else a fast answer takes."""
    folder = tmp_path_factory.mktemp("bucket")
    with open(folder / "log", "wb") as log:
        command = [sys.executable, "-m", "tests.support.bucket_server", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY)
    try:
        yield os.environ | json.loads(process.stdout.readline()) | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    finally:
        process.kill()
        process.wait()


def run(bucket, name, *arguments, timeout_s=300):
    """Runs a program where the bucket is; returns what it printed."""
    program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=bucket, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(bucket, path, data=None, **query):
    """Asks the emulator itself, without TensorFlow."""
    url = f"{bucket['https_proxy']}{path}?{urllib.parse.urlencode(query)}"
    headers = {"Authorization": f"Bearer {bucket_server.TOKEN}"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as answer:
        return answer.read()


def objects(bucket, folder):
    """The hashes of a folder's objects, by their names below it."""
    prefix = f"{folder}/"
    listed = json.loads(ask(bucket, "/storage/v1/b/bucket/o", prefix=prefix)).get("items", [])
    return {one["name"].removeprefix(prefix): one["md5Hash"] for one in listed}


def read(bucket, name):
    return ask(bucket, f"/download/storage/v1/b/bucket/o/{urllib.parse.quote(name, safe='')}", alt="media")


def cut(bucket, name):
    """Leaves the first half of an object."""
    content = read(bucket, name)
    ask(bucket, "/upload/storage/v1/b/bucket/o", content[: len(content) // 2], uploadType="media", name=name)


# As the programs do it, in a process that imports TensorFlow once.
LIBRARY = """
import json, sys
import deepvideo_tf as dv
from deepvideo_tf.data.shards.verify import verify_shards
from deepvideo_tf.runs.run import load_run

videos, folder = sys.argv[1:]
config = dv.TrainConfig(
    model="single_frame",
    clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
    width=0.02,
    num_epochs=1,
    global_batch_size=12,
)
found = {}
for place in (folder, "gs://bucket/library"):
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
    shards = dv.build_shards(dv.read_folder(videos), f"{place}/shards", spec=spec, num_shards=3, num_workers=2).shards
    problems = verify_shards(f"{place}/shards", "train")
    dv.train(config, f"{place}/shards", f"{place}/run")
    found[place] = [shards, problems, load_run(f"{place}/run").checkpoint.name]
print(json.dumps(found))
"""


def test_the_library_writes_the_same_into_a_bucket_as_onto_a_disk(bucket, synthetic_videos, tmp_path):
    command = [sys.executable, "-c", LIBRARY, synthetic_videos, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=bucket, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    disk, remote = json.loads(done.stdout).values()
    assert remote == disk  # the checkpoint's name has the hash of its content
    assert remote[1] == []


@pytest.mark.parametrize("place", ["s3://somewhere/shards", "hdfs://somewhere/shards"])
def test_other_stores_are_refused_in_one_line(run_program, place):
    done = run_program("verify-shards", f"--shards_dir={place}")
    assert done.returncode == 2
    assert done.stderr == (
        f"deepvideo-verify-shards: error: --shards_dir: {place}: expected a path on a disk, file:/// or "
        "gs://BUCKET/...\n"
    )


@pytest.mark.parametrize(
    ("program", "arguments", "name"),
    [
        ("build-shards", ["--video_root=gs://bucket/videos", "--shards_dir=SHARDS"], "--video_root"),
        ("demo", ["--demo_dir=gs://bucket/demo"], "--demo_dir"),
        ("make-synthetic", ["--video_root=gs://bucket/videos"], "--video_root"),
        ("report", ["--report_dir=gs://bucket/report", "--preset=ucf101-6"], "--report_dir"),
        ("predict", ["--model_path=RUN", "gs://bucket/a.mp4"], "VIDEO"),
        ("serve", ["--export_dir=gs://bucket/export"], "--export_dir"),
    ],
)
def test_what_needs_a_disk_refuses_a_bucket_in_one_line(run_program, tmp_path, program, arguments, name):
    done = run_program(program, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"deepvideo-{program}: error: {name} must be on a disk: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_shards_and_a_run_in_a_bucket_are_those_of_a_disk(bucket, synthetic_videos, tmp_path):
    videos = (f"--video_root={synthetic_videos}", "--clips_per_video=3", "--frame_size_px=36", "--num_shards=3")
    run(bucket, "build-shards", *videos, "--shards_dir=gs://bucket/disk/shards")
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
    manifest = dv.build_shards(dv.read_folder(synthetic_videos), tmp_path / "shards", spec=spec, num_shards=3)
    assert set(objects(bucket, "disk/shards")) == {"train-manifest.json", *(one["name"] for one in manifest.shards)}
    config = dv.TrainConfig(
        model="single_frame",
        clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
        width=0.02,
        num_epochs=1,
        global_batch_size=12,
    )
    dv.train(config, tmp_path / "shards", tmp_path / "run")
    where = ("--shards_dir=gs://bucket/disk/shards", "--workdir=gs://bucket/disk/run")
    printed = run(bucket, "train", *TRAINING, "--num_epochs=1", *where)
    assert "SavedModel: gs://bucket/disk/run/saved_model/1" in printed
    here = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}  # with the hash of the weights
    assert set(objects(bucket, "disk/run/checkpoints")) == here


# Faults


@pytest.fixture(scope="module")
def shards(bucket, synthetic_videos):
    """`gs://bucket/shards`."""
    run(bucket, *build(synthetic_videos, "shards"))
    return "gs://bucket/shards"


def build(videos, folder):
    spec = ("--clips_per_video=25", "--frame_size_px=100", "--num_shards=5", "--num_workers=1")
    return "build-shards", f"--video_root={videos}", *spec, f"--shards_dir=gs://bucket/{folder}"


def train(folder):
    steps = ("--global_batch_size=100", "--num_epochs=3", "--checkpoint_minutes=0")
    where = ("--shards_dir=gs://bucket/shards", f"--workdir=gs://bucket/{folder}")
    return "train", "--model=single_frame", "--crop_size_px=86", "--width=0.02", *steps, *where


def kill_when(bucket, command, is_time, delay_s):
    """Starts a program and kills it some time after it has come to a point; whether it was still at work."""
    name, *arguments = command
    program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([program, *arguments], env=bucket, **quiet)
    deadline = time.monotonic() + 200
    while process.poll() is None and not is_time():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(delay_s)
    process.kill()
    return process.wait(timeout=30) == -signal.SIGKILL


@pytest.mark.long
def test_a_killed_build_ends_with_the_same_objects(bucket, shards, synthetic_videos):
    rng = random.Random(0)
    at_work = 0
    for number in range(5):
        command = build(synthetic_videos, f"killed-{number}")

        def is_time(number=number):
            return f".train-build/{number % 5:05d}.json" in objects(bucket, f"killed-{number}")

        at_work += kill_when(bucket, command, is_time, rng.uniform(0, 0.3))
        run(bucket, *command)
        assert objects(bucket, f"killed-{number}") == objects(bucket, "shards")
    assert at_work >= 3


@pytest.mark.long
def test_a_killed_training_ends_with_the_same_weights(bucket, shards):
    run(bucket, *train("undisturbed"))
    rng = random.Random(1)
    for number in range(3):
        command = train(f"run-{number}")

        def is_time(number=number):
            steps = [int(name.split("-")[1]) for name in objects(bucket, f"run-{number}/checkpoints")]
            return max(steps, default=0) >= 2 + 3 * number

        assert kill_when(bucket, command, is_time, rng.uniform(0, 0.1))
        run(bucket, *command)
        for folder in ("checkpoints", "saved_model"):
            there = set(objects(bucket, f"run-{number}/{folder}"))
            assert there == set(objects(bucket, f"undisturbed/{folder}"))
        assert read(bucket, f"run-{number}/history.csv") == read(bucket, "undisturbed/history.csv")


@pytest.mark.long
def test_all_that_takes_a_run_takes_one_in_a_bucket(bucket, shards, synthetic_videos, tmp_path):
    run(bucket, *train("used"))
    where = ("--workdir=gs://bucket/used", "--shards_dir=gs://bucket/shards")
    evaluated = run(bucket, "evaluate", *where, "--split=train")
    assert "Evaluation: gs://bucket/used/evaluation-train.json" in evaluated
    again = run(bucket, "evaluate", *where, "--split=train")  # from the scores that are there
    assert again == evaluated
    assert "scores-train.npz" in objects(bucket, "used")
    run(bucket, "export-saved-model", "--workdir=gs://bucket/used", "--export_dir=gs://bucket/exports/model")
    run(bucket, "export-tflite", "--workdir=gs://bucket/used", "--tflite_path=gs://bucket/exports/model.tflite")
    run(bucket, "export-onnx", "--workdir=gs://bucket/used", "--onnx_path=gs://bucket/exports/model.onnx")
    exported = objects(bucket, "exports")
    assert {"model.tflite", "model.onnx", "model/1/saved_model.pb"} <= set(exported)
    run(bucket, "export-tflite", "--workdir=gs://bucket/used", f"--tflite_path={tmp_path}/model.tflite")
    assert (tmp_path / "model.tflite").read_bytes() == read(bucket, "exports/model.tflite")
    video = str(synthetic_videos / "moves_up/0000.mp4")
    answers = {
        run(bucket, "predict", f"--model_path={path}", video)
        for path in ("gs://bucket/used", "gs://bucket/exports/model")
    }
    assert len(answers) == 1
    finetune = ("--init_from=gs://bucket/used", "--finetune=all", "--learning_rate=0.0001")
    run(bucket, *train("finetuned"), *finetune)


@pytest.mark.long
def test_a_cut_object_is_told_of(bucket, synthetic_videos):
    run(bucket, *build(synthetic_videos, "cut"))
    shard = next(name for name in objects(bucket, "cut") if name.endswith(".tfrecord"))
    whole = len(read(bucket, f"cut/{shard}"))
    cut(bucket, f"cut/{shard}")
    errors = fails(bucket, "verify-shards", "--shards_dir=gs://bucket/cut")
    assert errors[-1] == "deepvideo-verify-shards: error: gs://bucket/cut: 2 problems, listed above"
    errors = fails(bucket, "train", "--shards_dir=gs://bucket/cut", "--workdir=gs://bucket/no-run")
    assert errors == [
        f"deepvideo-train: error: gs://bucket/cut/{shard}: expected {whole} bytes, as its manifest says, found "
        f"{whole // 2} bytes"
    ]


@pytest.mark.long
def test_a_cut_checkpoint_is_left_for_the_one_before(bucket, shards):
    run(bucket, *train("cut-run"))
    names = sorted(objects(bucket, "cut-run/checkpoints"))
    cut(bucket, f"cut-run/checkpoints/{names[-1]}")
    run(bucket, *train("cut-run"))
    there = set(objects(bucket, "cut-run/checkpoints"))
    assert there == {*names, f"damaged-{names[-1]}"}


def fails(environment, name, *arguments):
    """Lines of standard error of a program that must fail within a minute, and without a traceback."""
    program = Path(sysconfig.get_path("scripts")) / f"deepvideo-{name}"
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, env=environment, check=False, timeout=100
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if ": error: " in line]


@pytest.mark.long
def test_no_bucket_no_credentials_no_server_are_told_of_in_one_line_within_a_minute(bucket):
    without_token = {name: value for name, value in bucket.items() if name != "GOOGLE_AUTH_TOKEN_FOR_TESTING"}
    without_server = bucket | {"https_proxy": "http://127.0.0.1:1"}
    cases = {
        "gs://no-bucket: NotFoundError: The specified bucket gs://no-bucket was not found.": (bucket, "no-bucket"),
        "gs://bucket: PermissionDeniedError: ": (without_token, "bucket"),
        "gs://bucket: no answer in 30 s: ": (without_server, "bucket"),
    }
    for message, (environment, name) in cases.items():
        began_s = time.monotonic()
        (line,) = fails(environment, "verify-shards", f"--shards_dir=gs://{name}/shards")
        assert line.startswith(f"deepvideo-verify-shards: error: {message}"), line
        assert time.monotonic() - began_s < 75  # 30, and what starting TensorFlow takes on a busy machine
