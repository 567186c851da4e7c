"""The paper's four ways to start from another run (section 4.2)."""

import contextlib
import itertools
import json
import logging
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_dataset
from deepvideo_tf.data.input.tables import TableBatches
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ModelFileError, TrainingError
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.training.sources import feature_cache
from deepvideo_tf.training.weights import transfer
from tests.support.files import rewrite_manifest
from tests.support.runs import Killed, checkpoint_names, train_often_saved

CLASSES = ("moves_down", "moves_left", "moves_right", "moves_up")


def finetuned(config, run, mode, **changes):
    return replace(
        config, **{"init_from": str(run), "finetune": mode, "top_dropout": None, "seed": 1, "num_epochs": 1} | changes
    )


def layers_of(workdir):
    """Weights of a trained run by layer."""
    return {layer.name: layer.get_weights() for layer in load_run(workdir).model.layers if layer.weights}


def changed_layers(workdir, source):
    """Layers any weight of which is another one, to the bit."""
    there, here = layers_of(source), layers_of(workdir)
    assert set(there) == set(here)
    return {name for name in here if not all(map(np.array_equal, here[name], there[name]))}


@pytest.fixture
def other_shards(judged_shards, tmp_path):
    """The small shards with other classes."""

    def make(*classes):
        shards_dir = shutil.copytree(judged_shards, tmp_path / "other-shards")
        for path in shards_dir.glob("*-manifest.json"):
            rewrite_manifest(path, classes=classes)
        return shards_dir

    return make


@pytest.mark.parametrize(
    ("mode", "trained", "top_dropout"),
    [("top", {"logits"}, 0.9), ("top3", {"fc6", "fc7", "logits"}, 0.9), ("all", None, 0.9), ("scratch", None, 0.5)],
)
def test_each_mode_trains_its_layers(
    tiny_run, tiny_config, judged_shards, tmp_path, caplog, mode, trained, top_dropout
):
    caplog.set_level(logging.INFO)
    config = finetuned(tiny_config, tiny_run, mode, learning_rate=0.01)
    assert config.top_dropout == top_dropout
    dv.train(config, judged_shards, tmp_path)
    everything = set(layers_of(tiny_run))
    assert changed_layers(tmp_path, tiny_run) == (trained or everything)
    model = load_run(tmp_path).model
    first_dropout = 0.0 if mode == "top" else 0.5  # a frozen layer is in inference mode
    assert [model.get_layer(name).rate for name in ("dropout6", "dropout7")] == [first_dropout, top_dropout]
    told = [record.getMessage() for record in caplog.records if str(tiny_run) in record.getMessage()]
    if mode == "scratch":
        assert told == []
        distances = [np.abs(new - old).max() for (new, _), (old, _) in zip_layers(tmp_path, tiny_run)]
        assert distances[0] > 0.05
    else:
        (line,) = told
        assert line.endswith("conv1, conv2, conv3, conv4, conv5, fc6, fc7, logits; new: none")
    assert not (tmp_path / "features").exists()


def zip_layers(workdir, source):
    there, here = layers_of(source), layers_of(workdir)
    return [(here[name], there[name]) for name in here]


def test_a_top_layer_in_every_step_trains_no_other(tiny_run, tiny_config, judged_shards, tmp_path):
    config = finetuned(tiny_config, tiny_run, "top", cached_views=0)
    dv.train(config, judged_shards, tmp_path)
    assert changed_layers(tmp_path, tiny_run) == {"logits"}
    assert load_run(tmp_path).model.get_layer("dropout6").rate == 0


