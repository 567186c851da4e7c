import pytest

from deepvideo_tf.data.annotations import LabelledVideo, group_of, read_ucf101
from deepvideo_tf.errors import AnnotationError, ConfigError
from tests.support.files import write
from tests.support.repository import real_data


class TestUcf101:
    @pytest.mark.parametrize(("fold", "sizes"), [(1, (9537, 3783)), (2, (9586, 3734)), (3, (9624, 3696))])
    def test_the_official_lists(self, tmp_path, fold, sizes):
        splits = read_ucf101(real_data("ucf101-lists"), tmp_path, fold)
        assert tuple(len(splits[split].videos) for split in ("train", "test")) == sizes
        train, test = splits["train"], splits["test"]
        assert len(train.classes) == 101
        groups = [{group_of(video.video_id) for video in part.videos} for part in (train, test)]
        assert not groups[0] & groups[1]
        for part in (train, test):
            assert all(video.path.startswith(part.classes[video.labels[0]] + "/") for video in part.videos)
            assert {video.labels[0] for video in part.videos} == set(range(101))

    def test_the_traps(self, tmp_path):
        """The order is classInd's, not that of sorted names; files may be spelt unlike their folder."""
        classes = read_ucf101(real_data("ucf101-lists"), tmp_path)["train"].classes
        assert list(classes) != sorted(classes)
        assert classes.index("Hammering") == classes.index("HammerThrow") - 1
        videos = read_ucf101(real_data("ucf101-lists"), tmp_path)["test"].videos
        handstands = [video for video in videos if "/v_HandStandPushups_" in video.path]
        assert handstands
        assert {classes[video.labels[0]] for video in handstands} == {"HandstandPushups"}

    def lists(self, tmp_path, train="A/v_A_g01_c01.avi 1\r\nB/v_B_g01_c01.avi 2\r\n", index="1 A\r\n2 B\r\n"):
        write(tmp_path / "classInd.txt", index)
        write(tmp_path / "trainlist01.txt", train)
        write(tmp_path / "testlist01.txt", "B/v_B_g02_c01.avi\r\n")
        return tmp_path

    def test_small_lists_with_crlf(self, tmp_path):
        splits = read_ucf101(self.lists(tmp_path), tmp_path)
        assert [video.labels for video in splits["train"].videos] == [(0,), (1,)]
        assert splits["test"].videos == (LabelledVideo("B/v_B_g02_c01.avi", (1,)),)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"index": "1 A\n3 B\n"}, "classInd.txt:2: expected '2 <class>', found '3 B'"),
            ({"train": "A/v_A_g01_c01.avi 2\n"}, "trainlist01.txt:1: expected '<class>/<file>' and the class's number"),
            ({"train": "C/v_C_g01_c01.avi 1\n"}, "trainlist01.txt:1: expected"),
            ({"train": "A/v_A_g01_c01.avi\n"}, "trainlist01.txt:1: expected"),
            ({"train": "A/../../x.avi 1\n"}, "trainlist01.txt:1: expected a path below the video root"),
        ],
    )
    def test_other_lists_are_refused(self, tmp_path, changes, message):
        with pytest.raises(AnnotationError, match=message):
            read_ucf101(self.lists(tmp_path, **changes), tmp_path)

    def test_other_folds_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="fold must be one of 1, 2, 3. Received: 4"):
            read_ucf101(tmp_path, tmp_path, 4)
