import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.exporting.saved_model import latest_version
from deepvideo_tf.training.checkpoints import load_run

# Runs without this package: only TensorFlow, NumPy and what they bring.
SERVE = """
import json, sys, numpy as np, tensorflow as tf
sys.modules["deepvideo_tf"] = None
model = tf.saved_model.load(sys.argv[1])
clips = np.load(sys.argv[2])
np.save(sys.argv[3], model.signatures["serving_default"](clip=tf.constant(clips))["probabilities"].numpy())
"""


@pytest.fixture(scope="module")
def clips(small_run):
    shape = load_run(small_run).model.input_shape[1:]
    return np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(small_run, clips):
    return keras.ops.convert_to_numpy(keras.ops.softmax(load_run(small_run).model(clips)))


def test_saved_model_serves_without_this_package(small_run, clips, expected, tmp_path):
    path = dv.export_saved_model(small_run, tmp_path / "exports")
    assert path == tmp_path / "exports" / "1"
    np.save(tmp_path / "clips.npy", clips)
    subprocess.run(
        [sys.executable, "-c", SERVE, path, tmp_path / "clips.npy", tmp_path / "out.npy"], check=True, cwd="/"
    )
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)
    classes = load_run(small_run).card.classes
    assert (path / "assets/labels.txt").read_text().splitlines() == list(classes)
    assert json.loads((path / "assets.extra/model_card.json").read_text())["model"]["classes"] == list(classes)


def test_versions_count_up_and_nothing_else_is_left(small_run, tmp_path):
    for version in (1, 2):
        assert dv.export_saved_model(small_run, tmp_path).name == str(version)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["1", "2"]
    for other in ("10", "²", ".unfinished"):
        (tmp_path / other).mkdir()
    assert latest_version(tmp_path).name == "10"
    assert latest_version(tmp_path / "nowhere") is None


def test_tflite_is_the_same_model_with_built_in_operators(small_run, clips, expected, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    path = dv.export_tflite(small_run, tmp_path / "model.tflite")
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (clip,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (clip["dtype"], clip["shape"].tolist()) == (np.uint8, [1, *clips.shape[1:]])
    for one, row in zip(clips, expected, strict=True):
        interpreter.set_tensor(clip["index"], one[None])
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(output["index"])[0], row, atol=1e-4)
    operators = {operator["op_name"] for operator in interpreter._get_ops_details()}
    assert not {name for name in operators if name.startswith("Flex") or name == "CUSTOM"}
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(load_run(small_run).card.classes)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


def test_failures_leave_nothing(small_run, tmp_path):
    with pytest.raises(ConfigError, match="tflite_path must end in .tflite"):
        dv.export_tflite(small_run, tmp_path / "model.tfl")
    with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
        dv.export_tflite(tmp_path / "nowhere", tmp_path / "model.tflite")
    with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
        dv.export_saved_model(tmp_path / "nowhere", tmp_path / "exports")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for export in (dv.export_saved_model, lambda run, path: dv.export_tflite(run, path / "model.tflite")):
        with pytest.raises(ModelFileError, match="cannot be written"):
            export(small_run, tmp_path / "file")
