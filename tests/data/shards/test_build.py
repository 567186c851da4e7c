import hashlib
import json
import shutil
import sys
from pathlib import Path

import filelock
import pytest
import tensorflow as tf

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import Annotations, LabelledVideo
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.data.shards.records import parse_record
from deepvideo_tf.errors import ConfigError, ShardError
from tests.support.files import hashes, rewrite_manifest

SPEC = dv.ShardSpec(clips_per_video=2, frame_size_px=32)


def build(videos, shards_dir, **arguments):
    return dv.build_shards(videos, shards_dir, **{"spec": SPEC, "num_shards": 3, "num_workers": 2} | arguments)


@pytest.fixture(scope="module")
def videos(synthetic_videos):
    return dv.read_folder(synthetic_videos)


@pytest.fixture(scope="module")
def built(videos, tmp_path_factory):
    shards_dir = tmp_path_factory.mktemp("built")
    build(videos, shards_dir)
    return shards_dir


@pytest.fixture
def some_bad(synthetic_videos, tmp_path):
    """The synthetic videos with two bad ones among them."""
    root = tmp_path / "videos"
    shutil.copytree(synthetic_videos, root)
    (root / "moves_up/0000.mp4").write_bytes(b"")
    (root / "moves_left/0001.mp4").write_text("this is no video")
    return dv.read_folder(root)


