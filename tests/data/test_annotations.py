import os

import pytest

from deepvideo_tf.data.annotations import LabelledVideo, hold_out, read_classes, read_folder, read_list
from deepvideo_tf.errors import AnnotationError, ConfigError


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
        ("run/a\0.mp4 0", "NUL"),
        ("run/b.AVI 0", "list.txt:1 already"),
    ],
)
def test_bad_lines_are_named(root, tmp_path, line, message):
    (root / "link").symlink_to(tmp_path)
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
        ("a\nb\na\n", "classes.txt:3: the class 'a' stands at .*classes.txt:1 already"),
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
