"""Downpour SGD by whole programs: a chief, a parameter server and workers, on this machine."""

import csv
import json
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from deepvideo_tf.data.input.places import TrainingPlaces, read_training_batch
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.training.executors.cluster import cluster_of_environment
from tests.support.cluster import Cluster
from tests.support.repository import REPOSITORY, real_data

FLAGS = [
    "--model=single_frame", "--crop_size_px=36", "--noflip", "--width=0.02", "--dropout=0",
    "--num_epochs=2", "--global_batch_size=12",
]  # fmt: skip
CONFIG = dv.TrainConfig(
    model="single_frame",
    clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
    width=0.02,
    dropout=0.0,
    top_dropout=0.0,
    num_epochs=2,
    global_batch_size=12,
)


def flags_of(shards_dir, workdir, *more):
    return [f"--shards_dir={shards_dir}", f"--workdir={workdir}", *FLAGS, *more]


def history(workdir):
    with open(workdir / "history.csv") as file:
        return list(csv.DictReader(file))


def test_batches_read_by_places_are_those_of_the_dataset(judged_shards):
    augmentation = {"colour_jitter": 0.2, "time_jitter": 0.3, "mixup_alpha": 0.4, "multi_label": False}
    clip = dv.ClipSpec(num_frames=3, frame_stride=2, crop_size_px=28)
    manifest = read_manifest(judged_shards, "train")
    places = TrainingPlaces(judged_shards, "train", seed=5)
    expected = dv.make_dataset(
        judged_shards, "train", clip, batch_size=10, training=True, seed=5, first_epoch=1, **augmentation
    )
    for epoch in (1, 2):
        batches = list(places.batches(epoch, 0, 10))
        assert [len(batch) for batch in batches] == [10, 10, 10, 6]
        assert list(places.batches(epoch, 2, 10)) == batches[2:]
        for step, (batch, (clips, targets)) in enumerate(zip(batches, expected.as_numpy_iterator(), strict=True)):
            paths, offsets = zip(*batch, strict=True)
            came = read_training_batch(
                tf.constant(paths),
                tf.constant(offsets, tf.int64),
                tf.constant(epoch, tf.int64),
                tf.constant(step, tf.int64),
                manifest,
                clip,
                batch_size=10,
                seed=5,
                **augmentation,
            )
            np.testing.assert_array_equal(came[0], clips)
            np.testing.assert_array_equal(came[1], targets)


def test_one_worker_does_what_one_process_does(judged_shards, tmp_path):
    """With a single worker there is nothing asynchronous about it."""
    dv.train(CONFIG, judged_shards, tmp_path / "alone")
    with Cluster(tmp_path, flags_of(judged_shards, tmp_path / "run"), workers=1) as cluster:
        cluster.wait_for_end()
    for row, expected in zip(history(tmp_path / "run"), history(tmp_path / "alone"), strict=True):
        assert {name: float(value) for name, value in row.items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=1e-5
        )
    pairs = zip(*(load_run(tmp_path / name).model.get_weights() for name in ("run", "alone")), strict=True)
    for came, expected in pairs:
        np.testing.assert_allclose(came, expected, atol=1e-6)
    assert (tmp_path / "run/saved_model/1/saved_model.pb").is_file()


@pytest.mark.long
def test_killed_workers_are_done_without_and_used_again(judged_shards, tmp_path):
    """Both are killed and started again, so that the end can only come from those that came back."""
    flags = flags_of(judged_shards, tmp_path / "run", "--num_epochs=40", "--global_batch_size=3")
    with Cluster(tmp_path, flags) as cluster:
        cluster.wait_for("epoch 2 ")
        cluster.kill("worker", 0)
        cluster.wait_for("epoch 4 ")
        cluster.start("worker", 0)
        cluster.wait_for("epoch 6 ")
        cluster.kill("worker", 1)
        cluster.start("worker", 1)
        cluster.wait_for_end()
        assert "worker 0 was lost: its batch goes to another one" in cluster.log("chief")
        assert "worker 1 was lost: its batch goes to another one" in cluster.log("chief")
        assert "Traceback" not in cluster.log("chief")
    assert len(history(tmp_path / "run")) == 40