def test_a_build_is_whole(videos, built):
    manifest = read_manifest(built, "train")
    assert sorted(path.name for path in built.glob("*.tfrecord")) == [
        f"train-{number:05d}-of-00003.tfrecord" for number in range(3)
    ]
    assert manifest.classes == ("moves_down", "moves_left", "moves_right", "moves_up")
    assert (manifest.listed, manifest.used, manifest.skipped, manifest.records) == (16, 16, (), 32)
    assert manifest.spec == SPEC
    for shard in manifest.shards:
        data = (built / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert not [path for path in built.iterdir() if path.name.startswith(".train-build/")]
    assert not (built / ".train-build").exists()


def test_records_hold_what_was_built(videos, built):
    labels = {video.video_id: video.labels for video in videos.videos}
    seen = []
    for shard in read_manifest(built, "train").shards:
        for record in tf.data.TFRecordDataset(str(built / shard["name"])).map(parse_record).as_numpy_iterator():
            video_id = record["video_id"].decode()
            assert tuple(record["labels"]) == labels[video_id]
            assert record["frame_rate_fps"] == 25.0
            assert [tf.io.decode_jpeg(frame).shape for frame in record["frames"]] == [(32, 32, 3)] * 16
            seen.append((video_id, int(record["clip_index"]), round(float(record["start_s"]), 4)))
    # 40 frames at 25 a second: the second clip starts 24 frames in.
    assert sorted(seen) == sorted(
        (video_id, index, start) for video_id in labels for index, start in ((0, 0.0), (1, 0.96))
    )


def test_multiple_labels_are_kept(synthetic_videos, tmp_path):
    videos = Annotations(str(synthetic_videos), ("a", "b", "c"), (LabelledVideo("moves_up/0000.mp4", (0, 2)),))
    build(videos, tmp_path)
    (path,) = tmp_path.glob("*.tfrecord")
    record = next(tf.data.TFRecordDataset(str(path)).map(parse_record).as_numpy_iterator())
    assert record["labels"].tolist() == [0, 2]


def test_ray_is_asked_for_by_name_alone(videos, built, tmp_path, monkeypatch):
    """Where it is not installed: the local engine does not miss it, the other one says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    build(videos, tmp_path / "local")
    assert hashes(tmp_path / "local") == hashes(built)
    with pytest.raises(ConfigError, match=r"^engine=ray needs the extra: pip install 'deepvideo-tf\[ray\]'$"):
        build(videos, tmp_path / "ray", engine="ray")
    assert not (tmp_path / "ray").exists()


def test_tasks_may_be_done_by_anything(videos, built, tmp_path):
    """Twice too, and in any order: what is there is found by the build, which makes the rest."""
    tasks = dv.shard_tasks(videos, tmp_path / "shards", spec=SPEC, num_shards=3)
    first = dv.make_shard(tasks[2])
    modified = Path(tasks[2].path).stat().st_mtime_ns
    assert dv.make_shard(tasks[2]) == first
    assert dv.make_shard(tasks[0])["videos"] == len(tasks[0].videos)
    Path(f"{tasks[1].path}.0123.tmp").write_bytes(b"half a shard of a worker that was killed")
    build(videos, tmp_path / "shards")
    assert hashes(tmp_path / "shards") == hashes(built)
    assert (tmp_path / "shards/train-00002-of-00003.tfrecord").stat().st_mtime_ns == modified
    assert not (tmp_path / "shards/.train-build").exists()


@pytest.mark.parametrize("num_workers", [1, 2, 8])
def test_bytes_do_not_depend_on_workers(videos, built, tmp_path, num_workers):
    build(videos, tmp_path, num_workers=num_workers)
    assert hashes(tmp_path) == hashes(built)


def test_a_finished_build_is_left_alone(videos, built):
    before = {path: path.stat().st_mtime_ns for path in built.iterdir() if path.suffix != ".lock"}
    assert build(videos, built) == read_manifest(built, "train")
    assert {path: path.stat().st_mtime_ns for path in built.iterdir() if path.suffix != ".lock"} == before


@pytest.mark.parametrize("change", [{"num_shards": 2}, {"spec": dv.ShardSpec(clips_per_video=1, frame_size_px=32)}])
def test_another_build_is_refused(videos, built, change):
    before = hashes(built)
    with pytest.raises(ShardError, match="holds train shards of other videos or with other settings"):
        build(videos, built, **change)
    assert hashes(built) == before


def test_bad_videos_are_listed_and_the_rest_is_built(some_bad, tmp_path, caplog):
    manifest = build(some_bad, tmp_path / "shards", max_bad_fraction=0.2)
    assert (manifest.listed, manifest.used) == (16, 14)
    assert [item["video_id"] for item in manifest.skipped] == ["moves_left/0001.mp4", "moves_up/0000.mp4"]
    assert manifest.skipped[1]["reason"] == "the file is empty"
    assert manifest.records == 28
    assert len([record for record in caplog.records if record.message.startswith("skipped ")]) == 2


def test_too_many_bad_videos_fail_and_leave_nothing(some_bad, tmp_path):
    with pytest.raises(ShardError, match=r"2 of 16 videos are bad, more than the part of 0.1 that max_bad_fraction"):
        build(some_bad, tmp_path / "shards", num_shards=16, num_workers=1)
    assert [path.name for path in (tmp_path / "shards").iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(ShardError, match="unfinished; run it again"):
        read_manifest(tmp_path / "shards", "train")
    # A mended video is taken up, and the shards without a bad one are not made again.
    notes = (tmp_path / "shards/.train-build").glob("*.json")
    good = [path for path in notes if not json.loads(path.read_text())["result"]["skipped"]]
    kept = {path.with_suffix(".tfrecord").stat().st_mtime_ns for path in good}
    assert kept
    (tmp_path / "videos/moves_up/0000.mp4").write_bytes((tmp_path / "videos/moves_up/0002.mp4").read_bytes())
    manifest = build(dv.read_folder(tmp_path / "videos"), tmp_path / "shards", num_shards=16)
    assert (manifest.used, len(manifest.skipped)) == (15, 1)
    made = {path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tfrecord")}
    assert kept < made


@pytest.mark.parametrize("note", ["", "{", "[]", '{"fingerprint": 1}', "\0"])
def test_damaged_notes_of_an_interrupted_build_cost_a_shard(videos, built, tmp_path, note):
    build_dir = tmp_path / ".train-build"
    build_dir.mkdir()
    (build_dir / "00000.json").write_text(note)
    (build_dir / "00000.tfrecord").write_bytes(b"half a sha")
    build(videos, tmp_path)
    assert hashes(tmp_path) == hashes(built)


def test_a_kill_between_the_last_renames_leaves_no_stray_shard(videos, built, tmp_path):
    for name in ("train-00000-of-00003.tfrecord", "train-00006-of-00007.tfrecord", "test-00000-of-00001.tfrecord"):
        (tmp_path / name).write_bytes(b"whole, of a build without a manifest")
    build(videos, tmp_path)
    (tmp_path / "test-00000-of-00001.tfrecord").unlink()  # another split's is not ours to remove
    assert hashes(tmp_path) == hashes(built)


def test_all_bad_fails(tmp_path):
    (tmp_path / "videos/a").mkdir(parents=True)
    (tmp_path / "videos/a/1.mp4").write_bytes(b"")
    with pytest.raises(ShardError):
        build(dv.read_folder(tmp_path / "videos"), tmp_path / "shards", max_bad_fraction=0.99)


def test_two_builders_exclude_each_other(videos, tmp_path):
    with (
        filelock.FileLock(tmp_path / ".train-build.lock"),
        pytest.raises(ShardError, match="another process is building its train shards"),
    ):
        build(videos, tmp_path)


def test_unwritable_places(videos, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ShardError, match="cannot be written"):
        build(videos, tmp_path / "file")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("split", "dev"), ("max_bad_fraction", 1.0), ("num_shards", 0), ("num_workers", 0)],
)
def test_bad_arguments(videos, tmp_path, argument, value):
    with pytest.raises(ConfigError, match=f"{argument} must"):
        build(videos, tmp_path / "shards", **{argument: value})
    assert not (tmp_path / "shards").exists()


class TestManifest:
    @pytest.fixture
    def copy(self, built, tmp_path):
        shutil.copytree(built, tmp_path / "shards")
        return tmp_path / "shards"

    def test_missing(self, built, tmp_path):
        with pytest.raises(ShardError, match="expected a folder of shards, found none"):
            read_manifest(tmp_path / "nowhere", "train")
        with pytest.raises(ShardError, match="expected shards of the split 'test', found train"):
            read_manifest(built, "test")

    def test_a_shard_cut_short(self, copy):
        path = next(copy.glob("*.tfrecord"))
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ShardError, match=f"{path.name}: expected .* bytes, as its manifest says"):
            read_manifest(copy, "train")

    def test_a_shard_gone(self, copy):
        next(copy.glob("*.tfrecord")).unlink()
        with pytest.raises(ShardError, match="no such file"):
            read_manifest(copy, "train")

    @pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 99}', '{"version": 2}', "\0"])
    def test_damaged(self, copy, text):
        (copy / "train-manifest.json").write_text(text)
        with pytest.raises(ShardError, match="train-manifest.json: "):
            read_manifest(copy, "train")

    def test_a_change_of_the_manifest_itself_is_found(self, copy):
        path = copy / "train-manifest.json"
        text = path.read_text()
        for old, new in (("moves_left", "moves_lift"), ('"used": ', '"used": 1')):
            changed = text.replace(old, new, 1)
            assert changed != text
            path.write_text(changed)
            with pytest.raises(ShardError, match="train-manifest.json: damaged: it does not match its own checksum"):
                read_manifest(copy, "train")

    def test_of_a_bad_spec(self, copy):
        path = copy / "train-manifest.json"
        rewrite_manifest(path, spec=json.loads(path.read_text())["spec"] | {"frame_size_px": -3})
        with pytest.raises(ShardError, match="frame_size_px must be"):
            read_manifest(copy, "train")


def test_real_videos(ucf101_6, tmp_path):
    """The first clips of UCF-101, jumbled time stamps and all."""
    videos = dv.read_list(ucf101_6 / "testlist01.txt", ucf101_6 / "videos", ucf101_6 / "classes.txt")
    part = Annotations(videos.video_root, videos.classes, videos.videos[::7])
    manifest = build(part, tmp_path)
    assert (manifest.listed, manifest.used, manifest.records) == (12, 12, 24)
