import gzip

import pytest

from deepvideo_tf.data.annotations import Annotations, LabelledVideo, coverage, cut_validation, read_sports1m
from deepvideo_tf.errors import AnnotationError
from tests.support.files import write
from tests.support.repository import real_data


class TestSports1m:
    IDS = ("UDqivjS-lpI", "-abcdefghij", "aaaaaaaaaaa", "bbbbbbbbbbb")

    @pytest.fixture
    def lists(self, tmp_path):
        """A list of four videos, of which three are there under the names that downloaders give."""
        root = tmp_path / "videos"
        (root / "deeper").mkdir(parents=True)
        for name in ("UDqivjS-lpI.mp4", "deeper/A title--abcdefghij.webm", "Another [aaaaaaaaaaa].mkv", "notes.txt"):
            (root / name).touch()
        labels = write(tmp_path / "labels.txt", "".join(f"sport {number}\n" for number in range(487)))
        lines = [f"https://www.youtube.com/watch?v={name} {number},168" for number, name in enumerate(self.IDS)]
        return write(tmp_path / "list.txt", "\n".join(lines) + "\n"), root, labels

    def test_videos_are_found_by_their_ids_and_others_counted(self, lists):
        annotations = read_sports1m(*lists)
        assert [video.path for video in annotations.videos] == [
            "UDqivjS-lpI.mp4",
            "deeper/A title--abcdefghij.webm",
            "Another [aaaaaaaaaaa].mkv",
        ]
        assert [video.labels for video in annotations.videos] == [(0, 168), (1, 168), (2, 168)]
        report = coverage(annotations)
        assert (report["listed"], report["present"], report["absent"]) == (4, 3, ["bbbbbbbbbbb"])
        assert report["classes"]["sport 168"] == {"listed": 4, "present": 3}
        assert report["classes"]["sport 3"] == {"listed": 1, "present": 0}

    def test_gzipped_lists(self, lists, tmp_path):
        path = tmp_path / "list.txt.gz"
        path.write_bytes(gzip.compress(lists[0].read_bytes()))
        assert read_sports1m(path, *lists[1:]).videos == read_sports1m(*lists).videos
        whole = path.read_bytes()
        path.write_bytes(whole[:30] + bytes([whole[30] ^ 0xFF]) + whole[31:])
        with pytest.raises(AnnotationError, match=r"list.txt.gz"):
            read_sports1m(path, *lists[1:])
        path.write_bytes(whole[:-10])
        with pytest.raises(AnnotationError, match=r"list.txt.gz: cannot be decompressed"):
            read_sports1m(path, *lists[1:])

    def test_the_official_class_names(self, lists):
        annotations = read_sports1m(lists[0], lists[1], real_data("sports-1m") / "labels.txt")
        assert len(annotations.classes) == 487
        assert annotations.classes[0] == "boomerang"

    def test_links_out_of_the_root_are_not_followed(self, lists, tmp_path):
        (tmp_path / "outside.mp4").touch()
        (lists[1] / "bbbbbbbbbbb.mp4").symlink_to(tmp_path / "outside.mp4")
        assert coverage(read_sports1m(*lists))["absent"] == ["bbbbbbbbbbb"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("https://vimeo.com/1 3", "list.txt:1: expected 'https://www.youtube.com"),
            ("https://www.youtube.com/watch?v=short 3", "list.txt:1: expected 'https://www.youtube.com"),
            ("https://www.youtube.com/watch?v=UDqivjS-lpI", "list.txt:1: expected 'https://www.youtube.com"),
            ("https://www.youtube.com/watch?v=UDqivjS-lpI 487", "expected a label from 0 to 486"),
            ("https://www.youtube.com/watch?v=UDqivjS-lpI 1,", "expected a label from 0 to 486"),
            ("https://www.youtube.com/watch?v=ccccccccccc 1", "none of its 1 videos has a file below"),
        ],
    )
    def test_bad_lines(self, lists, line, message):
        with pytest.raises(AnnotationError, match=message):
            read_sports1m(write(lists[0], line + "\n"), *lists[1:])

    def test_the_validation_part_is_an_eighth_and_never_changes(self):
        ids = [f"{number:011d}" for number in range(8000)]
        there = tuple(LabelledVideo(f"{name}.mp4", (0,)) for name in ids[::2])
        absent = tuple(LabelledVideo(name, (0,)) for name in ids[1::2])
        train, validation = cut_validation(Annotations("root", ("a",), there, absent=absent))
        assert 900 < len(validation.videos) + len(validation.absent) < 1100
        assert len(train.videos) + len(validation.videos) == 4000
        # The same ids, whether the files are there or not, and wherever they lie.
        moved = Annotations("root", ("a",), tuple(LabelledVideo(f"x/T [{name}].mkv", (0,)) for name in ids))
        of_moved = {video.path[5:16] for video in cut_validation(moved)[1].videos}
        assert of_moved == {video.path[:11] for video in (*validation.videos, *validation.absent)}