@pytest.mark.long
def test_a_chief_told_to_stop_saves_and_the_run_goes_on_in_other_ways(judged_shards, tmp_path):
    flags = flags_of(judged_shards, tmp_path / "run", "--num_epochs=30", "--global_batch_size=3")
    with Cluster(tmp_path, flags, workers=1) as cluster:
        cluster.wait_for("epoch 2 ")
        cluster.processes["chief", 0].send_signal(signal.SIGTERM)
        assert cluster.processes["chief", 0].wait(60) == 130
        assert "interrupted; saved in" in cluster.log("chief")
        for job in ("ps", "worker"):
            assert cluster.processes[job, 0].wait(30) == 0, cluster.log(job)
        done = len(history(tmp_path / "run"))
        for job in ("ps", "worker", "chief"):
            cluster.start(job)
        cluster.wait_for(f"epoch {done + 2} ")
        cluster.kill("ps")
        assert cluster.processes["chief", 0].wait(120) == 1
        error = cluster.log("chief").splitlines()[-1]
        assert "a parameter server was lost" in error
        assert "Traceback" not in cluster.log("chief")
    dv.train(replace(CONFIG, num_epochs=30, global_batch_size=3), judged_shards, tmp_path / "run")
    assert len(history(tmp_path / "run")) == 30


@pytest.mark.long
def test_the_loss_is_that_of_one_process_whoever_is_killed(tmp_path):
    """On real videos; see docs/scale.md for the figures."""
    real_data("ucf101-6")
    program = [sys.executable, REPOSITORY / "benchmarks/downpour.py", "--flags=--learning_rate=3e-4,--schedule=cosine"]
    result = subprocess.run(program, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    ratios = [float(ratio) for ratio in re.findall(r"last epoch \d\.\d+ \((\d+\.\d+)\)", result.stdout)]
    assert len(ratios) == 6  # two seeds in three ways
    assert max(ratios) < 1.1, result.stdout


def test_a_server_ends_when_told_to(tmp_path):
    with Cluster(tmp_path, flags_of("nowhere", tmp_path / "run"), workers=1, jobs=["worker"]) as cluster:
        cluster.wait_for("worker 0 serves at", "worker")
        cluster.processes["worker", 0].terminate()
        assert cluster.processes["worker", 0].wait(20) == 0


CLUSTER = {"chief": ["a:1"], "ps": ["b:1"], "worker": ["c:1", "c:2"]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, '"cluster" and "task" in JSON, found \'\''),
        ("{", '"cluster" and "task" in JSON, found \'{\''),
        ({"cluster": CLUSTER}, '"cluster" and "task" in JSON'),
        (
            {"cluster": CLUSTER, "task": {"type": "evaluator", "index": 0}},
            "worker, found 'eval",
        ),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}, "one of its 2 worker, from 0, found 2"),
        ({"cluster": CLUSTER, "task": {"type": "worker", "index": "0"}}, "one of its 2 worker, from 0, found '0'"),
        ({"cluster": CLUSTER | {"ps": []}, "task": {"type": "ps", "index": 0}}, "found 1 chief, 0 ps, 2 worker"),
        ({"cluster": CLUSTER | {"ps": ["b"]}, "task": {"type": "ps", "index": 0}}, "host:port, found 'b' in 'ps'"),
        ({"cluster": CLUSTER | {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}, "each address once"),
        ({"cluster": ["a:1"], "task": {"type": "ps", "index": 0}}, '"cluster" and "task" in JSON'),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}, "found 1 worker"),
    ],
)
def test_a_wrong_cluster_is_named(monkeypatch, config, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        cluster_of_environment()
    assert "TF_CONFIG" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_in_use_is_named(monkeypatch, run_program, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as used:
        cluster = CLUSTER | {"ps": [f"127.0.0.1:{used.getsockname()[1]}"]}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "ps", "index": 0}}))
        done = run_program("train", "--strategy=downpour", *flags_of("nowhere", tmp_path / "run"))
    assert done.returncode == 1
    assert f"error: {cluster['ps'][0]}: cannot be listened at" in done.stderr.splitlines()[-1]
