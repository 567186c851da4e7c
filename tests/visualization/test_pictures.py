import json
import shutil

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.visualization.pictures import PICTURES
from deepvideo_tf.visualization.pictures.draw import choose_pictures, draw_pictures
from deepvideo_tf.visualization.pictures.source import choose_videos, first_clips


def choose(is_right, count):
    is_true = np.tile([True, False], (len(is_right), 1))
    scores = np.where(np.array(is_right)[:, None], [0.9, 0.1], [0.1, 0.9])
    return choose_videos(is_true, scores, count)


def test_right_and_wrong_videos_are_shown_in_equal_parts():
    is_right = [number not in (3, 7) for number in range(10)]
    assert choose(is_right, 4) == [2, 8, 3, 7]
    assert choose(is_right, 8) == [0, 2, 4, 5, 8, 9, 3, 7]
    assert choose([True] * 4, 2) == [1, 3]
    assert choose([False] * 4, 2) == [1, 3]
    assert choose([True, False], 8) == [0, 1]


def test_what_a_run_cannot_have_is_told_and_left_out_of_all(small_run, tiny_run, tmp_path):
    assert choose_pictures(["all"], [small_run]) == tuple(PICTURES)
    assert choose_pictures(["ap", "filters"], [small_run]) == ("filters", "ap")
    assert choose_pictures(["all"], [small_run, tiny_run]) == ("predictions", "confusion", "ap")
    assert choose_pictures(["all"], [tiny_run]) == tuple(PICTURES)[:-1]
    with pytest.raises(ConfigError, match="cannot have views: it is of one run, and 2 are averaged here"):
        choose_pictures(["views"], [small_run, tiny_run])
    with pytest.raises(ConfigError, match="cannot have views: .* is a run of single_frame, which is no two-stream net"):
        choose_pictures(["ap", "views"], [tiny_run])
    with pytest.raises(ConfigError, match="pictures must be all, or names. Received: all,ap"):
        choose_pictures(["all", "ap"], [tiny_run])
    with pytest.raises(ConfigError, match="pictures must be one of all, filters, .*views. Received: 'maps'"):
        choose_pictures(["maps"], [tiny_run])
    with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
        choose_pictures(["ap"], [tmp_path])
    (shutil.copytree(tiny_run, tmp_path / "run") / "history.csv").unlink()
    assert "curves" not in choose_pictures(["all"], [tmp_path / "run"])


def test_the_clips_shown_are_the_first_of_their_videos(small_run, small_shards, small_config):
    dataset = make_evaluation_dataset(small_shards, "test", small_config.clip, num_views=1)
    every = [
        (video_id.decode(), view[0])
        for views, _, ids in dataset.as_numpy_iterator()
        for view, video_id in zip(views, ids, strict=True)
    ]
    wanted = every[-1][0]
    found = first_clips(small_shards, "test", small_config.clip, [wanted], 0.0)
    assert list(found) == [wanted]
    np.testing.assert_array_equal(found[wanted], next(clip for video_id, clip in every if video_id == wanted))


def test_pictures_say_in_numbers_what_is_on_them(small_run, small_shards, tmp_path):
    evaluation = dv.evaluate(small_run, small_shards, num_views=1, ks=[2])
    names = ("filters", "predictions", "confusion", "views")
    by_name = {picture["name"]: picture for picture in draw_pictures(names, evaluation, small_shards, tmp_path)}
    assert set(by_name["filters"]["numbers"]["colourfulness"]) == {"context", "fovea"}
    assert sum(by_name["predictions"]["numbers"].values()) == evaluation["videos"] == 4
    assert by_name["confusion"]["numbers"] == {"diagonal": int(np.trace(evaluation["confusion"])), "labels": 4}
    assert by_name["views"]["numbers"] == {"clip_px": 32, "views_px": {"context": 16, "fovea": 16}}
    assert f"test split of {small_shards.name}, 4 videos" in by_name["confusion"]["title"]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    draw_pictures(names[2:], evaluation, small_shards, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) - set(after) == {"filters.png", "predictions.png"}
    assert after["confusion.png"] == before["confusion.png"]
    assert [picture["name"] for picture in json.loads(after["pictures.json"])] == list(names[2:])
