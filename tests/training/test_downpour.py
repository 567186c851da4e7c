"""Downpour SGD by whole programs: a chief, a parameter server and workers, on this machine."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.dataset import TrainingPlaces, read_training_batch
from deepvideo_tf.data.shards import read_manifest
from deepvideo_tf.errors import ConfigError, DeepVideoError
from deepvideo_tf.training.checkpoints import load_run
from deepvideo_tf.training.cluster import cluster_of_environment

TRAIN = Path(sysconfig.get_path("scripts")) / "deepvideo-train"
FLAGS = [
    "--strategy=downpour", "--model=single_frame", "--crop_size_px=36", "--noflip", "--width=0.02", "--dropout=0",
    "--num_epochs=2", "--global_batch_size=12",
]  # fmt: skip
CONFIG = dv.TrainConfig(
    model="single_frame",
    clip=dv.ClipSpec(num_frames=1, crop_size_px=36, flip=False),
    width=0.02,
    dropout=0.0,
    num_epochs=2,
    global_batch_size=12,
)


class Cluster:
    """The processes of a cluster, of the real program; all are killed at the end."""

    def __init__(self, folder, shards_dir, workdir, flags, workers):
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 + workers)]
        places = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        for one in sockets:
            one.close()
        self.cluster = {"chief": places[:1], "ps": places[1:2], "worker": places[2:]}
        self._command = [TRAIN, f"--shards_dir={shards_dir}", f"--workdir={workdir}", *flags]
        self._folder, self.processes = folder, {}

    def __enter__(self):
        for job in ("ps", "worker", "chief"):
            for index in range(len(self.cluster[job])):
                self.start(job, index)
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, job, index=0):
        task = {"cluster": self.cluster, "task": {"type": job, "index": index}}
        with open(self._folder / f"{job}{index}.log", "a") as log:
            self.processes[job, index] = subprocess.Popen(
                self._command, env=os.environ | {"TF_CONFIG": json.dumps(task)}, stdout=log, stderr=log
            )

    def log(self, job, index=0):
        return (self._folder / f"{job}{index}.log").read_text()

    def wait_for(self, text, job="chief", timeout_s=120):
        """Waits until a process has written something."""
        end_s = time.monotonic() + timeout_s
        while text not in self.log(job):
            assert self.processes[job, 0].poll() is None, self.log(job)
            assert time.monotonic() < end_s, self.log(job)
            time.sleep(0.02)

    def assert_all_end(self, timeout_s=120):
        """The chief first, then, by themselves, all others that run."""
        assert self.processes["chief", 0].wait(timeout_s) == 0, self.log("chief")
        for (job, index), process in self.processes.items():
            assert process.wait(20) == 0, self.log(job, index)
            assert "Traceback" not in self.log(job, index)


def history(workdir):
    with open(workdir / "history.csv") as file:
        return list(csv.DictReader(file))


def test_batches_read_by_places_are_those_of_the_dataset(judged_shards):
    import numpy as np
    import tensorflow as tf

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


def test_one_worker_does_what_one_process_does(judged_shards, tmp_path, no_export):
    """With a single worker there is nothing asynchronous about it."""
    import numpy as np

    dv.train(CONFIG, judged_shards, tmp_path / "alone")
    with Cluster(tmp_path, judged_shards, tmp_path / "run", FLAGS, workers=1) as cluster:
        cluster.assert_all_end()
    for row, expected in zip(history(tmp_path / "run"), history(tmp_path / "alone"), strict=True):
        assert {name: float(value) for name, value in row.items()} == pytest.approx(
            {name: float(value) for name, value in expected.items()}, rel=1e-5
        )
    pairs = zip(*(load_run(tmp_path / name).model.get_weights() for name in ("run", "alone")), strict=True)
    for came, expected in pairs:
        np.testing.assert_allclose(came, expected, atol=1e-6)
    assert (tmp_path / "run/saved_model/1/saved_model.pb").is_file()
