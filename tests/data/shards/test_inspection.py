"""What shards hold, as numbers and as a picture; and what must not stand on both sides of a split."""

import shutil

import numpy as np
import pytest
from PIL import Image

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import Annotations, LabelledVideo
from deepvideo_tf.data.shards.inspection import splits_in, statistics_of, write_contact_sheet
from deepvideo_tf.errors import ConfigError, ShardError
from tests.support.files import flip_a_bit
from tests.support.videos import write_video

SPEC = dv.ShardSpec(clips_per_video=2, frame_size_px=64)


def test_statistics(small_shards):
    found = statistics_of(small_shards, "train")
    assert (found["videos"], found["clips"], found["skipped"]) == (12, 36, 0)
    assert found["clips_per_video"] == (3, 3, 3)
    assert found["seconds"] == pytest.approx((1.6, 1.6, 1.6), abs=0.01)  # 40 frames, 25 a second
    assert list(found["classes"]) == ["moves_down", "moves_left", "moves_right", "moves_up"]
    assert all(of_class == {"videos": 3, "clips": 9} for of_class in found["classes"].values())
    assert found["bytes"] == sum(path.stat().st_size for path in small_shards.glob("train-*.tfrecord"))


@pytest.mark.parametrize("frame_format", ["jpeg", "raw"])
def test_the_contact_sheet_shows_frames_of_every_class(synthetic_videos, tmp_path, frame_format):
    spec = dv.ShardSpec(clips_per_video=1, frame_size_px=48, frame_format=frame_format)
    dv.build_shards(dv.read_folder(synthetic_videos), tmp_path, spec=spec, num_shards=2)
    path = tmp_path / "sheet.png"
    write_contact_sheet(tmp_path, "train", path, clips=8)
    sheet = np.asarray(Image.open(path)).astype(float)
    assert sheet.shape == (8 * (96 + 16), 8 * 96, 3)
    for row in range(8):
        strip = sheet[row * 112 : (row + 1) * 112]
        assert (strip[:16] < 128).any()  # the label
        frames = strip[16:].reshape(96, 8, 96, 3).swapaxes(0, 1)
        assert all(frame.std() > 10 for frame in frames)
        assert np.abs(np.diff(frames, axis=0)).mean() > 5  # it moves


def test_bad_arguments(small_shards, tmp_path):
    for path, clips in ((tmp_path / "a.jpg", 3), (tmp_path / "a.png", 0)):
        with pytest.raises(ConfigError, match="ends in .png and 1 clip or more"):
            write_contact_sheet(small_shards, "train", path, clips=clips)
    with pytest.raises(ShardError, match="expected shards of the split 'train', found none"):
        splits_in(tmp_path)


def test_damage_is_named(small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards")
    path = sorted((tmp_path / "shards").glob("train-*.tfrecord"))[0]
    flip_a_bit(path)
    with pytest.raises(ShardError, match=f"{path.name}: damaged at byte "):
        statistics_of(tmp_path / "shards", "train")


def textured(seed, num_frames=40, size_px=96):
    """A video of large random blobs that drift."""
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(rough).resize((size_px, size_px), Image.Resampling.BICUBIC))
    return np.stack([np.roll(picture, number, axis=1) for number in range(num_frames)])


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """Shards of a split in which a video, a group and a copy stand on both sides."""
    root = tmp_path_factory.mktemp("leaking")
    (root / "a").mkdir()
    for number, name in enumerate(("both", "v_Run_g01_c01", "v_Run_g01_c02", "v_Run_g02_c01", "original", "other")):
        write_video(root / f"a/{name}.mp4", textured(number))
    # The same scene, encoded anew: smaller, brighter, with another codec.
    copy = [np.asarray(Image.fromarray(frame).resize((80, 80))) for frame in textured(4)]
    write_video(root / "a/copy.mp4", np.clip(np.stack(copy).astype(int) + 12, 0, 255).astype(np.uint8), codec="mpeg4")
    write_video(root / "a/grey.mp4", np.full((40, 96, 96, 3), 128, np.uint8))
    write_video(root / "a/grey_too.mp4", np.full((40, 96, 96, 3), 130, np.uint8))

    def videos(*names):
        return Annotations(str(root), ("a",), tuple(LabelledVideo(f"a/{name}.mp4", (0,)) for name in names))

    train = videos("both", "v_Run_g01_c01", "original", "grey")
    test = videos("both", "v_Run_g01_c02", "v_Run_g02_c01", "copy", "other", "grey_too")
    for split, part in (("train", train), ("test", test)):
        dv.build_shards(part, root / "shards", split=split, spec=SPEC, num_shards=1)
    return root / "shards"


