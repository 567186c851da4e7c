import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import coverage_error

from deepvideo_tf.metrics import METRICS, training_metrics
from deepvideo_tf.metrics.hit_at_k import HitAtK, hits_at_k


def reference(is_true, scores, k):
    """Hit@k one example at a time: rank all classes, wrong ones first among equals."""
    hits = []
    for truth, row in zip(is_true, scores, strict=True):
        known = np.where(np.isnan(row), -np.inf, row)
        ranked = sorted(range(len(row)), key=lambda label: (-known[label], truth[label]))
        hits.append(any(truth[label] for label in ranked[:k]))
    return np.array(hits)


@st.composite
def cases(draw):
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    is_true = draw(hnp.arrays(bool, shape))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0, float("nan")])))
    return is_true, scores, draw(st.integers(1, shape[1]))


@given(cases())
def test_numpy_agrees_with_the_reference(case):
    np.testing.assert_array_equal(hits_at_k(*case), reference(*case))


@given(cases())
def test_hits_agree_with_scikit_learn(case):
    """Its coverage error is the rank of the lowest true label, the last of its equals; here of the best one alone."""
    is_true, scores, k = case
    hits = []
    for truth, row in zip(is_true, np.where(np.isnan(scores), -9, scores), strict=True):
        best = max(np.flatnonzero(truth), key=lambda label: row[label], default=None)
        kept = [label for label in range(len(row)) if not truth[label] or label == best]
        # One wrong class more, far below, since there must be two at least.
        ranked = [[*truth[kept], False]], [[*row[kept], -99]]
        hits.append(best is not None and coverage_error(*ranked) <= k)
    np.testing.assert_array_equal(hits_at_k(is_true, scores, k), hits)


@settings(deadline=None)
@given(cases())
def test_keras_agrees_with_numpy(case):
    is_true, scores, k = case
    metric = HitAtK(k)
    metric.update_state(is_true / np.maximum(is_true.sum(-1, keepdims=True), 1), scores)
    assert float(metric.result()) == pytest.approx(hits_at_k(is_true, scores, k).mean(), abs=1e-6)


def test_a_model_that_answers_the_same_for_all_scores_nothing():
    assert not hits_at_k(np.eye(3, dtype=bool), np.ones((3, 3)), 1).any()
    assert hits_at_k(np.eye(3, dtype=bool), np.ones((3, 3)), 3).all()


def test_a_model_that_answers_no_numbers_scores_nothing():
    assert not hits_at_k(np.eye(3, dtype=bool), np.full((3, 3), np.nan), 1).any()


def test_it_accumulates_and_is_serialised():
    metric = HitAtK(2)
    assert metric.name == "hit_at_2"
    metric.update_state([[1.0, 0.0, 0.0]], [[3.0, 2.0, 1.0]])
    metric.update_state([[0.0, 0.0, 1.0]], [[3.0, 2.0, 1.0]])
    assert float(metric.result()) == 0.5
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (again.k, again.name) == (2, "hit_at_2")


@pytest.mark.parametrize("k", [0, -1, 1.5, "1"])
def test_bad_k(k):
    with pytest.raises(ValueError, match="k must be"):
        HitAtK(k)


def test_registered_metrics_have_the_names_of_the_registry():
    assert [metric.name for metric in training_metrics()] == list(METRICS)


@pytest.mark.parametrize("metric", training_metrics(), ids=METRICS)
@settings(deadline=None)
@given(case=cases())
def test_registered_metrics_are_the_same_in_keras_and_numpy(metric, case):
    is_true, scores, _ = case
    values = keras.ops.convert_to_numpy(metric.values(is_true.astype("float32"), scores))
    np.testing.assert_allclose(values, metric.numpy_values(is_true, scores), atol=1e-6)


def test_chance_is_the_mean_over_random_rankings():
    is_true = np.array([[True, False, False, False], [True, True, False, False]])
    every = [hits_at_k(is_true, np.array([order, order]), 2) for order in itertools.permutations(range(4))]
    chance = HitAtK(2).chance(is_true.sum(axis=1), 4, weights=np.array([1, 3]))
    assert chance == pytest.approx(np.average(np.mean(every, axis=0), weights=[1, 3]))
