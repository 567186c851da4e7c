import pytest

from deepvideo_tf.data.annotations import hold_out, read_folder
from deepvideo_tf.errors import AnnotationError, ConfigError


def test_hold_out_is_by_class_stable_and_never_all(tmp_path):
    for name, count in (("a", 8), ("b", 2), ("c", 41)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.mp4").write_bytes(b"x")
    videos = read_folder(tmp_path)
    train, test = hold_out(videos, 0.25)
    assert [sum(video.labels == (label,) for video in test.videos) for label in range(3)] == [2, 1, 10]
    assert sorted(train.videos + test.videos, key=str) == sorted(videos.videos, key=str)
    assert hold_out(videos, 0.25) == (train, test)
    # Another class beside them changes nothing for these.
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.mp4").write_bytes(b"x")
    (tmp_path / "d" / "2.mp4").write_bytes(b"x")
    assert {video.video_id for video in test.videos} <= {
        video.video_id for video in hold_out(read_folder(tmp_path), 0.25)[1].videos
    }


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_hold_out_needs_a_fraction(root, fraction):
    with pytest.raises(ConfigError, match="holdout_fraction must be"):
        hold_out(read_folder(root), fraction)


def test_hold_out_needs_two(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.mp4").write_bytes(b"x")
    with pytest.raises(AnnotationError, match="expected at least 2 videos of the class 'a'"):
        hold_out(read_folder(tmp_path), 0.5)


def test_hold_out_keeps_groups_of_ucf101_together(ucf101_6):
    """Clips of one group are cut from one source video: one in training would give the other away."""
    train, test = hold_out(read_folder(ucf101_6 / "videos"), 0.25)
    groups = [{video.video_id.rpartition("_c")[0] for video in part.videos} for part in (train, test)]
    assert not groups[0] & groups[1]
    assert len(test.videos) == 6 * 6 * 2  # 6 of 25 groups a class, 2 clips each