def test_the_audit_finds_what_leaks_and_nothing_else(leaking):
    found = {finding["kind"]: finding for finding in dv.audit_splits(leaking)}
    assert len(dv.audit_splits(leaking)) == 3
    assert found["same video"]["videos"] == ("a/both.mp4", "a/both.mp4")
    assert found["same group"]["videos"] == ("a/v_Run_g01_c01.mp4", "a/v_Run_g01_c02.mp4")
    assert found["near-duplicate"]["videos"] == ("a/original.mp4", "a/copy.mp4")
    assert found["near-duplicate"]["clips"] >= 1
    assert all(finding["splits"] == ("train", "test") for finding in found.values())


def test_a_clean_split_has_nothing_in_common(small_shards):
    assert dv.audit_splits(small_shards) == []


def test_plain_videos_are_compared_by_name_and_others_not_by_a_part_of_it(tmp_path):
    for name in ("plain", "clip #1", "clip #2"):
        seed = {"plain": None, "clip #1": 1, "clip #2": 2}[name]
        frames = np.full((40, 96, 96, 3), 90, np.uint8) if seed is None else textured(seed)
        write_video(tmp_path / f"{name}.mp4", frames)
    for split, names in (("train", ("plain", "clip #1")), ("test", ("plain", "clip #2"))):
        videos = tuple(LabelledVideo(f"{name}.mp4", (0,)) for name in names)
        part = Annotations(str(tmp_path), ("a",), videos)
        dv.build_shards(part, tmp_path / "shards", split=split, spec=SPEC, num_shards=1)
    (finding,) = dv.audit_splits(tmp_path / "shards")
    assert (finding["kind"], finding["videos"]) == ("same video", ("plain.mp4", "plain.mp4"))


def test_parts_of_one_video_are_the_same_video(synthetic_videos, tmp_path):
    path = "moves_up/0000.mp4"
    for split, part in (("train", LabelledVideo(path, (0,), 0.0, 0.7)), ("test", LabelledVideo(path, (0,), 0.8))):
        dv.build_shards(
            Annotations(str(synthetic_videos), ("a",), (part,)), tmp_path, split=split, spec=SPEC, num_shards=1
        )
    (finding,) = dv.audit_splits(tmp_path)
    assert (finding["kind"], finding["videos"]) == ("same video", (f"{path}#0-0.7", f"{path}#0.8-"))


def test_ucf101s_official_split_leaks(ucf101_6, tmp_path):
    """Groups 1 (test) and 10 (train) of BasketballDunk show one scene, as anybody can see: the audit finds no other."""
    for split in ("train", "test"):
        videos = dv.read_list(ucf101_6 / f"{split}list01.txt", ucf101_6 / "videos", ucf101_6 / "classes.txt")
        dunks = tuple(video for video in videos.videos if video.path.startswith(("BasketballDunk", "Surfing")))
        part = Annotations(videos.video_root, videos.classes, dunks)
        spec = dv.ShardSpec(clips_per_video=8, frame_size_px=64)
        dv.build_shards(part, tmp_path, split=split, spec=spec, num_shards=2)
    pairs = {finding["videos"] for finding in dv.audit_splits(tmp_path)}
    scenes = {tuple(video.rpartition("_")[0] for video in pair) for pair in pairs}
    assert scenes == {("BasketballDunk/v_BasketballDunk_g10", "BasketballDunk/v_BasketballDunk_g01")}
