"""Evaluators on scores worked out by hand."""

import importlib
import itertools
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix

from deepvideo_tf.evaluation import EVALUATORS, chance, comparison, confusion, motion
from deepvideo_tf.evaluation.context import Evaluation
from deepvideo_tf.evaluation.scores import Scores
from deepvideo_tf.metrics import METRICS
from deepvideo_tf.metrics.clip_metric import ClipMetric


def made_scores(video_scores, is_true, clips=2):
    """Scores whose clips all score like their video."""
    video_scores, is_true = np.array(video_scores, float), np.array(is_true, bool)
    clip_videos = np.repeat(np.arange(len(video_scores)), clips)
    return Scores(
        tuple(f"video{number}" for number in range(len(video_scores))),
        tuple(f"class{number}" for number in range(is_true.shape[1])),
        is_true,
        video_scores,
        video_scores[clip_videos].astype(np.float32),
        clip_videos,
        {"models": ["made"]},
    )


def of_one(scores):
    return Evaluation({"run": {"forward": scores}})


def evaluated(evaluation):
    """The result of all evaluators."""
    modules = [importlib.import_module(module) for module in EVALUATORS.values()]
    return dict(pair for module in modules for pair in module.run(evaluation))


def test_confusion_of_videos_with_several_labels():
    scores = made_scores(
        [[0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3], [0.4, 0.1, 0.5]],
        [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 1, 0]],
    )
    counts, pairs = dict(confusion.run(of_one(scores))).values()
    # The second video is predicted as one of its own classes: counted in both rows, but not an error.
    assert counts == [[1, 1, 0], [1, 1, 2], [1, 0, 0]]
    assert pairs == [
        {"true": "class1", "predicted": "class2", "videos": 2},
        {"true": "class1", "predicted": "class0", "videos": 1},
        {"true": "class2", "predicted": "class0", "videos": 1},
    ]


def test_confusion_agrees_with_scikit_learn_and_lists_ten_pairs():
    rng = np.random.default_rng(0)
    labels, video_scores = rng.integers(0, 6, 300), rng.random((300, 6))
    counts, pairs = dict(confusion.run(of_one(made_scores(video_scores, np.eye(6)[labels])))).values()
    counts = np.array(counts)
    np.testing.assert_array_equal(counts, confusion_matrix(labels, video_scores.argmax(axis=1)))
    most = sorted((counts[one, other] for one in range(6) for other in range(6) if one != other), reverse=True)
    assert [pair["videos"] for pair in pairs] == most[:10]


def test_chance_is_the_mean_over_all_orders_of_scores():
    """Every order of 4 classes, where a video has 1 or 2 of them."""
    scores = made_scores(np.zeros((3, 4)), [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    found = dict(chance.run(Evaluation({"run": {"forward": scores}}, ks=(1, 2, 4))))["chance"]
    for k in (1, 2, 4):
        hits = [
            bool(set(order[:k]) & labels) for labels in ({0}, {1, 2}, {3}) for order in itertools.permutations(range(4))
        ]
        assert found[f"video_hit_at_{k}"] == pytest.approx(np.mean(hits))
    assert found["clip_hit_at_1"] == pytest.approx(found["video_hit_at_1"])


def test_five_gains_and_losses_and_a_paired_interval():
    rng = np.random.default_rng(0)
    is_true = np.eye(12)[np.arange(120) % 12]
    good, bad = (made_scores(is_true * strength + rng.random((120, 12)), is_true) for strength in (0.6, 0.4))
    result = dict(comparison.run(Evaluation({"good": {"forward": good}}, against=("bad", bad))))["against"]
    assert len(result["gains"]) == 5
    assert result["gains"][0]["ap_difference"] == max(result["ap_difference"].values())
    rng, hits = np.random.default_rng(0), []
    for scores in (good, bad):
        hits.append(scores.video_scores.argmax(axis=1) == is_true.argmax(axis=1))
    gains = [
        np.mean([int(hits[0][video]) - int(hits[1][video]) for video in rng.integers(0, 120, 120)]) for _ in range(1000)
    ]
    assert result["interval"] == pytest.approx(np.percentile(gains, [2.5, 97.5]))
    best = result["gains"][0]
    label, rng = good.classes.index(best["class"]), np.random.default_rng(0)
    draws = [rng.integers(0, 120, 120) for _ in range(1000)]
    differences = [
        average_precision_score(is_true[drawn, label], good.video_scores[drawn, label])
        - average_precision_score(is_true[drawn, label], bad.video_scores[drawn, label])
        for drawn in draws
        if is_true[drawn, label].any()
    ]
    assert best["interval"] == pytest.approx(np.percentile(differences, [2.5, 97.5]))
    same = dict(comparison.run(Evaluation({"good": {"forward": good}}, against=("same", good))))["against"]
    assert (same["interval"], same["gains"], same["losses"]) == ([0, 0], [], [])


def test_a_model_that_uses_motion_is_recognized():
    is_true = np.eye(4)[np.arange(40) % 4]
    right, wrong = made_scores(is_true, is_true), made_scores(is_true[::-1], is_true)
    scored = {"forward": right, "shuffled": wrong, "reversed": right, "frozen": wrong}
    found = dict(motion.run(Evaluation({"run": scored}, motion=True)))["motion"]
    assert found["matters"] == ["shuffled", "frozen"]
    assert found["orders"]["frozen"]["video_hit_at_1_change_interval"] == [-1, -1]
    assert found["orders"]["frozen"]["classes"]["class0"]["video_hit_at_1_change"] == -1
    assert found["orders"]["reversed"]["classes"]["class0"] == {"ap_change": 0, "video_hit_at_1_change": 0}


def test_a_class_without_a_video_has_no_numbers():
    scores = made_scores([[0.5, 0.2, 0.3], [0.1, 0.7, 0.2]], [[1, 0, 0], [0, 1, 0]])
    result = evaluated(
        Evaluation({"run": {"forward": scores}}, groups={"empty": ["class2"], "half": ["class1", "class2"]})
    )
    assert result["classes"]["class2"] == {"videos": 0, "video_hit_at_1": None, "ap": None}
    assert result["map"] == 1
    assert result["map_by_group"] == {"empty": None, "half": 1}
    assert result["map_by_group_intervals"] == {"empty": None, "half": [1, 1]}
    json.dumps(result, allow_nan=False)


class TrueScore(ClipMetric):
    """The score of the first true class."""

    def __init__(self, name="true_score", dtype=None):
        super().__init__(name, dtype)

    def numpy_values(self, is_true, scores):
        return scores[np.arange(len(scores)), is_true.argmax(axis=1)]


def test_a_registered_metric_is_evaluated_for_clips_and_videos(monkeypatch):
    monkeypatch.setitem(METRICS, "true_score", (__name__, "TrueScore"))
    scores = made_scores([[0.5, 0.5], [0.9, 0.1]], [[1, 0], [0, 1]], clips=3)
    result = evaluated(of_one(scores))
    assert list(result)[:5] == ["clip_hit_at_1", "video_hit_at_1", "clip_true_score", "video_true_score", "map"]
    assert result["clip_true_score"] == pytest.approx(0.3)
    assert result["intervals"]["video_true_score"] == pytest.approx([0.1, 0.5])
    assert result["chance"]["clip_true_score"] is None
