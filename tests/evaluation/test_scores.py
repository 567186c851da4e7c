"""Scores are computed once, kept whole, and not mistaken for others."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError
from deepvideo_tf.evaluation import averages, scoring
from deepvideo_tf.evaluation.averages import average_scores
from deepvideo_tf.evaluation.scores import Scores, read, save, scores_path
from deepvideo_tf.evaluation.scoring import in_time_order, score_run
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.runs.run import load_run
from tests.support.files import flip_a_bit


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, without scores."""
    ignore = shutil.ignore_patterns("scores-*", "saved_model")
    return shutil.copytree(small_run, tmp_path / "run", ignore=ignore)


@pytest.fixture
def no_second_pass(monkeypatch):
    """A function after which nothing more may be computed."""

    def forbid():
        monkeypatch.setattr(scoring, "make_evaluation_dataset", None)

    return forbid


def some_scores(seed=0, clip_videos=(0, 0, 1, 2, 2)):
    rng = np.random.default_rng(seed)
    return Scores(
        video_ids=("a/ä.mp4", "b", "c"),
        classes=("one", "two"),
        is_true=np.array([[True, False], [True, True], [False, True]]),
        video_scores=rng.random((3, 2)),
        clip_scores=rng.random((len(clip_videos), 2), np.float32),
        clip_videos=np.array(clip_videos),
        about={"models": [f"step-{seed}"], "split": "test"},
    )


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "deepvideo_tf.evaluation.scoring"]


def equal(one, other):
    arrays = ("is_true", "video_scores", "clip_scores", "clip_videos")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return same and (one.video_ids, one.classes, one.about) == (other.video_ids, other.classes, other.about)


