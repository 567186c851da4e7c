import pytest

from deepvideo_tf.data.annotations import read_classes, read_list
from deepvideo_tf.errors import AnnotationError
from tests.support.files import write


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
