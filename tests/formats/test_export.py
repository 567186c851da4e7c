"""Exports by the name of a format, one of ours or a new one."""

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf import formats
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats.export import export_model, export_run
from deepvideo_tf.formats.predictors import find_model


def test_a_new_format_is_one_module_and_one_line(small_run, tmp_path, monkeypatch):
    monkeypatch.setitem(formats.FORMATS, "npz", "tests.support.npz_format")
    path = export_model(small_run, tmp_path / "model.npz", "npz")
    run, exported = dv.load_predictor(small_run), dv.load_predictor(path)
    clip = run.card.clip
    shape = (3, clip.num_frames, clip.crop_size_px, clip.crop_size_px, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_allclose(exported.probabilities(clips), run.probabilities(clips), atol=1e-6)
    assert exported.about["checkpoint"] == run.about["checkpoint"]
    assert find_model(path)[0].title == "NPZ"
    with pytest.raises(ModelFileError, match="expected a run's folder, .*, an .onnx file or an .npz file, found none"):
        find_model(tmp_path)


def test_our_formats_by_name(small_run, tmp_path):
    path = export_model(small_run, tmp_path / "model.tflite", "tflite", quantization="float16")
    assert dv.load_predictor(path).about["precision"] == "float16"
    with pytest.raises(ConfigError, match="format_name must be a format that models are exported to. .*'run'"):
        export_model(small_run, tmp_path / "run", "run")
    with pytest.raises(ConfigError, match="format_name must be one of run, .*'pt'"):
        export_model(small_run, tmp_path / "model.pt", "pt")


def test_a_runs_export_is_made_once(small_run):
    version = export_run(small_run)
    assert version == export_run(small_run)
    assert dv.load_predictor(version).about["checkpoint"] == dv.load_predictor(small_run).about["checkpoint"]
