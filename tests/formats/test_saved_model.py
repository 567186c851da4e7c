import json
import signal
import subprocess
import sys
import threading
import time
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import deepvideo_tf as dv
from deepvideo_tf.data.shards.records import record_to_dict
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.formats import signatures as signatures_module
from deepvideo_tf.formats.saved_model import latest_version
from deepvideo_tf.runs.run import load_run

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


@pytest.fixture(scope="module")
def exported(small_run, tmp_path_factory):
    return dv.export_saved_model(small_run, tmp_path_factory.mktemp("exports") / "net")


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    signatures = dict(loaded.signatures)
    signatures["model"] = loaded  # its variables live as long as it does
    return signatures


def test_the_likeliest_classes_come_by_name(small_run, signatures, clips, expected):
    answer = signatures["serving_default"](clip=tf.constant(clips))
    classes = load_run(small_run).card.classes
    order = np.argsort(-expected, axis=1, kind="stable")  # four classes, fewer than the five at most
    assert answer["classes"].numpy().tolist() == [[classes[number].encode() for number in row] for row in order]
    np.testing.assert_allclose(answer["scores"].numpy(), np.take_along_axis(expected, order, axis=1), atol=1e-5)


def test_features_are_the_second_hidden_layers(small_run, signatures, clips):
    model = load_run(small_run).model
    expected = keras.Model(model.input, model.get_layer("fc7").output)(clips)
    answer = signatures["features"](clip=tf.constant(clips))["features"].numpy()
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    assert answer.shape == (len(clips), model.get_layer("fc7").units)


def stored_frames(shards_dir, num_frames):
    """The JPEG files of the middle of every test clip, string `[clip, time]`."""
    frames = []
    for path in sorted(shards_dir.glob("test-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            stored = record_to_dict(record)["frames"]
            start = (len(stored) - num_frames) // 2
            frames.append(stored[start : start + num_frames])
    return np.array(frames, object)


def test_stored_frames_give_what_their_pixels_give(small_run, small_shards, signatures):
    """Decoding and cropping in the graph are those of the data path."""
    card = load_run(small_run).card
    pixels = np.concatenate([clips for clips, _ in dv.make_dataset(small_shards, "test", card.clip)])
    frames = stored_frames(small_shards, card.clip.num_frames)
    assert len(frames) == len(pixels) == 12
    encoded = signatures["serve_encoded"](frames=tf.constant(frames))
    decoded = signatures["serving_default"](clip=tf.constant(pixels))
    np.testing.assert_allclose(encoded["probabilities"], decoded["probabilities"], atol=1e-6)
    assert encoded["classes"].numpy().tolist() == decoded["classes"].numpy().tolist()


@pytest.mark.parametrize("shape", [(120, 300, 3), (300, 120, 3), (36, 36, 3), (20, 25, 3), (1, 1, 3), (50, 60, 1)])
def test_frames_of_any_size_are_cut_to_the_centre(signatures, shape):
    """A picture with another colour outside its centre square gives what the colour within gives."""
    height, width, channels = shape
    side, outside = min(height, width), np.full(shape, 255, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    outside[top : top + side, left : left + side] = 60
    plain = tf.io.encode_jpeg(np.full((36, 36, channels), 60, np.uint8), quality=100).numpy()
    framed = tf.io.encode_jpeg(outside, quality=100).numpy()
    answers = [
        signatures["serve_encoded"](frames=tf.constant([[one] * 10]))["probabilities"] for one in (plain, framed)
    ]
    np.testing.assert_allclose(*answers, atol=0.02)  # the edge's ringing within its JPEG blocks


def jpeg_that_declares(height, width):
    """A small JPEG file whose header tells of a picture of another size."""
    data = bytearray(tf.io.encode_jpeg(np.zeros((8, 8, 3), np.uint8)).numpy())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def test_what_is_no_frame_is_refused(signatures):
    whole = tf.io.encode_jpeg(np.zeros((36, 36, 3), np.uint8)).numpy()
    for bad in (b"", b"text", whole[:100], jpeg_that_declares(60_000, 60_000)):
        with pytest.raises(tf.errors.InvalidArgumentError) as refused:
            signatures["serve_encoded"](frames=tf.constant([[whole] * 9 + [bad]]))
        assert len(refused.value.message) < 500
    with pytest.raises(tf.errors.InvalidArgumentError, match="a frame has more than"):
        signatures["serve_encoded"](frames=tf.constant([[jpeg_that_declares(60_000, 60_000)] * 10]))


def test_wrong_shapes_and_types_are_refused(signatures, clips):
    for wrong in (clips[:, :9], clips[:, :, :31], clips[:, :, :, :31], clips[0], clips[..., :2]):
        for name in ("serving_default", "features"):
            with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError), match="[Ss]hape"):
                signatures[name](clip=tf.constant(wrong))
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError)):
        signatures["serving_default"](clip=tf.constant(clips.astype(np.float32)))
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError)):
        signatures["serve_encoded"](frames=tf.constant([[b"x"] * 9]))
    frame = tf.io.encode_jpeg(np.zeros((36, 36, 3), np.uint8)).numpy()
    for shape in ((4, 5), (2, 5), (40,), (2, 20), (4, 10, 1)):  # as many frames as some whole clips have
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError, TypeError), match="[Ss]hape"):
            signatures["serve_encoded"](frames=tf.fill(shape, frame))


