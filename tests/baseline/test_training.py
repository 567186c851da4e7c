"""The baseline is trained, resumed, evaluated, averaged and asked like any other model; it is not exported."""

import json
import logging
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.baseline.cache import learn_codebooks
from deepvideo_tf.config import FEATURE_HISTOGRAMS
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.errors import ConfigError, ModelFileError, TrainingError
from deepvideo_tf.evaluation.scoring import score_run
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.models.feature_histograms import build_classifier, codebooks_of
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.visualization.pictures.draw import choose_pictures, draw_pictures
from tests.support.files import flip_a_bit
from tests.support.runs import checkpoint_names


class Killed(BaseException):
    pass


def stopping_at(count):
    """An `on_step` that ends the process's work at its so-manyeth call."""
    calls = iter(range(count))

    def on_step(seen, in_all):
        if next(calls, None) is None:
            raise Killed

    return on_step


def test_it_goes_on_at_the_exact_step(histogram_run, histogram_shards, histogram_config, tmp_path):
    for calls in (2, 4, 3):
        with pytest.raises(Killed):
            dv.train(
                histogram_config, histogram_shards, tmp_path / "run", checkpoint_minutes=0, on_step=stopping_at(calls)
            )
    dv.train(histogram_config, histogram_shards, tmp_path / "run", checkpoint_minutes=0)
    assert checkpoint_names(tmp_path / "run") == checkpoint_names(histogram_run)
    assert (tmp_path / "run/history.csv").read_text() == (histogram_run / "history.csv").read_text()


def test_a_finished_run_is_left_as_it_is(histogram_run, histogram_shards, histogram_config):
    before = checkpoint_names(histogram_run)
    assert dv.train_and_export(histogram_config, histogram_shards, histogram_run) is None
    assert checkpoint_names(histogram_run) == before
    assert not (histogram_run / "saved_model").exists()


def test_the_codebooks_travel_with_the_checkpoint(histogram_run, histogram_shards):
    run = load_run(histogram_run)
    codebooks = codebooks_of(run.model)
    assert {kind: codebook.words.shape for kind, codebook in codebooks.items()} == {
        "dense_hog": (10, 36),
        "sparse_hog": (10, 36),
        "textons": (10, 8),
        "cuboids": (10, 108),
    }
    assert all(codebook.words.any() and codebook.width > 0 for codebook in codebooks.values())
    learned = learn_codebooks(histogram_shards, run.config.clip, 10)  # training leaves them as they are
    for kind, codebook in codebooks.items():
        np.testing.assert_array_equal(codebook.words, learned[kind].words)
        assert codebook.width == learned[kind].width


def test_scores_and_predictions_are_of_the_same_features(histogram_run, histogram_shards, synthetic_videos):
    run = load_run(histogram_run)
    scores = score_run(histogram_run, histogram_shards, num_views=1)["forward"]
    views, _, ids = next(
        make_evaluation_dataset(histogram_shards, "test", run.card.clip, num_views=1).as_numpy_iterator()
    )
    answers = probabilities(run.card, run.model.predict_on_batch(run.inputs(views[:, 0])))
    np.testing.assert_allclose(scores.clip_scores[: len(answers)], answers, atol=1e-6)
    np.testing.assert_allclose(dv.load_predictor(histogram_run).probabilities(views[:, 0]), answers, atol=1e-6)
    predicted = dv.predict_video(histogram_run, synthetic_videos / ids[0].decode())
    assert list(predicted.values()) == sorted(predicted.values(), reverse=True)
    # The shards' frames are JPEG files, those of a prediction are not.
    of_video = scores.video_scores[scores.video_ids.index(ids[0].decode())]
    assert [predicted[name] for name in scores.classes] == pytest.approx(of_video.tolist(), abs=0.1)


def test_it_is_evaluated_compared_and_averaged_with_networks(histogram_run, histogram_shards, small_run, tmp_path):
    alone = dv.evaluate(histogram_run, histogram_shards, motion=True, against=small_run)
    assert set(alone["motion"]["orders"]) == {"shuffled", "reversed", "frozen"}
    assert alone["against"]["run"] == str(small_run)
    average = dv.evaluate(tmp_path, histogram_shards, ensemble=[histogram_run, small_run])
    of_runs = [
        score_run(run, histogram_shards)["forward"].video_scores.max(axis=1).mean()
        for run in (histogram_run, small_run)
    ]
    assert average["runs"] == [str(histogram_run), str(small_run)]
    assert np.mean([video["probability"] for video in average["per_video"]]) <= np.mean(of_runs) + 1e-6


@pytest.mark.parametrize("ending", ["", ".tflite", ".onnx"])
def test_it_is_not_exported(histogram_run, tmp_path, ending):
    export = {"": dv.export_saved_model, ".tflite": dv.export_tflite, ".onnx": dv.export_onnx}[ending]
    with pytest.raises(ModelFileError, match="cannot be exported") as error:
        export(histogram_run, tmp_path / f"model{ending}")
    assert str(histogram_run) in str(error.value)
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_names_the_extra(histogram_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "deepvideo_tf.models.feature_histograms", None)
    with pytest.raises(ModelFileError, match=r"pip install 'deepvideo-tf\[baseline\]'"):
        load_run(histogram_run)


