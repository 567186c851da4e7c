import csv
import io
import json
import shutil
import sys
from dataclasses import replace
from unittest.mock import Mock

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import deepvideo_tf as dv
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError, TrainingError
from deepvideo_tf.formats.saved_model import exported_from
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.history import write_history
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.training import tensorboard
from deepvideo_tf.training.sources import base
from tests.support.files import flip_a_bit, rewrite_manifest
from tests.support.runs import checkpoint_names


def test_a_run_holds_what_others_need(small_run, small_config, small_shards):
    run = load_run(small_run)
    assert run.config == small_config
    assert run.card.classes == read_manifest(small_shards, "train").classes
    assert run.card.clip == small_config.clip
    assert run.card.shards == read_manifest(small_shards, "train").spec
    assert run.model.dtype_policy.name == "float32"
    written = json.loads((small_run / "config.json").read_text())
    assert written["config"]["model"] == "multires_early_fusion"
    assert set(written["versions"]) > {"python", "deepvideo-tf", "tensorflow", "keras", "numpy", "av", "h5py"}
    with open(small_run / "history.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]
    assert (small_run / "saved_model/1/saved_model.pb").is_file()
    assert not list(small_run.glob("unfinished*"))


def weights(workdir):
    return load_run(workdir).model.get_weights()


def test_without_validation_no_checkpoint_is_the_best(small_run):
    assert {name.split("-")[0] for name in checkpoint_names(small_run)} == {"step"}


def test_training_is_reproducible_and_the_seed_matters(small_run, small_config, small_shards, tmp_path):
    dv.train(small_config, small_shards, tmp_path / "same")
    assert checkpoint_names(tmp_path / "same") == checkpoint_names(small_run)
    dv.train(replace(small_config, seed=1), small_shards, tmp_path / "other")
    assert not np.allclose(weights(small_run)[0], weights(tmp_path / "other")[0], atol=1e-3)


def test_a_finished_run_is_left_alone(small_run, small_config, small_shards):
    before = {path: path.stat().st_mtime_ns for path in small_run.rglob("*")}
    assert dv.train_and_export(small_config, small_shards, small_run) == small_run / "saved_model" / "1"
    after = {path: path.stat().st_mtime_ns for path in small_run.rglob("*")}
    assert {path.name for path in after if after[path] != before.get(path)} <= {".train.lock"}


def test_validation_is_judged_if_there_is_any(small_config, small_shards, tmp_path):
    shards_dir = tmp_path / "shards"
    shutil.copytree(small_shards, shards_dir)
    source, path = shards_dir / "test-manifest.json", shards_dir / "validation-manifest.json"
    manifest = json.loads(source.read_text())
    rewrite_manifest(path, source, split="validation", classes=manifest["classes"][::-1])
    with pytest.raises(ShardError, match=r"\(validation\), which has the same classes in another order"):
        dv.train(small_config, shards_dir, tmp_path / "run")
    rewrite_manifest(path, source, split="validation", spec=manifest["spec"] | {"frame_rate_fps": 3})
    with pytest.raises(ShardError, match="expected validation shards with the train shards' settings"):
        dv.train(small_config, shards_dir, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    rewrite_manifest(path, source, split="validation")
    dv.train(replace(small_config, num_epochs=1), shards_dir, tmp_path / "run")
    with open(tmp_path / "run/history.csv") as file:
        assert {"val_loss", "val_hit_at_1"} <= set(next(csv.DictReader(file)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_resumes_and_loads_as_float32(small_config, small_shards, tmp_path, policy):
    before = keras.config.dtype_policy().name
    config = replace(small_config, dtype_policy=policy, num_epochs=1)
    dv.train_and_export(config, small_shards, tmp_path / "run")
    assert keras.config.dtype_policy().name == before
    assert load_run(tmp_path / "run").model.get_layer("fovea_conv1").compute_dtype == "float32"
    served = saved_types(tmp_path / "run/saved_model/1")
    assert tf.float32.as_datatype_enum in served
    assert not served & {tf.bfloat16.as_datatype_enum, tf.float16.as_datatype_enum}


def saved_types(path):
    """The types that a SavedModel's operators compute in."""
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    return {node.attr["T"].type for function in functions for node in function.node_def}


def test_tensorboard_holds_every_number_of_the_history(tiny_run):
    found = {}
    for path in (tiny_run / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    with open(tiny_run / "history.csv") as file:
        rows = list(csv.DictReader(file))
    names = ["learning_rate", "loss", "hit_at_1", "val_loss", "val_hit_at_1"]
    assert sorted(rows[0]) == sorted(["epoch", *names])
    expected = {(int(row["epoch"]), name): float(row[name]) for row in rows for name in names}
    assert len(expected) == 10
    assert found == pytest.approx(expected, rel=1e-6)


def pictures_in(workdir):
    """Width, height and bytes of every picture, by epoch and name."""
    found = {}
    for path in (workdir / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    found[event.step, value.tag] = tf.make_ndarray(value.tensor).tolist()
    return found


def test_tensorboard_holds_pictures_and_the_run_is_the_same(
    tiny_run, tiny_config, judged_shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(tensorboard, "PICTURES_EVERY_S", 0)
    monkeypatch.setattr(tensorboard, "PICTURES_PAUSE", 0)
    dv.train(tiny_config, judged_shards, tmp_path, checkpoint_minutes=0)
    assert checkpoint_names(tmp_path) == checkpoint_names(tiny_run)
    assert (tmp_path / "history.csv").read_text() == (tiny_run / "history.csv").read_text()
    found = pictures_in(tmp_path)
    names = ["pictures/confusion", "pictures/filters", "pictures/predictions"]
    assert sorted(found) == [(epoch, name) for epoch in (0, 1) for name in names]
    for width_px, height_px, png in found.values():
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            assert (image.format, *image.size) == ("PNG", int(width_px), int(height_px))
    assert found[0, "pictures/predictions"] != found[1, "pictures/predictions"]


def test_without_matplotlib_a_run_goes_on_and_says_so_once(tiny_config, judged_shards, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tensorboard, "PICTURES_EVERY_S", 0)
    monkeypatch.setattr(tensorboard, "PICTURES_PAUSE", 0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "deepvideo_tf.visualization.plots", raising=False)
    monkeypatch.delattr("deepvideo_tf.visualization.plots", raising=False)
    dv.train(tiny_config, judged_shards, tmp_path)
    assert not pictures_in(tmp_path)
    (line,) = [record.message for record in caplog.records if "pictures" in record.message]
    assert line.startswith("no pictures in tensorboard: pictures need the extra: pip install 'deepvideo-tf[plots]'")


@pytest.mark.parametrize("text", ["", "epoch\n", "a;b\n0;1\n", "epoch,loss\n7,1.0\nx,2\n", "\udcff\udcfe\0"])
def test_whatever_became_of_the_history_a_run_goes_on(tmp_path, text):
    path = tmp_path / "history.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    write_history(tmp_path, 0, {"loss": 0.5})
    write_history(tmp_path, 1, {"loss": 0.25})
    write_history(tmp_path, 1, {"loss": 0.125})
    assert path.read_text() == "epoch,loss\n0,0.5\n1,0.125\n"


def test_a_run_is_exported_from_its_best_checkpoint_whatever_was_exported_before(small_run, small_shards, tmp_path):
    """An export of a half-trained run must not pass for the result."""
    workdir = shutil.copytree(small_run, tmp_path / "run")
    card, name = workdir / "saved_model/1/assets.extra/model_card.json", find_checkpoint(workdir, best=True).name
    assert exported_from(workdir / "saved_model/1") == name
    card.write_text(card.read_text().replace(name, "step-00000001-0123456789abcdef.weights.h5"))
    config = read_description(find_checkpoint(workdir, best=True)).config
    assert dv.train_and_export(config, small_shards, workdir) == workdir / "saved_model/2"
    assert dv.train_and_export(config, small_shards, workdir) == workdir / "saved_model/2"


def test_shards_are_counted_once_and_told_as_they_were(tiny_config, judged_shards, tmp_path, monkeypatch):
    """Counting reads every shard; a checkpoint must not take on the hash of manifests that change meanwhile."""
    counting = Mock(wraps=base.clips_by_class)
    monkeypatch.setattr(base, "clips_by_class", counting)
    shards_dir = shutil.copytree(judged_shards, tmp_path / "shards")
    config = replace(tiny_config, class_weights="balanced")
    before = base.read_training_shards(shards_dir, config, 0.01).hash

    def change(*_):
        rewrite_manifest(shards_dir / "train-manifest.json", fingerprint="other")

    dv.train(config, shards_dir, tmp_path / "run", checkpoint_minutes=0, on_step=change)
    assert counting.call_count == 1
    assert {read_description(path).shards for path in (tmp_path / "run/checkpoints").iterdir()} == {before}


class TestRefusals:
    @pytest.mark.parametrize("name", ["tensorboard", "checkpoints", "saved_model"])
    def test_a_file_where_a_folder_should_be(self, tiny_config, small_shards, tmp_path, name):
        (tmp_path / name).write_text("in the way")
        with pytest.raises(ModelFileError, match=rf"^{tmp_path / name}: [^\n{{}}]+$"):
            dv.train_and_export(replace(tiny_config, num_epochs=1), small_shards, tmp_path)

    def test_a_workdir_that_is_a_file(self, tiny_config, small_shards, tmp_path):
        (tmp_path / "run").write_text("in the way")
        for workdir in (tmp_path / "run", tmp_path / "run/deeper"):
            with pytest.raises(ModelFileError, match=f"^{workdir}: cannot be written: "):
                dv.train(tiny_config, small_shards, workdir)

    def test_a_reader_that_has_gone_is_the_programs_to_tell(self, tiny_config, small_shards, tmp_path):
        def broken(*_):
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            dv.train(tiny_config, small_shards, tmp_path, on_step=broken)

    def test_another_configuration(self, small_run, small_config, small_shards):
        with pytest.raises(ModelFileError, match=r"another configuration \(learning_rate=0.001 there, 0.1 here\)"):
            dv.train(replace(small_config, learning_rate=0.1), small_shards, small_run)

    def test_other_classes(self, small_run, small_config, small_shards, tmp_path):
        shards_dir = tmp_path / "shards"
        shutil.copytree(small_shards, shards_dir)
        path = shards_dir / "train-manifest.json"
        rewrite_manifest(path, classes=json.loads(path.read_text())["classes"][::-1])
        with pytest.raises(ModelFileError, match="holds a run on other train or validation shards"):
            dv.train(small_config, shards_dir, small_run)

    def test_other_videos_under_the_same_classes(self, small_run, small_config, small_shards, tmp_path):
        shards_dir = tmp_path / "shards"
        shutil.copytree(small_shards, shards_dir)
        rewrite_manifest(shards_dir / "train-manifest.json", fingerprint="other")
        with pytest.raises(ModelFileError, match="holds a run on other train or validation shards"):
            dv.train(small_config, shards_dir, small_run)

    def test_train_shards_with_other_content(self, small_run, small_config, small_shards, tmp_path):
        shards_dir = shutil.copytree(small_shards, tmp_path / "shards")
        path = shards_dir / "train-manifest.json"
        shards = json.loads(path.read_text())["shards"]
        rewrite_manifest(path, shards=[shards[0] | {"sha256": "0" * 64}, *shards[1:]])
        with pytest.raises(ModelFileError, match="holds a run on other train or validation shards"):
            dv.train(small_config, shards_dir, small_run)

    def test_validation_shards_that_were_not_there(self, small_run, small_config, small_shards, tmp_path):
        shards_dir = shutil.copytree(small_shards, tmp_path / "shards")
        rewrite_manifest(shards_dir / "validation-manifest.json", shards_dir / "test-manifest.json", split="validation")
        with pytest.raises(ModelFileError, match="holds a run on other train or validation shards"):
            dv.train(small_config, shards_dir, small_run)

    def test_a_damaged_shard(self, small_config, small_shards, tmp_path):
        shards_dir = tmp_path / "shards"
        shutil.copytree(small_shards, shards_dir)
        path = sorted(shards_dir.glob("train-*.tfrecord"))[2]
        flip_a_bit(path)
        with pytest.raises(ShardError, match=f"{path.name}: damaged"):
            dv.train(small_config, shards_dir, tmp_path / "run")

    def test_no_shards(self, small_config, tmp_path):
        with pytest.raises(ShardError):
            dv.train(small_config, tmp_path / "nowhere", tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_crop_larger_than_the_frames(self, small_config, small_shards, tmp_path):
        config = replace(small_config, clip=dv.ClipSpec(num_frames=10, crop_size_px=64))
        with pytest.raises(ConfigError, match="crop_size_px must be at most the 36 px"):
            dv.train(config, small_shards, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_busy_folder(self, small_config, small_shards, tmp_path):
        with (
            filelock.FileLock(tmp_path / ".train.lock"),
            pytest.raises(ModelFileError, match="another process is training there"),
        ):
            dv.train(small_config, small_shards, tmp_path)

    def test_a_loss_that_is_not_finite(self, small_config, small_shards, tmp_path):
        config = replace(small_config, optimizer="sgd", learning_rate=1e30)
        with pytest.raises(TrainingError, match=r"the loss is \w+ at step \d+: try a lower learning_rate"):
            dv.train(config, small_shards, tmp_path / "run")


def test_a_model_fitted_by_hand_becomes_a_run(tiny_config, judged_shards, tmp_path):
    config = replace(tiny_config, num_epochs=3)
    clips, _ = next(dv.make_dataset(judged_shards, "test", config.clip).as_numpy_iterator())
    train_set = dv.make_dataset(judged_shards, "train", config.clip, training=True)
    model = dv.build_model(config.model, 4, **config.model_arguments())
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit(train_set, epochs=1, verbose=0)
    dv.save_run(model, config, judged_shards, tmp_path / "run")
    run = load_run(tmp_path / "run")
    np.testing.assert_array_equal(run.model.predict_on_batch(clips), model.predict_on_batch(clips))
    assert (run.config, run.card.classes) == (config, read_manifest(judged_shards, "train").classes)
    names = checkpoint_names(tmp_path / "run")
    assert dv.train_and_export(config, judged_shards, tmp_path / "run").name == "1"  # a finished run is only exported
    assert checkpoint_names(tmp_path / "run") == names
    with pytest.raises(ModelFileError, match="run: holds a run; give another folder"):
        dv.save_run(model, config, judged_shards, tmp_path / "run")


@pytest.mark.parametrize("change", [{"width": 0.04}, {"model": "multires"}])
def test_a_model_is_not_saved_as_another(tiny_config, judged_shards, tmp_path, change):
    model = dv.build_model(tiny_config.model, 4, **tiny_config.model_arguments())
    with pytest.raises(ConfigError, match=r"config must be of the model: it is of a .* Received: a single_frame of"):
        dv.save_run(model, replace(tiny_config, **change), judged_shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()
