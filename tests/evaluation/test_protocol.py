import json
import shutil

import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.data.shards.manifest import check_classes
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError
from deepvideo_tf.evaluation import protocol, scoring
from deepvideo_tf.evaluation.scores import read, scores_path
from deepvideo_tf.runs.run import load_run
from tests.support.files import flip_a_bit, rewrite_manifest


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run, without scores."""
    ignore = shutil.ignore_patterns("scores-*", "saved_model")
    return shutil.copytree(small_run, tmp_path / "run", ignore=ignore)


@pytest.fixture(scope="module")
def frame_run(small_shards, tmp_path_factory):
    """The folder of a run that sees one frame of another size."""
    workdir = tmp_path_factory.mktemp("runs") / "frame_run"
    clip = dv.ClipSpec(crop_size_px=30, flip=False)
    dv.train(dv.TrainConfig(model="single_frame", clip=clip, width=0.05, num_epochs=1), small_shards, workdir)
    return workdir


def test_the_papers_protocol_step_by_step(small_run, small_shards):
    """Section 4.1: views averaged into clips, clips into videos; here one view at a time."""
    result = dv.evaluate(small_run, small_shards, ks=(1, 2, 4))
    run = load_run(small_run)
    by_video, clip_hits = {}, []
    for views, targets, ids in make_evaluation_dataset(
        small_shards, "test", run.card.clip, batch_size=1
    ).as_numpy_iterator():
        of_clip = np.mean([keras.ops.softmax(run.model(view[None]))[0] for view in views[0]], axis=0)
        clip_hits.append(of_clip.argmax() == targets[0].argmax())
        by_video.setdefault(ids[0].decode(), (targets[0].argmax(), []))[1].append(of_clip)
    ranks = [(np.mean(scores, axis=0) > np.mean(scores, axis=0)[label]).sum() for label, scores in by_video.values()]
    assert (result["videos"], result["clips"], result["views"]) == (4, 12, 4)
    assert result["clip_hit_at_1"] == pytest.approx(np.mean(clip_hits))
    for k in (1, 2, 4):
        assert result[f"video_hit_at_{k}"] == pytest.approx(np.mean([rank < k for rank in ranks]))
    assert [row["video_id"] for row in result["per_video"]] == list(by_video)
    assert all(row["labels"] == [row["video_id"].split("/")[0]] for row in result["per_video"])
    of_classes = [of_class["video_hit_at_1"] for of_class in result["classes"].values()]
    assert np.mean(of_classes) == pytest.approx(result["video_hit_at_1"])
    json.dumps(result)


def test_batches_change_nothing(run, small_shards):
    one = dv.evaluate(run, small_shards, batch_size=1, motion=True)
    for path in run.glob("scores-*"):
        path.unlink()
    counted = []
    several = dv.evaluate(run, small_shards, batch_size=5, motion=True, on_batch=counted.append)
    assert several["per_video"] == one["per_video"]
    assert several["motion"]["orders"]["shuffled"]["map"] == one["motion"]["orders"]["shuffled"]["map"]
    assert counted == [5, 5, 2]


def test_fewer_classes_than_five_have_no_hit_at_5(small_run, small_shards):
    assert "video_hit_at_5" not in dv.evaluate(small_run, small_shards)
    with pytest.raises(ConfigError, match="k must be an integer from 1 to the 4 classes. Received: 5"):
        dv.evaluate(small_run, small_shards, ks=(5,))


def test_other_classes_are_refused(small_run, small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards")
    path = tmp_path / "shards/test-manifest.json"
    rewrite_manifest(path, classes=json.loads(path.read_text())["classes"][::-1])
    with pytest.raises(ShardError, match="the same classes in another order"):
        dv.evaluate(small_run, tmp_path / "shards")
    with pytest.raises(ShardError, match=r"other classes \(2, not 1; only one side has b\)"):
        check_classes("run", ("a",), "shards", ("a", "b"))


@pytest.mark.parametrize(("name", "value"), [("frame_size_px", 40), ("frame_rate_fps", 3.0)])
def test_clips_of_another_kind_are_refused(small_run, small_shards, tmp_path, name, value):
    shutil.copytree(small_shards, tmp_path / "shards")
    path = tmp_path / "shards/test-manifest.json"
    rewrite_manifest(path, spec=json.loads(path.read_text())["spec"] | {name: value})
    with pytest.raises(ModelFileError, match=f"was trained on clips of {name}=.*, those in .* have {value}"):
        dv.evaluate(small_run, tmp_path / "shards")


def test_a_damaged_shard_is_named(run, small_shards, tmp_path):
    shards_dir = tmp_path / "shards"
    shutil.copytree(small_shards, shards_dir)
    path = sorted(shards_dir.glob("test-*.tfrecord"))[1]
    flip_a_bit(path)
    with pytest.raises(ShardError, match=f"{path.name}: damaged at byte "):
        dv.evaluate(run, shards_dir)


def test_average_precision_is_that_of_the_videos_scores(small_run, small_shards):
    result = dv.evaluate(small_run, small_shards)
    scores = read(scores_path(small_run, "test"))
    expected = [
        average_precision_score(truth, of_class)
        for truth, of_class in zip(scores.is_true.T, scores.video_scores.T, strict=True)
    ]
    assert [of_class["ap"] for of_class in result["classes"].values()] == pytest.approx(expected)
    assert result["map"] == pytest.approx(np.mean(expected))
    assert result["map_by_group"] == {}
    names = list(result["classes"])
    groups = {"first two": names[:2], "last": names[3:]}
    grouped = dv.evaluate(small_run, small_shards, groups=groups)
    assert grouped["map_by_group"] == pytest.approx({"first two": np.mean(expected[:2]), "last": expected[3]})
    for group, (low, high) in grouped["map_by_group_intervals"].items():
        assert low <= grouped["map_by_group"][group] <= high
    with pytest.raises(ConfigError, match="groups: the group 'none' names 'swim', which is not one of the 4 classes"):
        dv.evaluate(small_run, small_shards, groups={"none": ["swim"]})


def test_ucf101_gets_the_papers_groups(small_run, small_shards, tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "ucf101_groups", lambda classes: {"Sports": list(classes[:1])})
    result = dv.evaluate(small_run, small_shards)
    assert result["map_by_group"] == {"Sports": next(iter(result["classes"].values()))["ap"]}


def test_intervals_are_percentiles_over_resampled_videos(small_run, small_shards):
    result = dv.evaluate(small_run, small_shards, ks=(1, 2))
    scores = read(scores_path(small_run, "test"))
    labels, videos = scores.is_true.argmax(axis=1), scores.clip_videos
    clip_hits = scores.clip_scores.argmax(axis=1) == labels[videos]
    top_2 = np.argsort(-scores.video_scores, axis=1)[:, :2]
    rng, clip_means, video_means = np.random.default_rng(0), [], []
    for _ in range(1000):
        drawn = rng.integers(0, 4, 4)
        clip_means.append(np.mean([hit for video in drawn for hit in clip_hits[videos == video]]))
        video_means.append(np.mean([labels[video] in top_2[video] for video in drawn]))
    assert result["intervals"]["clip_hit_at_1"] == pytest.approx(np.percentile(clip_means, [2.5, 97.5]))
    assert result["intervals"]["video_hit_at_2"] == pytest.approx(np.percentile(video_means, [2.5, 97.5]))
    assert (result["intervals"]["resamples"], result["intervals"]["map_resamples"]) == (1000, 1000)


def test_an_ensemble_is_the_mean_of_its_members(small_run, frame_run, small_shards, tmp_path):
    result = dv.evaluate(tmp_path / "average", small_shards, ensemble=[small_run, frame_run])
    assert result["runs"] == [str(small_run), str(frame_run)]
    one, other = (read(scores_path(run, "test")) for run in (small_run, frame_run))
    mean = (one.video_scores + other.video_scores) / 2
    assert [row["probability"] for row in result["per_video"]] == pytest.approx(mean.max(axis=1), abs=1e-6)
    assert result["video_hit_at_1"] == np.mean(mean.argmax(axis=1) == one.is_true.argmax(axis=1))
    clips = (one.clip_scores + other.clip_scores) / 2
    assert result["clip_hit_at_1"] == np.mean(clips.argmax(axis=1) == one.is_true.argmax(axis=1)[one.clip_videos])
    assert not (tmp_path / "average").exists()


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [("RUN", "ensemble must be a list of folders of runs. Received: 'RUN'"), (["RUN", "RUN/."], "each run once")],
)
def test_ensembles_that_are_none(ensemble, message, small_shards):
    with pytest.raises(ConfigError, match=message):
        dv.evaluate("average", small_shards, ensemble=ensemble)


def test_a_bad_member_is_reported_before_the_first_pass(run, small_shards, tmp_path):
    for arguments in ({"ensemble": [run, tmp_path / "none"]}, {"against": tmp_path / "none"}):
        with pytest.raises(ModelFileError, match="none: expected the folder of a trained run"):
            dv.evaluate(run, small_shards, **arguments)
    assert not list(run.glob("scores-*"))


def test_gains_and_losses_against_another_run(small_run, frame_run, small_shards):
    result = dv.evaluate(small_run, small_shards, against=frame_run)
    other = dv.evaluate(frame_run, small_shards)
    against = result["against"]
    difference = {name: of["ap"] - other["classes"][name]["ap"] for name, of in result["classes"].items()}
    assert against["ap_difference"] == pytest.approx(difference)
    for rows, sign in ((against["gains"], 1), (against["losses"], -1)):
        assert all(row["ap_difference"] == pytest.approx(difference[row["class"]]) for row in rows)
        values = sorted((value for value in difference.values() if value * sign > 0), key=lambda value: -value * sign)
        assert [row["ap_difference"] for row in rows] == pytest.approx(values)
    assert against["video_hit_at_1"] == other["video_hit_at_1"]
    assert against["video_hit_at_1_difference"] == pytest.approx(result["video_hit_at_1"] - other["video_hit_at_1"])
    assert against["map_difference"] == pytest.approx(result["map"] - other["map"])
    low, high = against["interval"]
    assert low <= against["video_hit_at_1_difference"] <= high
    json.dumps(result, allow_nan=False)


def test_motion_is_what_reordered_clips_change(run, small_shards):
    result = dv.evaluate(run, small_shards, motion=True)
    assert list(result["motion"]["orders"]) == ["shuffled", "reversed", "frozen"]
    for order, found in result["motion"]["orders"].items():
        scores = read(scores_path(run, "test", order))
        labels = scores.is_true.argmax(axis=1)
        assert found["video_hit_at_1"] == np.mean(scores.video_scores.argmax(axis=1) == labels)
        assert found["clip_hit_at_1"] == np.mean(scores.clip_scores.argmax(axis=1) == labels[scores.clip_videos])
        for name in ("video_hit_at_1", "clip_hit_at_1", "map"):
            assert found[f"{name}_change"] == pytest.approx(found[name] - result[name])
        changes = [of_class["ap_change"] for of_class in found["classes"].values()]
        assert np.mean(changes) == pytest.approx(found["map_change"])
        low, high = found["clip_hit_at_1_change_interval"]
        assert low <= found["clip_hit_at_1_change"] <= high
    json.dumps(result, allow_nan=False)


def test_one_frame_shows_no_motion(frame_run, small_run, small_shards):
    motion = dv.evaluate(frame_run, small_shards, motion=True)["motion"]
    assert motion["note"] == "the model sees one frame of each clip: no order changes anything"
    assert motion["orders"] == {}
    assert not scores_path(frame_run, "test", "frozen").exists()
    both = dv.evaluate("both", small_shards, ensemble=[frame_run, small_run], motion=True)
    assert list(both["motion"]["orders"]) == ["shuffled", "reversed", "frozen"]


def test_a_second_evaluation_makes_no_second_pass(run, small_shards, monkeypatch):
    first = dv.evaluate(run, small_shards, motion=True)
    monkeypatch.setattr(scoring, "make_evaluation_dataset", None)
    assert dv.evaluate(run, small_shards, motion=True) == first