def test_every_warm_up_request_is_answered(exported, signatures):
    """As TensorFlow Serving reads them: a file of PredictionLog records."""
    names = []
    for record in tf.data.TFRecordDataset(
        str(exported / "assets.extra/tf_serving_warmup_requests")
    ).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "net"
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        names.append(request.model_spec.signature_name)
        assert all(
            np.isfinite(value).all() for value in signatures[names[-1]](**inputs).values() if value.dtype != "string"
        )
    assert names == ["serving_default", "serve_encoded", "features"]


def test_the_card_tells_where_a_model_comes_from(small_run, exported):
    card, run = json.loads((exported / "assets.extra/model_card.json").read_text()), load_run(small_run)
    assert (card["format"], card["precision"], card["paper"]["section"]) == ("SavedModel", "float32", "3.2")
    assert card["checkpoint"] == run.checkpoint.name
    assert card["data"] == {"shards_sha256": run.shards}
    assert card["sizes"]["parameters"] == run.model.count_params()
    assert card["versions"]["keras"] == keras.__version__


def test_bfloat16_is_half_the_size_and_nearly_the_same(small_run, exported, clips, expected, tmp_path):
    path = dv.export_saved_model(small_run, tmp_path, precision="bfloat16")
    predictor = dv.load_predictor(path)
    answers = predictor.probabilities(clips)
    np.testing.assert_allclose(answers, expected, atol=0.02)
    assert answers.dtype == np.float32
    assert predictor.about["precision"] == "bfloat16"
    sizes = [sum(file.stat().st_size for file in (folder / "variables").iterdir()) for folder in (path, exported)]
    assert sizes[0] < 0.6 * sizes[1]
    with pytest.raises(ConfigError, match="precision must be one of .*int8"):
        dv.export_saved_model(small_run, tmp_path, precision="int8")


def test_an_export_that_waits_and_is_stopped_harms_nobody(small_run, tmp_path, monkeypatch):
    """The one at work has the lock; the other one's end must not remove what it writes."""
    begun, go_on, written = threading.Event(), threading.Event(), signatures_module.write_saved_model

    def slow(*arguments):
        written(*arguments)
        begun.set()
        go_on.wait(60)

    monkeypatch.setattr(signatures_module, "write_saved_model", slow)
    first = threading.Thread(target=dv.export_saved_model, args=(small_run, tmp_path))
    first.start()
    begun.wait(60)
    command = [sys.executable, "-c", "import sys, deepvideo_tf as dv; dv.export_saved_model(*sys.argv[1:])"]
    second = subprocess.Popen([*command, small_run, tmp_path], stderr=subprocess.DEVNULL)
    time.sleep(8)
    second.send_signal(signal.SIGINT)
    second.wait()
    go_on.set()
    first.join()
    assert dv.load_predictor(tmp_path / "1").about["checkpoint"]
    assert not (tmp_path / ".unfinished").exists()


def test_a_runs_own_folder_is_no_folder_of_versions(small_run):
    with pytest.raises(ConfigError, match="export_dir must be a folder for versions"):
        dv.export_saved_model(small_run, small_run)


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
