import os

import pytest

from deepvideo_tf.data.annotations import LabelledVideo, read_folder
from deepvideo_tf.errors import AnnotationError


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
