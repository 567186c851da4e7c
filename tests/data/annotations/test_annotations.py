import gzip
import os

import pytest

from deepvideo_tf.data.annotations import (
    Annotations,
    LabelledVideo,
    coverage,
    cut_validation,
    group_of,
    hold_out,
    read_classes,
    read_csv,
    read_folder,
    read_list,
    read_sports1m,
    read_ucf101,
)
from deepvideo_tf.errors import AnnotationError, ConfigError
from tests.support.repository import real_data


@pytest.fixture
def root(tmp_path):
    """videos/{run,swim dive}/... with some files that are no videos."""
    for name in ("run/a.mp4", "run/b.AVI", "swim dive/c.webm", "swim dive/notes.txt", "readme.md", "run/.DS_Store"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"x")
    return tmp_path / "videos"


def test_folder(root):
    found = read_folder(root)
    assert found.classes == ("run", "swim dive")
    assert found.videos == (
        LabelledVideo("run/a.mp4", (0,)),
        LabelledVideo("run/b.AVI", (0,)),
        LabelledVideo("swim dive/c.webm", (1,)),
    )
    assert found.ignored == ("readme.md", "swim dive/notes.txt")


def test_folder_problems(root, tmp_path):
    with pytest.raises(AnnotationError, match=r"nowhere: expected the folder that holds the videos, found nothing"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(AnnotationError, match=r"readme.md: expected the folder .* found a file"):
        read_folder(root / "readme.md")
    with pytest.raises(AnnotationError, match=r"run: expected a folder for each class, found no folder"):
        read_folder(root / "run")
    (root / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"empty: expected videos of the class 'empty' .* found none"):
        read_folder(root)


def test_names_that_are_not_utf8_are_refused(root):
    os.close(os.open(bytes(root) + b"/run/caf\xe9.mp4", os.O_CREAT))
    with pytest.raises(AnnotationError, match="names in UTF-8"):
        read_folder(root)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_list_takes_numbers_and_names_and_several_labels(root, tmp_path):
    classes = write(tmp_path / "classes.txt", "run\r\nswim\r\n")
    lines = "\ufeffrun/a.mp4 0\r\n\r\nrun/./b.AVI run\r\nswim dive/c.webm swim,0\r\nabsent.mp4 1\r\n"
    found = read_list(write(tmp_path / "list.txt", lines), root, classes)
    assert found.classes == ("run", "swim")
    assert [(video.video_id, video.labels) for video in found.videos] == [
        ("run/a.mp4", (0,)),
        ("run/b.AVI", (0,)),
        ("swim dive/c.webm", (0, 1)),
        ("absent.mp4", (1,)),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run/a.mp4 2", "expected a label from 0 to 1 or a name of .*, found '2'"),
        ("run/a.mp4 -1", "found '-1'"),
        ("run/a.mp4 ²", "found '²'"),
        ("run/a.mp4 fly", "found 'fly'"),
        ("run/a.mp4 0,", "found ''"),
        ("run/a.mp4", "expected 'relative/path label"),
        ("/etc/passwd 0", "expected a path below the video root"),
        ("../outside.mp4 0", "expected a path below the video root"),
        ("run/../../outside.mp4 0", "expected a path below the video root"),
        ("../videos/run/a.mp4 0", "expected a path below the video root"),
        ("link/outside.mp4 0", "expected a path below the video root, .* a link that leads out of it"),
        ("run/a\0.mp4 0", "expected a path of printable characters"),
        ("run/\x1b]0;name\x07.mp4 0", "expected a path of printable characters"),
        (". 0", "expected a path below the video root"),
        ("sibling/a.mp4 0", "expected a path below the video root, .* a link that leads out of it"),
        ("run/a.mp4 " + "9" * 5000, "expected a label from 0 to 1"),
        ("run/b.AVI 0", "run/b.AVI appears twice, first at .*list.txt:1"),
    ],
)
def test_bad_lines_are_named(root, tmp_path, line, message):
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "videos2").mkdir()
    (root / "sibling").symlink_to(tmp_path / "videos2")  # whose path begins with the root's
    classes = write(tmp_path / "classes.txt", "run\nswim\n")
    path = write(tmp_path / "list.txt", f"run/b.AVI 1\n{line}\n")
    with pytest.raises(AnnotationError, match=f"list.txt:2: .*{message}") as caught:
        read_list(path, root, classes)
    assert "\n" not in str(caught.value)


def test_list_problems(root, tmp_path):
    classes = write(tmp_path / "classes.txt", "run\nswim\n")
    with pytest.raises(AnnotationError, match=r"list.txt: cannot be read: No such file"):
        read_list(tmp_path / "list.txt", root, classes)
    with pytest.raises(AnnotationError, match=r"expected a line .* found none"):
        read_list(write(tmp_path / "list.txt", "\n \n"), root, classes)
    with pytest.raises(AnnotationError, match=r"expected UTF-8 text, found byte 0xe9"):
        read_list(write(tmp_path / "list.txt", "run/café.mp4 0\n", "latin-1"), root, classes)


def test_numbers_that_are_names_too_are_refused(root, tmp_path):
    classes = write(tmp_path / "classes.txt", "1\n0\n2\n")
    assert read_list(write(tmp_path / "list.txt", "run/a.mp4 2\n"), root, classes).videos[0].labels == (2,)
    with pytest.raises(AnnotationError, match="'1' is both a label number and the name of class 0"):
        read_list(write(tmp_path / "list.txt", "run/a.mp4 1\n"), root, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        ("\n", "found none"),
        ("a\n\nb\n", "classes.txt:2: expected a class name, found an empty line"),
        ("a\nb\na\n", "classes.txt:3: the class 'a' appears twice, first at .*classes.txt:1"),
    ],
)
def test_bad_class_lists(tmp_path, text, message):
    with pytest.raises(AnnotationError, match=message):
        read_classes(write(tmp_path / "classes.txt", text))


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


def test_the_real_lists(ucf101_6):
    train, test = (
        read_list(ucf101_6 / f"{split}list01.txt", ucf101_6 / "videos", ucf101_6 / "classes.txt")
        for split in ("train", "test")
    )
    assert (len(train.videos), len(test.videos)) == (216, 84)
    assert train.classes[0] == "Archery"
    for video in train.videos + test.videos:
        assert train.classes[video.labels[0]] == video.video_id.split("/")[0]


@pytest.mark.parametrize("line", ["https://example.org/a.mp4 0", "file:///etc/passwd 0"])
def test_addresses_are_no_paths(root, tmp_path, line):
    classes = write(tmp_path / "classes.txt", "run\nswim\n")
    with pytest.raises(AnnotationError, match=r"list.txt:1: expected a path below the video root, found an address"):
        read_list(write(tmp_path / "list.txt", line + "\n"), root, classes)


def test_a_line_of_10_mb_is_refused(root, tmp_path):
    classes = write(tmp_path / "classes.txt", "run\nswim\n")
    path = write(tmp_path / "list.txt", "run/a.mp4 0\n" + "x" * 10_000_000 + " 0\n")
    with pytest.raises(AnnotationError, match=r"list.txt:2: the line is longer than 100000 bytes"):
        read_list(path, root, classes)


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