def test_what_is_saved_is_read_and_clips_stay_on_the_disk(tmp_path):
    save(some_scores(), tmp_path / "scores.npz")
    found = read(tmp_path / "scores.npz")
    assert equal(found, some_scores())
    assert isinstance(found.clip_scores, np.memmap)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:  # as any reader would
        assert list(file["video_ids"]) == ["a/ä.mp4", "b", "c"]
        np.testing.assert_array_equal(file["clip_scores"], found.clip_scores)


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Each is either reported in one line, or is where nothing is stored."""
    path = tmp_path / "scores.npz"
    save(some_scores(), path)
    whole = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(whole), 400, replace=False):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(place) % 8]) + whole[place + 1 :])
        try:
            found = read(path)
        except ModelFileError:
            continue
        assert equal(found, some_scores())


@pytest.mark.parametrize("length", [0, 1, 30, 1000, -1, -22])
def test_a_file_that_is_cut_off(tmp_path, length):
    path = tmp_path / "scores.npz"
    save(some_scores(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelFileError, match="scores.npz: not a whole file of scores: "):
        read(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "scores.npz"
    with pytest.raises(ModelFileError, match="No such file"):
        read(path)
    good = some_scores()
    save(replace(good, video_scores=good.video_scores[:2]), path)
    with pytest.raises(ModelFileError, match=r"expected video_scores of float64\[3, 2\], found float64\[2, 2\]"):
        read(path)
    save(replace(good, clip_videos=np.array([0, 0, 1, 2, 9])), path)
    with pytest.raises(ModelFileError, match="expected clips of each of its videos"):
        read(path)
    np.savez_compressed(path, clip_scores=good.clip_scores)
    with pytest.raises(ModelFileError, match="compressed"):
        read(path)
    np.savez(path, clip_scores=good.clip_scores, about=np.array({}, dtype=object))
    with pytest.raises(ModelFileError, match="allow_pickle=False"):
        read(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.npz"
    save(some_scores(), path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ModelFileError, match="scores.npz: cannot be written: No space left on device"):
        save(some_scores(1), path)
    assert equal(read(path), some_scores())
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_are_means_of_views_and_of_clips(run, small_shards):
    found = score_run(run, small_shards, num_views=2, batch_size=5)["forward"]
    loaded = load_run(run)
    dataset = make_evaluation_dataset(small_shards, "test", loaded.card.clip, batch_size=1, num_views=2)
    clips, ids = [], []
    for views, _, video_ids in dataset.as_numpy_iterator():
        clips.append(np.mean([probabilities(loaded.card, loaded.model(view[None]))[0] for view in views[0]], axis=0))
        ids.append(video_ids[0].decode())
    np.testing.assert_allclose(found.clip_scores, clips, atol=1e-6)
    assert [found.video_ids[number] for number in found.clip_videos] == ids
    for number, video_id in enumerate(found.video_ids):
        of_video = [clip for clip, name in zip(clips, ids, strict=True) if name == video_id]
        np.testing.assert_allclose(found.video_scores[number], np.mean(of_video, axis=0), atol=1e-6)
        assert [found.classes[label] for label in np.flatnonzero(found.is_true[number])] == [video_id.split("/")[0]]


def test_there_is_no_second_pass(run, small_shards, no_second_pass):
    counted = []
    first = score_run(run, small_shards, batch_size=5, on_batch=counted.append)["forward"]
    assert counted == [5, 5, 2]
    no_second_pass()
    again = score_run(run, small_shards, on_batch=counted.append)["forward"]
    assert counted[3:] == [12]
    assert equal(first, again)


@pytest.mark.parametrize("num_views", [0, 6, 1.0])
def test_wrong_numbers_of_views(run, small_shards, num_views):
    with pytest.raises(ConfigError, match="num_views must be a whole number, from 1 to 5"):
        score_run(run, small_shards, num_views=num_views)


def test_what_does_not_match_is_computed_again(run, small_shards, caplog):
    path = scores_path(run, "test")
    first = score_run(run, small_shards, num_views=1)["forward"]
    assert not warnings_in(caplog)
    assert score_run(run, small_shards, num_views=2)["forward"].about["num_views"] == 2
    assert warnings_in(caplog) == [f"{path}: holds scores of something else (num_views); computed again"]

    save(replace(first, about=first.about | {"models": ["step-00000001-0.weights.h5"]}), path)
    assert equal(score_run(run, small_shards, num_views=1)["forward"], first)
    assert "(models); computed again" in warnings_in(caplog)[-1]

    path.write_bytes(path.read_bytes()[:-9])
    assert equal(score_run(run, small_shards, num_views=1)["forward"], first)
    assert "not a whole file of scores" in warnings_in(caplog)[-1]
    assert equal(read(path), first)


def test_scores_that_lack_damaged_clips_are_not_kept(run, small_shards, tmp_path, caplog):
    shards_dir = shutil.copytree(small_shards, tmp_path / "shards")
    shard = min(shards_dir.glob("test-*.tfrecord"))
    flip_a_bit(shard)
    assert len(score_run(run, shards_dir, max_bad_fraction=0.2, num_views=1)["forward"].clip_videos) == 11
    shutil.copy(small_shards / shard.name, shard)
    assert len(score_run(run, shards_dir, num_views=1)["forward"].clip_videos) == 12
    assert "lacks clips that were damaged; computed again" in warnings_in(caplog)[-1]


def test_outputs_that_are_not_finite_are_reported(run, small_shards, monkeypatch):
    monkeypatch.setattr(scoring, "probabilities", lambda card, logits: np.full(logits.shape, np.nan, np.float32))
    with pytest.raises(ModelFileError, match="the model's outputs are not finite"):
        score_run(run, small_shards)
    assert not scores_path(run, "test").exists()


def test_a_full_disk_is_reported(run, small_shards, monkeypatch):
    monkeypatch.setattr(averages.tempfile, "TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(ModelFileError, match="run: the scores cannot be written: No space left on device"):
        score_run(run, small_shards)


def test_all_orders_of_time_come_from_one_pass(run, small_shards, no_second_pass):
    orders = ("forward", "shuffled", "reversed", "frozen")
    counted = []
    found = score_run(run, small_shards, num_views=1, time_orders=orders, on_batch=counted.append)
    assert sum(counted) == 12
    loaded = load_run(run)
    dataset = make_evaluation_dataset(small_shards, "test", loaded.card.clip, batch_size=12, num_views=1)
    ((views, _, _),) = dataset.as_numpy_iterator()
    middle = np.repeat(views[:, 0, 5:6], 10, axis=1)
    for order, clips in (("frozen", middle), ("reversed", views[:, 0, ::-1]), ("forward", views[:, 0])):
        expected = probabilities(loaded.card, loaded.model(clips))
        np.testing.assert_allclose(found[order].clip_scores, expected, atol=1e-6)
    assert not np.allclose(found["shuffled"].clip_scores, found["forward"].clip_scores, atol=1e-6)
    no_second_pass()
    again = score_run(run, small_shards, num_views=1, time_orders=orders)
    assert all(equal(found[order], again[order]) for order in orders)


def test_frames_in_other_orders():
    views = np.arange(3 * 2 * 4).reshape(3, 2, 4, 1, 1, 1)
    assert (in_time_order(views, "forward", 0) == views).all()
    assert in_time_order(views, "reversed", 0)[1, 0].ravel().tolist() == [11, 10, 9, 8]
    assert in_time_order(views, "frozen", 0)[1, 0].ravel().tolist() == [10] * 4
    shuffled = in_time_order(views, "shuffled", 7)
    assert (np.sort(shuffled, axis=2) == views).all()
    for clip in range(3):
        assert (shuffled[clip, 1] - shuffled[clip, 0] == 4).all()  # the views of a clip go together
        assert (shuffled[clip : clip + 1] == in_time_order(views[clip : clip + 1], "shuffled", 7 + clip)).all()


def test_shuffling_changes_every_clip_and_not_all_alike():
    views = np.broadcast_to(np.arange(3).reshape(1, 1, 3, 1, 1, 1), (500, 1, 3, 1, 1, 1))
    orders = {tuple(order) for order in in_time_order(views, "shuffled", 0).reshape(500, 3).tolist()}
    assert len(orders) == 5  # all but the identity
    pairs = in_time_order(views[:, :, :2], "shuffled", 0)
    assert (pairs.reshape(500, 2) == [1, 0]).all()


def test_an_average_is_the_mean(tmp_path):
    one, other = some_scores(0), some_scores(1)
    found = average_scores({"one": one, "other": other}, folder=tmp_path)
    np.testing.assert_allclose(found.video_scores, (one.video_scores + other.video_scores) / 2)
    np.testing.assert_allclose(found.clip_scores, (one.clip_scores + other.clip_scores) / 2, atol=1e-7)
    assert found.about["models"] == ["step-0", "step-1"]
    assert average_scores({"one": one}) is one
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"classes": ("one", "three")}, "classes"),
        ({"video_ids": ("a/ä.mp4", "b", "d")}, "videos"),
        ({"is_true": np.ones((3, 2), bool)}, "videos"),
        ({"clip_videos": np.array([0, 1, 1, 2, 2])}, "clips"),
    ],
)
def test_scores_of_other_clips_are_not_averaged(changes, what):
    members = {"RUN1": some_scores(), "RUN2": replace(some_scores(), **changes)}
    with pytest.raises(ShardError, match=f"RUN1 and RUN2: expected scores of the same shards, found other {what}"):
        average_scores(members)
