"""Parity on real exports, and that what is broken is told."""

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError
from deepvideo_tf.formats.parity import compare, exceeded, parity_clips


@pytest.fixture(scope="module")
def exports(small_run, small_shards, tmp_path_factory):
    folder, fast = tmp_path_factory.mktemp("exports"), {"quantization": "dynamic_int8", "dense_rank": 8}
    return [
        dv.export_saved_model(small_run, folder / "saved_model"),
        dv.export_tflite(small_run, folder / "float32.tflite"),
        dv.export_tflite(small_run, folder / "fast.tflite", **fast, shards_dir=small_shards),
        dv.export_onnx(small_run, folder / "model.onnx"),
    ]


def test_every_format_is_compared(exports, small_run, small_shards):
    calls = []
    result = dv.check_parity(small_run, exports, small_shards, max_hit_at_1_loss=1, on_model=lambda: calls.append(1))
    assert result["clips"] == 12
    assert len(calls) == 2 * 5
    run, saved_model, tflite, fast, onnx = result["models"]
    assert [row["format"] for row in result["models"]] == ["run", "SavedModel", "TFLite", "TFLite", "ONNX"]
    assert (fast["precision"], fast["dense_rank"], fast["conv_rank"]) == ("dynamic_int8", 8, None)
    assert run["max_difference"] == 0
    assert saved_model["max_difference"] <= 1e-5
    assert tflite["max_difference"] <= 1e-4
    assert onnx["max_difference"] <= 1e-4
    assert fast["max_difference"] > 0
    assert fast["size_bytes"] < tflite["size_bytes"] < run["size_bytes"]
    for row in result["models"]:
        assert row["broken"] == []
        assert row["mean_difference"] <= row["max_difference"]
        assert row["latency_ms"].keys() == {"1", "2"}
        assert all(0 < ms["median"] <= ms["p95"] for ms in row["latency_ms"].values())
        assert 10e6 < row["peak_memory_bytes"] < 10e9
    assert tflite["peak_memory_bytes"] < 0.7 * saved_model["peak_memory_bytes"]  # it brings no TensorFlow
    evaluation = dv.evaluate(small_run, small_shards, num_views=1)
    assert run["hit_at_1"] == pytest.approx(evaluation["clip_hit_at_1"])


def test_clips_are_evenly_spaced(small_run, small_shards):
    card = dv.load_predictor(small_run).card
    every, _ = parity_clips(small_shards, "test", card, 12)
    some, targets = parity_clips(small_shards, "test", card, 3)
    np.testing.assert_array_equal(some, every[[0, 6, 11]])
    assert targets.shape == (3, 4)


def test_another_runs_export_is_refused(exports, tiny_run, small_run, small_shards):
    with pytest.raises(ModelFileError, match="tflite: it cannot be measured: it comes from step-.* export it anew"):
        dv.check_parity(tiny_run, exports[1:2], small_shards)


def test_wrong_arguments(small_run, small_shards, tmp_path):
    with pytest.raises(ConfigError, match="max_clips must be"):
        dv.check_parity(small_run, [], small_shards, max_clips=0)
    with pytest.raises(ConfigError, match="max_hit_at_1_loss must be"):
        dv.check_parity(small_run, [], small_shards, max_hit_at_1_loss=-1)
    (tmp_path / "bad.tflite").write_bytes(b"text")
    with pytest.raises(ModelFileError, match="bad.tflite: not a TFLite file"):
        dv.check_parity(small_run, [tmp_path / "bad.tflite"], small_shards)
    with pytest.raises(ModelFileError, match="nowhere"):
        dv.check_parity(tmp_path / "nowhere", [], small_shards)
    with pytest.raises(ConfigError, match="models must be a list of paths"):
        dv.check_parity(small_run, "model.tflite", small_shards)
    calls = []
    with pytest.raises(ModelFileError, match="typo.tflite: expected a run's folder"):
        dv.check_parity(small_run, [tmp_path / "typo.tflite"], small_shards, on_model=lambda: calls.append(1))
    assert calls == []  # before anything is measured


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("classes", ShardError, "other classes"),
        ("rate", ModelFileError, "frame_rate_fps=25.0, those in .* have 5.0"),
        ("damaged", ShardError, "damaged"),
    ],
)
def test_shards_of_another_kind_are_refused(small_run, other_shards, tmp_path, name, error, words):
    with pytest.raises(error, match=words):
        dv.check_parity(small_run, [], other_shards / name)
    with pytest.raises(error, match=words):
        dv.export_tflite(small_run, tmp_path / "a.tflite", quantization="int8", shards_dir=other_shards / name)
    assert list(tmp_path.iterdir()) == []


class TestTolerances:
    EXACT = {"format": "TFLite", "precision": "float32", "dense_rank": None, "conv_rank": None}  # noqa: RUF012

    def broken(self, tolerance=1e-4, **changes):
        measured = {"max_difference": 0.0, "top1_agreement": 1.0, "hit_at_1": 0.8}
        return exceeded(self.EXACT | measured | changes, {"hit_at_1": 0.8}, tolerance, 0.01)

    def test_float32_may_round(self):
        assert self.broken(max_difference=0.9e-4) == []
        assert self.broken(max_difference=1.1e-4) == ["probabilities differ by 1.1e-04, the tolerance is 1e-04"]
        assert self.broken(tolerance=1e-5, max_difference=1.1e-5) == [
            "probabilities differ by 1.1e-05, the tolerance is 1e-05"
        ]
        assert len(self.broken(max_difference=float("nan"))) == 1
        assert self.broken(tolerance=None, max_difference=1.0) == []
        assert self.broken(top1_agreement=0.99) == ["the likeliest class differs for 1.00% of the clips"]

    @pytest.mark.parametrize("change", [{"precision": "int8"}, {"dense_rank": 4}, {"conv_rank": 4}])
    def test_others_are_judged_by_hit_at_1(self, change):
        assert self.broken(**change, max_difference=0.5, top1_agreement=0.5, hit_at_1=0.79) == []
        assert self.broken(**change, hit_at_1=0.789) == ["Hit@1 is 0.7890, more than 0.01 below the run's 0.8000"]


def test_the_numbers_are_what_they_say():
    expected = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    came = np.array([[0.8, 0.2], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    targets = np.array([[1, 0], [0, 1], [0.5, 0.5], [1, 0]])
    compared = compare(came, expected, targets)
    assert compared == pytest.approx(
        {"max_difference": 0.2, "mean_difference": 0.6 / 8, "top1_agreement": 0.75, "hit_at_1": 0.5}
    )