@pytest.mark.parametrize("mode", ["top", "top3"])
def test_cached_features_train_as_the_whole_net_does(tiny_run, tiny_config, judged_shards, tmp_path, mode):
    """Without dropout and augmentation, and with all clips in every step, both do the same."""
    config = finetuned(
        tiny_config,
        tiny_run,
        mode,
        model="early_fusion",
        clip=dv.ClipSpec(num_frames=16, crop_size_px=36, flip=False),
        dropout=0.0,
        top_dropout=0.0,
        global_batch_size=36,
        num_epochs=3,
        learning_rate=0.01,
        class_weights="balanced",
        label_smoothing=0.1,
    )
    found = []
    for views in (0, 2):
        workdir = tmp_path / str(views)
        dv.train(replace(config, cached_views=views), judged_shards, workdir)
        history = np.genfromtxt(workdir / "history.csv", delimiter=",", skip_header=1)
        found.append((layers_of(workdir), history))
    (anew, history), (cached, cached_history) = found
    for name in anew:
        for one, other in zip(anew[name], cached[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(history, cached_history, rtol=1e-3)


class TestTakenWeights:
    @staticmethod
    def take(config, classes, shards_dir):
        keras.utils.set_random_seed(3)
        model = dv.build_model(config.model, len(classes), **config.model_arguments())
        spec = read_manifest(shards_dir, "train").spec
        card = dv.config.ModelCard(config.model, tuple(classes), config.clip, spec)
        return model, transfer.take_weights(model, card, config)

    def test_the_top_of_the_same_classes_is_taken(self, tiny_run, tiny_config, judged_shards):
        config = finetuned(tiny_config, tiny_run, "all")
        model, (taken, new) = self.take(config, CLASSES, judged_shards)
        expected = layers_of(tiny_run)
        assert (set(taken), new) == (set(expected), [])
        for name, weights in expected.items():
            assert all(map(np.array_equal, model.get_layer(name).get_weights(), weights))

    @pytest.mark.parametrize("classes", [CLASSES[::-1], ("up", *CLASSES[1:]), ("new", *CLASSES), CLASSES[:2]])
    def test_other_classes_get_a_new_top(self, tiny_run, tiny_config, judged_shards, classes):
        model, (taken, new) = self.take(finetuned(tiny_config, tiny_run, "all"), classes, judged_shards)
        expected = layers_of(tiny_run)
        assert (set(taken), new) == (set(expected) - {"logits"}, ["logits"])
        kernel, _ = model.get_layer("logits").get_weights()
        assert kernel.shape[1] == len(classes)
        assert not np.array_equal(kernel, expected["logits"][0])

    def test_from_one_frame_to_slow_fusion(self, tiny_run, tiny_config, judged_shards):
        config = finetuned(tiny_config, tiny_run, "all", model="slow_fusion", clip=dv.ClipSpec(10, crop_size_px=36))
        model, (taken, new) = self.take(config, CLASSES, judged_shards)
        assert (set(taken), new) == (set(layers_of(tiny_run)), [])
        frame = np.random.default_rng(0).integers(0, 256, (2, 1, 36, 36, 3), dtype=np.uint8)
        expected = load_run(tiny_run).model.predict(frame, verbose=0)
        np.testing.assert_allclose(model.predict(frame.repeat(10, axis=1), verbose=0), expected, atol=1e-5)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"width": 0.04}, "has width=0.02, expected 0.04 as here"),
            ({"lrn_beta": 0.75}, "has lrn_beta=0.5, expected 0.75 as here"),
            ({"clip": dv.ClipSpec(crop_size_px=30)}, "its weights do not fit a single_frame: "),
            ({"init_from": "nowhere"}, "nowhere: expected the folder of a trained run"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, tiny_run, tiny_config, judged_shards, tmp_path, changes, message):
        config = finetuned(tiny_config, tiny_run, "all", **changes)
        with pytest.raises(ModelFileError) as caught:
            dv.train(config, judged_shards, tmp_path / "run")
        assert message in str(caught.value)
        assert str(config.init_from) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_new_classes_train_a_new_top(tiny_run, tiny_config, other_shards, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dv.train(finetuned(tiny_config, tiny_run, "top"), other_shards("new", *CLASSES), tmp_path / "run")
    assert "conv5, fc6, fc7; new: logits" in caplog.text
    run = load_run(tmp_path / "run")
    assert run.card.classes == ("new", *CLASSES)
    here, there = layers_of(tmp_path / "run"), layers_of(tiny_run)
    assert here["logits"][0].shape[1] == 5
    assert all(
        np.array_equal(one, other)
        for name in set(here) - {"logits"}
        for one, other in zip(here[name], there[name], strict=True)
    )


def remember_tables(monkeypatch):
    """The tables of features by their files' names, as training computes them."""
    tables, original = {}, feature_cache.compute_features

    def remembered(path, *arguments):
        table = original(path, *arguments)
        tables[path.stem] = np.array(table)
        return table

    monkeypatch.setattr(feature_cache, "compute_features", remembered)
    return tables


class TestCache:
    def test_features_are_the_frozen_nets(self, tiny_run, tiny_config, judged_shards, tmp_path, monkeypatch):
        tables = remember_tables(monkeypatch)
        config = finetuned(tiny_config, tiny_run, "top", cached_views=2, num_epochs=3, class_weights="balanced")
        dv.train(config, judged_shards, tmp_path)
        assert set(tables) == {"train-0", "train-1", "validation"}
        source = load_run(tiny_run).model
        frozen = keras.Model(source.input, source.get_layer("fc7").output)  # dropout, in inference, does nothing
        for view in (0, 1):
            batches = make_dataset(
                judged_shards, "train", config.clip, batch_size=36, training=True, seed=1, first_epoch=view
            )
            clips, targets = next(iter(batches))
            table = tables[f"train-{view}"]
            np.testing.assert_allclose(table["features"], frozen.predict(clips, verbose=0), atol=1e-4)
            np.testing.assert_array_equal(table["target"], targets)
            np.testing.assert_allclose(table["weight"], 1, rtol=1e-6)  # as many clips of each class
        clips, targets = next(iter(make_dataset(judged_shards, "validation", config.clip)))
        np.testing.assert_allclose(tables["validation"]["features"], frozen.predict(clips, verbose=0), atol=1e-4)
        np.testing.assert_array_equal(tables["validation"]["target"], targets)
        assert not np.allclose(tables["train-0"]["features"].sum(axis=0), tables["train-1"]["features"].sum(axis=0))

    def test_every_row_once_an_epoch(self):
        table = np.arange(7)
        order = np.array([3, 0, 6, 1, 5, 2, 4])
        batches = TableBatches(table.take, 3, order)
        assert [batches[step].tolist() for step in range(len(batches))] == [[3, 0, 6], [1, 5, 2], [4]]
        rest = TableBatches(table.take, 3, order, first_step=1)
        assert [rest[step].tolist() for step in range(len(rest))] == [[1, 5, 2], [4]]

    def test_runs_go_on_without_the_run_they_began_from(self, tiny_run, tiny_config, judged_shards, tmp_path):
        """Killed while features are computed, begun anew at another rate, killed in an epoch, its source deleted."""
        source = shutil.copytree(tiny_run, tmp_path / "source")
        config = finetuned(tiny_config, source, "top3", num_epochs=2, cached_views=2)
        train_often_saved(config, judged_shards, tmp_path / "undisturbed")
        workdir = tmp_path / "run"
        with killed_in_view("train-1"):
            train_often_saved(replace(config, learning_rate=0.5), judged_shards, workdir)
        assert sorted(path.name for path in (workdir / "features").rglob("*.npy")) == [
            "train-0.npy",
            "unfinished-train-1.npy",
        ]
        with killed_in_view("validation"):
            train_often_saved(config, judged_shards, workdir)

        def kill(seen, in_all):
            if seen == 36 + 24:
                raise Killed

        with pytest.raises(Killed):
            train_often_saved(config, judged_shards, workdir, on_step=kill)
        shutil.rmtree(source)
        train_often_saved(config, judged_shards, workdir)
        assert checkpoint_names(workdir) == checkpoint_names(tmp_path / "undisturbed")
        assert (workdir / "history.csv").read_text() == (tmp_path / "undisturbed/history.csv").read_text()
        assert not (workdir / "features").exists()

    @pytest.mark.parametrize("size", [0, 40, 200])
    def test_a_damaged_table_is_computed_anew(self, tmp_path, caplog, size):
        answers = itertools.count(1)
        frozen = SimpleNamespace(
            output_shape=(None, 4), predict_on_batch=lambda clips: np.full((len(clips), 4), next(answers))
        )
        batches = [(np.zeros((count, 1)), np.ones((count, 2)), np.ones(count)) for count in (3, 2)]
        path = tmp_path / "train-0.npy"
        expected = np.array(feature_cache.compute_features(path, frozen, batches, 5, 2))
        assert expected["features"][:, 0].tolist() == [1, 1, 1, 2, 2]
        assert np.array_equal(feature_cache.compute_features(path, frozen, batches, 5, 2), expected)
        os.truncate(path, size)
        assert feature_cache.compute_features(path, frozen, batches, 5, 2)["features"][:, 0].tolist() == [3, 3, 3, 4, 4]
        assert "train-0.npy: damaged" in caplog.text

    def test_the_clips_of_a_loss_that_is_not_finite_are_named(
        self, tiny_run, tiny_config, judged_shards, tmp_path, monkeypatch
    ):
        tables = remember_tables(monkeypatch)
        config = finetuned(tiny_config, tiny_run, "top", learning_rate=1e38, num_epochs=2, cached_views=1)
        with pytest.raises(TrainingError, match="the loss is"):
            dv.train(config, judged_shards, tmp_path)
        told = json.loads((tmp_path / "non-finite-batch.json").read_text())
        step = told["step"] - 1
        order = np.random.default_rng([1, told["epoch"]]).permutation(36)
        rows = order[step % 3 * 12 : (step % 3 + 1) * 12]
        expected = [CLASSES[number] for number in tables["train-0"]["target"][rows].argmax(axis=1)]
        assert [name.split("/")[0] for name in told["clips"]] == expected


@contextlib.contextmanager
def killed_in_view(name):
    """Kills the run within in the second batch of a table's clips."""
    original = feature_cache.compute_features

    def killing(path, frozen, batches, *arguments):
        def first_batch():
            yield next(iter(batches))
            raise Killed

        return original(path, frozen, first_batch() if path.stem == name else batches, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "compute_features", killing)
        with pytest.raises(Killed):
            yield
