"""What models say about themselves fits the models that are built, for every model and tower."""

import importlib
import sys

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import FEATURE_HISTOGRAMS, FINETUNE_MODES, MODEL_NAMES
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models import towers
from deepvideo_tf.models.layers import TemporalWindows
from deepvideo_tf.models.registry import build_model, info_of, model_info

TOWERS = ["alexnet", "tiny"]


@pytest.fixture(autouse=True)
def tiny_tower(monkeypatch):
    monkeypatch.setitem(towers.TOWERS, "tiny", "tests.support.tiny_tower")


def build(name, tower, **arguments):
    return build_model(name, 3, **{"tower": tower, "width": 0.05, "crop_size_px": 48} | arguments)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_named_layer_is_there_and_fits_its_purpose(name, tower):
    model = build(name, tower)
    info = info_of(model)
    assert (info.name, info.tower) == (name, tower)
    assert model.get_layer(info.head).output is model.output
    assert isinstance(model.get_layer(info.pixels), keras.layers.Rescaling)
    assert len(model.get_layer(info.vector).output.shape) == 2
    for group in info.groups.values():
        assert group.layers[-1] == info.head
        x = model.get_layer(group.features).output
        for layer in group.layers:
            assert model.get_layer(layer).input is x
            x = model.get_layer(layer).output
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert set(info.first_convs.values()) == set(info.windowed[0]) <= set(weighted)
    fitted = [layer for layers in info.fitted for layer in layers]
    assert len(set(fitted)) == len(fitted)
    for layer in [*fitted, *info.low_rank_convs, *info.low_rank_dense]:
        kernel, bias = model.get_layer(layer).get_weights()
        assert kernel.shape[-1:] == bias.shape
    assert info.joined in weighted
    assert all(model.get_layer(layer) for layer in [info.frames, *info.views.values()])


@pytest.mark.parametrize("tower", TOWERS)
def test_clones_and_loaded_models_are_known_by_their_name(tower, tmp_path):
    model = build("multires_slow_fusion", tower)
    model.save(tmp_path / "model.keras")
    for one in (keras.models.clone_model(model), keras.models.load_model(tmp_path / "model.keras")):
        assert info_of(one) == info_of(model) == model_info("multires_slow_fusion", tower)


def test_other_models_are_refused():
    inputs = keras.Input((4,))
    with pytest.raises(ConfigError, match="a model of this package, as built. Received: mine"):
        info_of(keras.Model(inputs, keras.layers.Dense(2)(inputs), name="mine"))
    with pytest.raises(ConfigError, match="tower must be one of alexnet, tiny. Received: 'resnet'"):
        build("single_frame", "resnet")


def test_groups_of_layers_by_fine_tuning_mode():
    info = model_info("slow_fusion")
    assert [len(info.group(mode).layers) if info.group(mode) else None for mode in FINETUNE_MODES] == [2, 5, None, None]
    with pytest.raises(ConfigError, match="finetune must be one of top, top3, all, scratch. Received: 'last'"):
        info.group("last")
    with pytest.raises(ConfigError, match="one of top, all, scratch for single_frame on tiny. Received: 'top3'"):
        model_info("single_frame", "tiny").group("top3")


def test_the_baseline_is_a_model_like_the_others():
    model = build_model(FEATURE_HISTOGRAMS, 4, num_words=10, hidden_layers=1, width=0.05, dropout=(0.0, 0.0))
    info = info_of(model)
    assert info == model_info(FEATURE_HISTOGRAMS)
    assert model.get_layer(info.head).output is model.output
    assert info.export_obstacle
    clips = np.random.default_rng(0).integers(0, 256, (1, 16, 60, 60, 3), dtype=np.uint8)
    assert info.inputs(model)(clips).shape == (1, *model.input_shape[1:])


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "deepvideo_tf.models.feature_histograms", raising=False)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(ModelFileError, match=r"^feature_histograms needs the extra: pip install 'deepvideo-tf\[base"):
        model_info(FEATURE_HISTOGRAMS)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_another_tower_learns_streams_and_takes_inflated_weights(name):
    keras.utils.set_random_seed(0)
    source, target = build("single_frame", "tiny"), build(name, "tiny")
    assert dv.inflate_weights(source, target) == []
    frame = np.random.default_rng(0).integers(0, 256, (2, 1, 48, 48, 3), dtype=np.uint8)
    clips = np.repeat(frame, target.input_shape[1], axis=1)
    if not info_of(target).views:
        np.testing.assert_allclose(
            target.predict(clips, verbose=0), source.predict(frame, verbose=0), rtol=1e-4, atol=1e-5
        )
    before = [layer.get_weights() for layer in target.layers if layer.name != info_of(target).head]
    dv.initialize_from_clips(target, clips)
    after = [layer.get_weights() for layer in target.layers if layer.name != info_of(target).head]
    for old, new in zip(before, after, strict=True):  # each is followed by batch normalization
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    assert not target.predict(clips, verbose=0).any()
    assert sum(layer.parameters for layer in dv.describe(target)) == target.count_params()
    if any(isinstance(layer, TemporalWindows) and layer.size == 4 for layer in target.layers):
        target.set_weights(build(name, "tiny").get_weights())
        stream = dv.SlowFusionStream(target)
        answers = [stream.push(frame) for frame in clips[0]]
        np.testing.assert_allclose(answers[-1], target.predict(clips[:1], verbose=0)[0], atol=1e-5)


def test_towers_are_imported_when_they_are_needed(monkeypatch):
    monkeypatch.setitem(towers.TOWERS, "broken", "tests.support.nothing")
    assert importlib.import_module("deepvideo_tf.models.towers").load_tower("tiny").head == "average"
