"""Training on several devices of one machine: two virtual ones, in a process of their own."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import to_json
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.runs.run import load_run

PROGRAM = """
import json, sys
import tensorflow as tf
import deepvideo_tf as dv
from deepvideo_tf.config import from_json
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
for config, workdir in json.loads(sys.argv[1]):
    dv.train(from_json(dv.TrainConfig, config, "test"), sys.argv[2], workdir, strategy="mirrored")
"""


def train_on_two(shards_dir, *runs):
    jobs = json.dumps([(to_json(config), str(workdir)) for config, workdir in runs])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, jobs, shards_dir], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def history(workdir):
    with open(workdir / "history.csv") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_two_devices_do_what_one_does(judged_shards, tiny_config, tmp_path):
    """Batches of 7 and a last one of 1 do not fall into two halves."""
    config = replace(
        tiny_config,
        dropout=0.0,
        top_dropout=0.0,
        global_batch_size=7,
        learning_rate=0.01,
        max_gradient_norm=0.5,
        class_weights="balanced",
        loss="sigmoid",
    )
    dropped = replace(tiny_config, optimizer="adamw", num_epochs=1)
    train_on_two(judged_shards, (config, tmp_path / "two"), (dropped, tmp_path / "dropped"))
    dv.train(config, judged_shards, tmp_path / "one")
    for row, expected in zip(history(tmp_path / "two"), history(tmp_path / "one"), strict=True):
        assert row == pytest.approx(expected, rel=1e-5)
    pairs = zip(*(load_run(tmp_path / name).model.get_weights() for name in ("two", "one")), strict=True)
    for came, expected in pairs:
        np.testing.assert_allclose(came, expected, atol=1e-6)
    assert len(history(tmp_path / "dropped")) == 1


@pytest.mark.parametrize("strategy", ["mirrored", "downpour"])
def test_what_no_strategy_trains_is_refused(small_shards, tiny_config, tmp_path, strategy):
    for changes, message in (
        ({"model": "feature_histograms", "clip": None, "optimizer": None}, "on features that are computed first"),
        ({"init_from": "run", "finetune": "top"}, "give cached_views=0"),
        ({"dtype_policy": "mixed_float16"}, "float32 or mixed_bfloat16"),
    ):
        with pytest.raises(ConfigError, match=message):
            dv.train(replace(tiny_config, **changes), small_shards, tmp_path / "run", strategy=strategy)
    with pytest.raises(ConfigError, match="strategy must be None or one of mirrored, downpour. Received: 'both'"):
        dv.train(tiny_config, small_shards, tmp_path / "run", strategy="both")
    assert not (tmp_path / "run").exists()
