import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from deepvideo_tf.metrics import bootstrap


def draws(num_videos, count):
    """Numbers of the videos of each resample, from the same seed as the package's, as a plain list."""
    rng = np.random.default_rng(bootstrap.SEED)
    return [list(rng.integers(0, num_videos, num_videos)) for _ in range(count)]


def ends(values):
    return [np.percentile(values, 2.5), np.percentile(values, 97.5)]


def test_means_agree_with_a_plain_loop_over_clips():
    """A video's clips stay together, and a video of many clips counts more."""
    rng = np.random.default_rng(1)
    clips = [list(rng.integers(0, 2, rng.integers(1, 5))) for _ in range(12)]
    found = bootstrap.mean_intervals(np.array([[sum(of)] for of in clips]), np.array([[len(of)] for of in clips]))
    means = []
    for drawn in draws(12, 1000):
        hits = [hit for video in drawn for hit in clips[video]]
        means.append(sum(hits) / len(hits))
    np.testing.assert_allclose(found[:, 0], ends(means))


def test_map_agrees_with_a_plain_loop(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    rng = np.random.default_rng(2)
    is_true, scores = rng.random((10, 3)) < 0.3, rng.integers(0, 5, (10, 3)) / 5
    is_true[0, 0] = True
    drawn = bootstrap.resampled_average_precision(is_true, scores)
    found, count = bootstrap.mean_interval(drawn), len(drawn)
    values = []
    for drawn in draws(10, 200):
        present = [label for label in range(3) if is_true[drawn, label].any()]
        if present:
            of_classes = [average_precision_score(is_true[drawn, label], scores[drawn, label]) for label in present]
            values.append(np.mean(of_classes))
    assert count == 200
    np.testing.assert_allclose(found, ends(values))


@pytest.mark.parametrize(
    ("name", "value", "count"), [("WORK", 80 * 300, 300), ("WEIGHTS", 20 * 200, 200), ("WORK", 1, 100)]
)
def test_big_sets_get_fewer_resamples_of_map(monkeypatch, name, value, count):
    monkeypatch.setattr(bootstrap, name, value)
    assert len(bootstrap.resampled_average_precision(np.ones((20, 4), bool), np.ones((20, 4)))) == count


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(100):
        hits = rng.random((100, 1)) < 0.6
        low, high = bootstrap.mean_intervals(hits, np.ones((100, 1)))[:, 0]
        held += low <= 0.6 <= high
    assert 88 <= held <= 99
