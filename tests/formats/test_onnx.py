"""ONNX files under ONNX Runtime."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.runs.run import load_run


def test_the_same_model_in_any_batch(small_run, tmp_path):
    path = dv.export_onnx(small_run, tmp_path / "model.onnx")
    run = load_run(small_run)
    clips = np.random.default_rng(0).integers(0, 256, (5, *run.model.input_shape[1:]), dtype=np.uint8)
    predictor = dv.load_predictor(path)
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(run.model(clips)))
    np.testing.assert_allclose(predictor.probabilities(clips), expected, atol=1e-5)
    np.testing.assert_allclose(predictor.probabilities(clips[:1]), expected[:1], atol=1e-5)
    assert (predictor.about["format"], predictor.about["checkpoint"]) == ("ONNX", run.checkpoint.name)
    assert predictor.card == run.card
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_its_metadata_is_plain_text(small_run, tmp_path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(dv.export_onnx(small_run, tmp_path / "model.onnx")))
    metadata = session.get_modelmeta().custom_metadata_map
    classes = list(load_run(small_run).card.classes)
    assert metadata["labels.txt"].splitlines() == classes
    assert json.loads(metadata["model_card.json"])["model"]["classes"] == classes
    assert [one.name for one in session.get_inputs()] == ["clip"]
    assert [one.name for one in session.get_outputs()] == ["probabilities"]


def test_failures_leave_nothing(small_run, tmp_path):
    with pytest.raises(ConfigError, match="onnx_path must end in .onnx"):
        dv.export_onnx(small_run, tmp_path / "model")
    with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
        dv.export_onnx(tmp_path / "nowhere", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="cannot be written"):
        dv.export_onnx(small_run, tmp_path / "file" / "model.onnx")


WITHOUT_EXTRA = """
import sys
sys.modules["tf2onnx"] = None
import deepvideo_tf as dv
try:
    dv.export_onnx(sys.argv[1], sys.argv[2])
except dv.errors.ModelFileError as error:
    print(error)
"""


def test_a_missing_extra_is_named(small_run, tmp_path):
    command = [sys.executable, "-c", WITHOUT_EXTRA, small_run, tmp_path / "a.onnx"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "ONNX needs the extra: pip install 'deepvideo-tf[onnx]'\n"
