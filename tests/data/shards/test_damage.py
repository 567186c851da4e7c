"""Damaged shards: found by `verify_shards` with file and offset, passed over by the reader without losing the rest."""

import logging
import random
import shutil

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import Annotations
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset, naming_damage
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.data.shards.records import read_records
from deepvideo_tf.data.shards.verify import verify_shards
from deepvideo_tf.errors import ShardError

CLIP = dv.ClipSpec(crop_size_px=28)


@pytest.fixture
def shards(small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def shard(shards):
    return sorted(shards.glob("train-*.tfrecord"))[1]


def offsets(path):
    return [offset for offset, _ in read_records(path, pytest.fail)]


def flip(path, byte, bit=0):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def test_the_reader_gives_what_tensorflows_gives(shard):
    import tensorflow as tf

    expected = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    assert [record for _, record in read_records(shard, pytest.fail)] == expected
    assert len(expected) == 12


def test_whole_shards_have_no_problem(shards):
    assert verify_shards(shards, "train") == []


def damage_of(shards, shard):
    problems = verify_shards(shards, "train")
    assert {problem["file"] for problem in problems} == {str(shard)}
    return problems


def check_flips(shards, shard, count):
    """Each flipped bit is found, at the beginning of the record that it lies in."""
    whole, starts = shard.read_bytes(), offsets(shard)
    rng = random.Random(0)
    for _ in range(count):
        byte = rng.randrange(len(whole))
        flip(shard, byte, rng.randrange(8))
        (problem, *_) = damage_of(shards, shard)
        assert problem["offset"] == max(start for start in starts if start <= byte)
        shard.write_bytes(whole)


def test_flipped_bits_are_found_where_they_are(shards, shard):
    check_flips(shards, shard, 30)


@pytest.mark.long
def test_a_thousand_flipped_bits_are_found_where_they_are(shards, shard):
    check_flips(shards, shard, 1000)


def check_truncations(shards, shard, lengths):
    whole, starts = shard.read_bytes(), offsets(shard)
    for length in lengths:
        shard.write_bytes(whole[:length])
        problems = damage_of(shards, shard)
        assert problems[-1] == {
            "file": str(shard),
            "offset": length,
            "problem": f"cut off: expected {len(whole)} bytes, found {length}",
        }
        if length not in starts:
            assert problems[0]["offset"] == max(start for start in starts if start < length)


def test_truncated_shards_are_found(shards, shard):
    """Also those that end between two records, which a TFRecord does not show."""
    whole, starts = shard.stat().st_size, offsets(shard)
    check_truncations(shards, shard, [0, 1, 11, 12, starts[3], starts[3] + 5, starts[-1], whole - 1])


@pytest.mark.long
def test_every_truncation_of_a_small_shard_is_found(synthetic_videos, tmp_path):
    videos = dv.read_folder(synthetic_videos)
    few = Annotations(videos.video_root, videos.classes, videos.videos[:2])
    spec = dv.ShardSpec(clips_per_video=2, frame_size_px=16, jpeg_quality=20)
    dv.build_shards(few, tmp_path, spec=spec, num_shards=1)
    (shard,) = tmp_path.glob("*.tfrecord")
    check_truncations(tmp_path, shard, range(shard.stat().st_size))


def test_other_files_and_missing_ones_are_found(shards, shard):
    extra = shards / "train-00009-of-00010.tfrecord"
    shutil.copy(shard, extra)
    shard.write_bytes(shard.read_bytes() * 2)
    other = sorted(shards.glob("train-*.tfrecord"))[0]
    size = len(shard.read_bytes()) // 2
    other.unlink()
    assert [tuple(problem.values()) for problem in verify_shards(shards, "train")] == [
        (str(other), None, "no such file"),
        (str(shard), size, f"{size} bytes too many"),
        (str(extra), None, "not in the manifest"),
    ]


def video_ids(shards, **arguments):
    dataset = make_evaluation_dataset(shards, "train", CLIP, num_views=1, **arguments)
    return [video_id.decode() for _, _, ids in dataset.as_numpy_iterator() for video_id in ids]


@pytest.mark.parametrize("where", ["data", "checksum", "length"])
def test_a_damaged_record_costs_itself_and_no_other(shards, shard, where, caplog):
    before = video_ids(shards)
    start, following = offsets(shard)[4:6]
    flip(shard, {"data": start + 500, "checksum": following - 2, "length": start}[where])
    with caplog.at_level(logging.WARNING):
        after = video_ids(shards, max_bad_fraction=0.1)
    assert after == before[:16] + before[17:]  # 12 records in the first shard, 4 in the second
    assert f"{shard} at byte {start}" in caplog.text
    assert "1 damaged records of 36 skipped" in caplog.text


@pytest.mark.parametrize("records", [1, 12])
def test_in_training_others_stand_in(shards, shard, records):
    for start in offsets(shard)[:records]:
        flip(shard, start + 500)
    dataset = dv.make_dataset(shards, "train", CLIP, training=True, batch_size=4, max_bad_fraction=0.4)
    for _ in range(2):
        batches = list(dataset.as_numpy_iterator())
        assert [len(clips) for clips, _ in batches] == [4] * 9


def test_too_many_damaged_records_fail_and_name_the_first(shards, shard):
    starts = offsets(shard)
    for number in (2, 5):
        flip(shard, starts[number] + 500)
    assert len(video_ids(shards, max_bad_fraction=0.06)) == 34
    with pytest.raises(ShardError, match=f"{shard.name}: damaged at byte {starts[2]}"), naming_damage(shards, "train"):
        video_ids(shards, max_bad_fraction=0.05)
    dataset = dv.make_dataset(shards, "train", CLIP, training=True)
    with pytest.raises(ShardError, match="does not match its checksum"), naming_damage(shards, "train"):
        list(dataset)


def test_used_and_skipped_are_the_listed_ones(shards):
    manifest = read_manifest(shards, "train")
    assert manifest.listed == manifest.used + len(manifest.skipped)
    assert manifest.records == len(video_ids(shards))
    np.testing.assert_equal(sum(shard["videos"] for shard in manifest.shards), manifest.used)