def test_networks_do_not_start_from_it(histogram_run, histogram_shards, small_config, tmp_path):
    config = replace(small_config, width=0.02, init_from=str(histogram_run), finetune="all")
    with pytest.raises(ModelFileError, match=str(histogram_run)):
        dv.train(config, histogram_shards, tmp_path / "run")


@pytest.mark.parametrize(
    "wrong",
    [
        {"init_from": "run", "finetune": "all"},
        {"colour_jitter": 0.1},
        {"time_jitter": 0.1},
        {"mixup_alpha": 0.1},
        {"cached_views": 0},
        {"cached_views": 6},
    ],
)
def test_what_it_cannot_do_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        dv.TrainConfig(model=FEATURE_HISTOGRAMS, **wrong)


@pytest.mark.parametrize("wrong", [1, -0.1, float("nan")])
def test_a_part_of_damage_that_is_none_is_refused(histogram_shards, histogram_config, tmp_path, wrong):
    with pytest.raises(ConfigError, match="max_bad_fraction must be a number, finite and at least 0 and below 1"):
        dv.train(histogram_config, histogram_shards, tmp_path / "run", max_bad_fraction=wrong)
    assert not (tmp_path / "run").exists()


def test_two_hidden_layers_and_several_labels(histogram_shards, histogram_config, tmp_path):
    config = replace(
        histogram_config, options=dv.HistogramConfig(10, 2), loss="sigmoid", class_weights="balanced", num_epochs=1
    )
    dv.train(config, histogram_shards, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert [layer.name for layer in run.model.layers if "hidden" in layer.name] == ["hidden1", "hidden2"]
    answers = dv.load_predictor(tmp_path / "run").probabilities(np.zeros((1, 16, 32, 32, 3), np.uint8))
    assert ((answers > 0) & (answers < 1)).all()


def test_the_perceptron_is_the_one_that_was_asked_for():
    model = build_classifier(7, num_words=850, hidden_layers=2, width=0.5, dropout=(0.1, 0.2))
    assert model.input_shape == (None, 24_759)
    assert model.inputs[0].dtype == "float32"
    assert model.output_shape == (None, 7)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trained == (24_759 + 1) * 512 + (512 + 1) * 512 + (512 + 1) * 7
    assert [model.get_layer(name).rate for name in ("dropout1", "dropout2")] == [0.1, 0.2]


def test_a_loss_that_is_not_finite_names_the_clips(histogram_shards, histogram_config, tmp_path):
    config = replace(histogram_config, optimizer="sgd", learning_rate=1e30, num_epochs=2)
    with pytest.raises(TrainingError):
        dv.train(config, histogram_shards, tmp_path / "run")
    data = json.loads((tmp_path / "run/non-finite-batch.json").read_text())
    listed = [
        ids.decode() for _, _, batch in make_evaluation_dataset(histogram_shards, "train", config.clip, num_views=1)
        for ids in batch.numpy()
    ]  # fmt: skip
    order = np.random.default_rng([config.seed, data["epoch"]]).permutation(36)
    step = (data["step"] - 1) % 3
    expected = [listed[row] for row in order[12 * step : 12 * (step + 1)]]
    assert [name.rsplit(" clip ", 1)[0] for name in data["clips"]] == expected


def test_damaged_shards_are_trained_on_with_a_warning(histogram_shards, histogram_config, tmp_path, caplog):
    shutil.copytree(histogram_shards, tmp_path / "shards", ignore=shutil.ignore_patterns("features"))
    flip_a_bit(sorted((tmp_path / "shards").glob("train-*.tfrecord"))[0])
    with caplog.at_level(logging.WARNING, "deepvideo_tf"):
        dv.train(histogram_config, tmp_path / "shards", tmp_path / "run", max_bad_fraction=0.1)
    assert "1 damaged records of 36 skipped" in caplog.text
    assert len((tmp_path / "run/history.csv").read_text().splitlines()) == 1 + histogram_config.num_epochs


def test_pictures_are_those_that_need_no_network(histogram_run, histogram_shards, tmp_path):
    names = choose_pictures(["all"], [histogram_run])
    assert names == ("predictions", "curves", "confusion", "ap")
    evaluation = dv.evaluate(histogram_run, histogram_shards, split="validation", num_views=1)
    index = draw_pictures(names, evaluation, histogram_shards, tmp_path)
    assert [picture["name"] for picture in index] == list(names)
    with pytest.raises(
        ConfigError, match="cannot have filters: .* is a run of feature_histograms, which is no network"
    ):
        choose_pictures(["filters"], [histogram_run])
