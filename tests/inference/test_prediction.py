import itertools
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.data.sampling import evaluation_views
from deepvideo_tf.data.video.decode import Frame, read_frames
from deepvideo_tf.errors import BadVideoError, ConfigError, ModelFileError


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
    views = evaluation_views(stored, card.clip, 4)
    assert [view.shape for view in views] == [(10, 32, 32, 3)] * 4
    np.testing.assert_array_equal(views[0], stored[3:13, 2:34, 2:34])
    np.testing.assert_array_equal(views[1], stored[3:13, :32, :32])  # this model does not mirror
    batch = next(make_evaluation_dataset(small_shards, "test", card.clip, batch_size=1).as_numpy_iterator())
    assert batch[0][0].shape == np.stack(views).shape


def test_problems_are_named(models, video, tmp_path):
    with pytest.raises(ModelFileError, match="a .tflite or an .onnx file, found none of them"):
        dv.predict_video(tmp_path / "nowhere", video)
    with pytest.raises(BadVideoError, match="no such file"):
        dv.predict_video(models["run"], tmp_path / "nothing.mp4")
    with pytest.raises(ConfigError, match="num_views must be"):
        dv.predict_video(models["run"], video, num_views=0)
    with pytest.raises(ConfigError, match="clips_per_video must be"):
        dv.predict_video(models["run"], video, clips_per_video=0)


class TestStream:
    def test_answers_come_every_hop(self, models, video):
        moments = list(dv.predict_stream(models["tflite"], read_frames(video), hop_s=0.2))
        new_s = [moment.frame.time_s for moment in moments if moment.is_new]
        assert len(moments) == len(list(read_frames(video)))
        assert np.diff(new_s) == pytest.approx(0.2, abs=0.02)
        assert new_s[0] == pytest.approx(0.36, abs=0.02)  # ten frames at 25 a second
        assert [moment.classes is None for moment in moments[:10]] == [True] * 9 + [False]
        assert sum(moments[-1].classes.values()) == pytest.approx(1, abs=1e-5)

    def test_an_answer_is_the_mean_of_the_last_clips(self, models, video):
        predictor = dv.load_predictor(models["tflite"])
        counted = iter(range(1000))
        numbered = replace(predictor, probabilities=lambda clips: np.eye(4)[[next(counted) % 4 for _ in clips]])
        frames = [Frame(n / 25, frame.picture) for n, frame in zip(range(100), itertools.cycle(read_frames(video)))]
        *_, last = dv.predict_stream(numbered, frames, hop_s=0.5)
        # Ten frames end at 0.36 s, and then every 0.5 s: 0.36, 0.86, ... 3.86; the last five lie within 2 s.
        assert next(counted) == 8
        assert sorted(last.classes.values()) == pytest.approx([0.2, 0.2, 0.2, 0.4])

    def test_a_video_shorter_than_a_clip_gets_one_answer(self, models, video):
        frames = itertools.islice(read_frames(video), 2)
        moments = list(dv.predict_stream(models["tflite"], frames))
        assert [moment.is_new for moment in moments] == [False, False, True]

    def test_no_frames_no_answers(self, models):
        assert list(dv.predict_stream(models["tflite"], [])) == []


# Only what `pip install --no-deps deepvideo-tf ai-edge-litert av absl-py tqdm pillow numpy` brings.
WITHOUT_TENSORFLOW = """
import sys

BARRED = {"tensorflow", "keras", "h5py", "filelock", "simplejpeg", "google_crc32c", "tensorflow_serving", "onnx",
          "ml_dtypes", "cv2", "scipy", "sklearn"}

class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BARRED:
            raise ModuleNotFoundError(f"{name} is not installed")

sys.meta_path.insert(0, Bar())
sys.argv[0] = "deepvideo-predict"
from deepvideo_tf.pipelines import predict
predict.run()
"""


@pytest.mark.parametrize("flags", [["--json"], ["--stream"], ["--annotate=copies"]])
def test_tflite_files_need_no_tensorflow(models, video, tmp_path, flags):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, f"--model_path={models['tflite']}", *flags, str(video)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "moves_left" in done.stdout


def test_what_needs_tensorflow_says_so(models, video, tmp_path):
    for name, words in (("run", "TensorFlow"), ("saved_model", "TensorFlow")):
        command = [sys.executable, "-c", WITHOUT_TENSORFLOW, f"--model_path={models[name]}", str(video)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert words in line


def test_threads_are_counted_from_one(models):
    with pytest.raises(ConfigError, match="num_threads must be"):
        dv.load_predictor(models["tflite"], num_threads=-1)


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
