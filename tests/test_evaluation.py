import json
import shutil

import keras
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.dataset import make_evaluation_dataset
from deepvideo_tf.data.shards import check_classes
from deepvideo_tf.errors import ConfigError, ModelFileError, ShardError
from deepvideo_tf.training.checkpoints import load_run
from tests.conftest import flip_a_bit, rewrite_manifest


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


def test_batches_change_nothing(small_run, small_shards):
    counted = []
    one = dv.evaluate(small_run, small_shards, batch_size=1)
    assert dv.evaluate(small_run, small_shards, batch_size=5, on_batch=counted.append)["per_video"] == one["per_video"]
    assert counted == [5, 5, 2]


def test_fewer_classes_than_five_have_no_hit_at_5(small_run, small_shards):
    assert "video_hit_at_5" not in dv.evaluate(small_run, small_shards)
    with pytest.raises(ConfigError, match="k must be a whole number from 1 to the 4 classes. Received: 5"):
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


def test_a_damaged_shard_is_named(small_run, small_shards, tmp_path):
    shards_dir = tmp_path / "shards"
    shutil.copytree(small_shards, shards_dir)
    path = sorted(shards_dir.glob("test-*.tfrecord"))[1]
    flip_a_bit(path)
    with pytest.raises(ShardError, match=f"{path.name}: damaged at byte "):
        dv.evaluate(small_run, shards_dir)
