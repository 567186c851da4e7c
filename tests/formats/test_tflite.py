"""TFLite files of every model, precision and rank."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_NAMES
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError
from deepvideo_tf.formats.quantization import convert
from deepvideo_tf.formats.tflite import QUANTIZATIONS
from deepvideo_tf.runs.run import load_run

# How far the probabilities of a random net may be from Keras's.
TOLERANCES = {"float32": 1e-5, "float16": 0.01, "dynamic_int8": 0.1, "int8": 0.1}


def random_clips(model, count):
    return np.random.default_rng(0).integers(0, 256, (count, *model.input_shape[1:]), dtype=np.uint8)


def interpreter_of(flatbuffer):
    interpreter = Interpreter(model_content=flatbuffer)
    interpreter.allocate_tensors()
    return interpreter


def answers(interpreter, clips):
    run = interpreter.get_signature_runner("serving_default")
    return np.concatenate([run(clip=clip[None])["probabilities"] for clip in clips])


def opinionated_model(name):
    """A random net that tells clips apart, and such clips: with equal answers any error would pass."""
    logits = dv.build_model(name, 4, width=0.05, crop_size_px=48)
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (16, 1, 3, 3, 3))
    clips = np.repeat(np.repeat(colours, 16, axis=2), 16, axis=3) + rng.integers(0, 2, (16, *logits.input_shape[1:]))
    clips = clips.clip(0, 255).astype(np.uint8)
    dv.initialize_from_clips(logits, clips)
    top = logits.get_layer("logits")
    top.set_weights([rng.normal(size=top.kernel.shape), top.bias])
    answers = logits(clips).numpy()
    top.set_weights([top.kernel / answers.std(axis=0), -answers.mean(axis=0) / answers.std(axis=0)])
    probabilities = keras.layers.Activation("softmax", name="probabilities")(logits.output)
    return keras.Model(logits.input, {"probabilities": probabilities}, name=name), clips


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_converts_in_every_precision(name):
    model, clips = opinionated_model(name)
    expected = model(clips)["probabilities"].numpy()
    assert expected.std(axis=0).min() > 0.05
    sizes = []
    for quantization in QUANTIZATIONS:
        flatbuffer = convert(model, quantization, clips if quantization == "int8" else None)
        interpreter = interpreter_of(flatbuffer)
        assert np.abs(answers(interpreter, clips) - expected).max() < TOLERANCES[quantization], quantization
        (clip,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
        assert (clip["dtype"], clip["shape"].tolist()) == (np.uint8, [1, *model.input_shape[1:]])
        assert (output["dtype"], output["shape"].tolist()) == (np.float32, [1, 4])
        operators = interpreter._get_ops_details()
        assert not {one["op_name"] for one in operators if one["op_name"].startswith(("Flex", "CUSTOM"))}
        types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
        roots = [types[one["inputs"][0]] for one in operators if one["op_name"] == "RSQRT"]
        assert roots
        assert set(roots) == {np.float32}  # the normalisation
        sizes.append(len(flatbuffer))
    assert sizes[1] < 0.6 * sizes[0]
    assert max(sizes[2:]) < 0.4 * sizes[0]


def test_a_file_tells_what_it_is(small_run, small_shards, tmp_path):
    path = dv.export_tflite(
        small_run, tmp_path / "a.tflite", quantization="int8", dense_rank=2, conv_rank=3, shards_dir=small_shards
    )
    run = load_run(small_run)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(run.card.classes)
        card = json.loads(archive.read("model_card.json"))
    about = {"format": "TFLite", "precision": "int8", "dense_rank": 2, "conv_rank": 3}
    assert {name: card[name] for name in about} == about
    assert card["checkpoint"] == run.checkpoint.name
    assert card["sizes"]["parameters"] < run.model.count_params()
    predictor = dv.load_predictor(path)
    assert predictor.about["precision"] == "int8"
    rows = predictor.probabilities(random_clips(run.model, 2))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tflite"]


def test_the_same_command_gives_the_same_bytes(small_run, small_shards, tmp_path):
    options = {"quantization": "int8", "dense_rank": 2, "shards_dir": small_shards}
    first, second = (dv.export_tflite(small_run, tmp_path / f"{name}.tflite", **options) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"quantization": "int4"}, ConfigError, "quantization must be one of .*int4"),
        ({"quantization": "int8"}, ConfigError, "shards_dir must be given"),
        ({"dense_rank": 4}, ConfigError, "shards_dir must be given"),
        ({"conv_rank": 4}, ConfigError, "shards_dir must be given"),
        ({"conv_rank": 0, "shards_dir": "small"}, ConfigError, "conv_rank must be .*0"),
        ({"dense_rank": 2.5, "shards_dir": "small"}, ConfigError, "dense_rank must be .*2.5"),
        ({"dense_rank": 36, "shards_dir": "small"}, ConfigError, "dense_rank must be below the number .*36"),
        ({"quantization": "int8", "shards_dir": "nowhere"}, ShardError, "nowhere"),
    ],
)
def test_wrong_options_leave_nothing(small_run, small_shards, tmp_path, options, error, words):
    if options.get("shards_dir") == "small":
        options = options | {"shards_dir": small_shards}
    with pytest.raises(error, match=words):
        dv.export_tflite(small_run, tmp_path / "a.tflite", **options)
    assert list(tmp_path.iterdir()) == []


WITHOUT_EXTRA = """
import sys
sys.modules["ai_edge_quantizer"] = None
import deepvideo_tf as dv
try:
    dv.export_tflite(sys.argv[1], sys.argv[2], quantization="float16")
except dv.errors.ModelFileError as error:
    print(error)
"""


def test_a_missing_extra_is_named(small_run, tmp_path):
    command = [sys.executable, "-c", WITHOUT_EXTRA, small_run, tmp_path / "a.tflite"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "float16 needs the extra: pip install 'deepvideo-tf[quantize]'\n"
    assert not (tmp_path / "a.tflite").exists()


def test_a_file_that_is_there_stays_when_an_export_fails(small_run, tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"the one before")
    with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
        dv.export_tflite(tmp_path / "nowhere", path)
    assert path.read_bytes() == b"the one before"
    dv.export_tflite(small_run, path)
    assert dv.load_predictor(path).about["precision"] == "float32"


@pytest.mark.parametrize("export", [dv.export_tflite, dv.export_onnx])
def test_a_model_too_large_for_one_file_is_refused(small_run, tmp_path, monkeypatch, export):
    monkeypatch.setattr("deepvideo_tf.formats.card.MAX_FILE_GIB", 1e-5)
    path = tmp_path / ("model.tflite" if export is dv.export_tflite else "model.onnx")
    with pytest.raises(ModelFileError, match="model.(tflite|onnx): such a file holds less than 1e-05 GiB"):
        export(small_run, path)
    assert list(tmp_path.iterdir()) == []
