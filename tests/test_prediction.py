import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.dataset import make_evaluation_dataset
from deepvideo_tf.errors import BadVideoError, ConfigError, ModelFileError
from deepvideo_tf.prediction import _views


@pytest.fixture(scope="module")
def models(small_run, tmp_path_factory):
    """The same model in its three formats."""
    folder = tmp_path_factory.mktemp("models")
    saved_model = dv.export_saved_model(small_run, folder / "saved_model")
    tflite = dv.export_tflite(small_run, folder / "model.tflite")
    return {"run": small_run, "saved_model": saved_model, "versions": saved_model.parent, "tflite": tflite}


@pytest.fixture
def video(synthetic_videos):
    return synthetic_videos / "moves_left/0000.mp4"


def test_all_formats_say_the_same(models, video):
    expected = dv.predict_video(models["run"], video, num_views=4)
    assert sum(expected.values()) == pytest.approx(1, abs=1e-5)
    assert list(expected.values()) == sorted(expected.values(), reverse=True)
    for kind in ("saved_model", "versions", "tflite"):
        came = dv.predict_video(dv.load_predictor(models[kind]), video, num_views=4)
        assert came == pytest.approx(expected, abs=1e-4)


def test_prediction_agrees_with_evaluation(models, small_shards, synthetic_videos):
    """The same video through shards and straight from its file: only the JPEG stands between them."""
    for row in dv.evaluate(models["run"], small_shards)["per_video"]:
        came = dv.predict_video(models["run"], synthetic_videos / row["video_id"], num_views=4)
        assert came[row["predicted"]] == pytest.approx(row["probability"], abs=0.05)


def test_views_are_those_of_evaluation(models, small_shards):
    card = dv.load_predictor(models["run"]).card
    stored = np.random.default_rng(0).integers(0, 256, (16, 36, 36, 3), dtype=np.uint8)
    views = list(_views(stored, card, 4))
    assert [view.shape for view in views] == [(10, 32, 32, 3)] * 4
    np.testing.assert_array_equal(views[0], stored[3:13, 2:34, 2:34])
    np.testing.assert_array_equal(views[1], stored[3:13, :32, :32])  # this model does not mirror
    batch = next(make_evaluation_dataset(small_shards, "test", card.clip, batch_size=1).as_numpy_iterator())
    assert batch[0][0].shape == np.stack(views).shape


def test_problems_are_named(models, video, tmp_path):
    with pytest.raises(ModelFileError, match="a SavedModel, a .tflite or an .onnx file, found none"):
        dv.predict_video(tmp_path / "nowhere", video)
    with pytest.raises(BadVideoError, match="no such file"):
        dv.predict_video(models["run"], tmp_path / "nothing.mp4")
    with pytest.raises(ConfigError, match="num_views must be"):
        dv.predict_video(models["run"], video, num_views=0)
    with pytest.raises(ConfigError, match="clips_per_video must be"):
        dv.predict_video(models["run"], video, clips_per_video=0)


def test_a_card_of_another_model_is_refused(models, tmp_path):
    shutil.copytree(models["saved_model"], tmp_path / "1")
    path = tmp_path / "1/assets.extra/model_card.json"
    card = json.loads(path.read_text())
    model = card["model"]
    for change in ({"classes": model["classes"][:2]}, {"clip": model["clip"] | {"num_frames": 3}}):
        path.write_text(json.dumps(card | {"model": model | change}))
        with pytest.raises(ModelFileError, match="its model card is of clips and classes"):
            dv.load_predictor(tmp_path / "1")
    path.write_text(json.dumps(card | {"model": model | {"classes": [1, 2]}}))
    with pytest.raises(ModelFileError, match="classes must be a list of class names"):
        dv.load_predictor(tmp_path / "1")


def test_a_model_that_answers_no_numbers_is_refused(models, video):
    predictor = dv.load_predictor(models["run"])
    broken = replace(predictor, probabilities=lambda clips: np.full((len(clips), 4), np.nan))
    with pytest.raises(ModelFileError, match="its file is damaged"):
        dv.predict_video(broken, video)


def test_damaged_models_are_named(models, tmp_path):
    for content in (b"", b"text", models["tflite"].read_bytes()[:1000]):
        (tmp_path / "bad.tflite").write_bytes(content)
        with pytest.raises(ModelFileError, match="bad.tflite: not a TFLite file of this package"):
            dv.load_predictor(tmp_path / "bad.tflite")
    with zipfile.ZipFile(tmp_path / "card.tflite", "w") as archive:
        archive.writestr("model_card.json", "{}")
    with pytest.raises(ModelFileError, match="card.tflite: "):
        dv.load_predictor(tmp_path / "card.tflite")
    shutil.copytree(models["saved_model"], tmp_path / "2")
    variables = next((tmp_path / "2/variables").glob("*.data-*"))
    variables.write_bytes(variables.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="not a whole SavedModel"):
        dv.load_predictor(tmp_path / "2")
    shutil.copytree(models["saved_model"], tmp_path / "1")
    (tmp_path / "1/saved_model.pb").write_bytes(b"text")
    with pytest.raises(ModelFileError, match="saved_model.pb is not what the model card says: it is damaged"):
        dv.load_predictor(tmp_path / "1")
    shutil.rmtree(tmp_path / "1/assets.extra")
    with pytest.raises(ModelFileError, match="expected model_card.json in assets.extra"):
        dv.load_predictor(tmp_path / "1")
