import pytest

from deepvideo_tf.data.annotations import LabelledVideo, read_csv
from deepvideo_tf.errors import AnnotationError
from tests.support.files import write


class TestCsv:
    def read(self, root, tmp_path, text, classes=None):
        return read_csv(write(tmp_path / "videos.csv", text), root, classes)

    def test_a_full_table(self, root, tmp_path):
        text = (
            "path,labels,split,start_s,end_s,note\n"
            'run/a.mp4,run,train,,,"first, best"\n'
            "run/b.AVI,swim;run,test,2,7.5,\n"
            "run/b.AVI,swim,test,7.5,,\n"
        )
        splits = self.read(root, tmp_path, text)
        assert set(splits) == {"train", "test"}
        assert splits["train"].classes == splits["test"].classes == ("run", "swim")
        assert splits["train"].videos == (LabelledVideo("run/a.mp4", (0,)),)
        assert splits["test"].videos == (
            LabelledVideo("run/b.AVI", (0, 1), 2.0, 7.5),
            LabelledVideo("run/b.AVI", (1,), 7.5),
        )
        assert [video.video_id for video in splits["test"].videos] == ["run/b.AVI#2-7.5", "run/b.AVI#7.5-"]

    def test_without_a_split(self, root, tmp_path):
        classes = write(tmp_path / "classes.txt", "swim\nrun\n")
        splits = self.read(root, tmp_path, "labels,path\r\nrun,run/a.mp4\r\n0,run/b.AVI\r\n", classes)
        assert [video.labels for video in splits[None].videos] == [(1,), (0,)]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("path\nrun/a.mp4\n", "videos.csv:1: expected the columns path and labels"),
            ("path,labels,path\n", "videos.csv:1: expected the columns path and labels once each"),
            ("path,labels\n", "expected a line for each video, found none"),
            ("path,labels\nrun/a.mp4\n", "videos.csv:2: expected 2 columns, found 1"),
            ("path,labels\nrun/a.mp4,\n", "videos.csv:2: expected a label, found none"),
            ("path,labels\nrun/a.mp4,7\n", "videos.csv:2: expected names for labels, found a number"),
            ('path,labels\n"run/a\n.mp4",run\n', "videos.csv:3: expected printable characters in path"),
            ("path,labels,start_s\nrun/a.mp4,run," + "9" * 400 + "\n", "videos.csv:2: expected start_s in seconds"),
            ("path,labels\n/etc/passwd,run\n", "videos.csv:2: expected a path below the video root"),
            ("path,labels\n../a.mp4,run\n", "videos.csv:2: expected a path below the video root"),
            (
                "path,labels\nrun/a.mp4,run\nrun/a.mp4,swim\n",
                "videos.csv:3: run/a.mp4 appears twice, first at .*videos.csv:2",
            ),
            ("path,labels,split\nrun/a.mp4,run,dev\n", "videos.csv:2: expected a split of train, validation, test"),
            ("path,labels,start_s\nrun/a.mp4,run,soon\n", "videos.csv:2: expected start_s in seconds, found 'soon'"),
            ("path,labels,end_s\nrun/a.mp4,run,nan\n", "videos.csv:2: expected end_s in seconds, found 'nan'"),
            ("path,labels,start_s,end_s\nrun/a.mp4,run,3,2\n", "videos.csv:2: expected an end_s after start_s"),
            ('path,labels\nrun/a.mp4,"run\n', "videos.csv:2: not a table of comma separated values"),
        ],
    )
    def test_bad_tables(self, root, tmp_path, text, message):
        with pytest.raises(AnnotationError, match=message):
            self.read(root, tmp_path, text)
