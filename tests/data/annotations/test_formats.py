"""The registry of formats, as a new format would use it."""

import pytest

from deepvideo_tf.data.annotations import FORMATS, Annotations, AnnotationSource, LabelledVideo, register_format
from deepvideo_tf.errors import ConfigError
from tests.support.files import write


@pytest.fixture
def one_video():
    @register_format("one_video", required=("annotations",))
    def read(source):
        return {source.split: Annotations(source.video_root, ("a",), (LabelledVideo(source.annotations, (0,)),))}

    yield FORMATS["one_video"]
    del FORMATS["one_video"]


def test_all_formats_are_registered():
    assert sorted(FORMATS) == ["csv", "folder", "list", "sports1m", "ucf101"]
    assert all(form.name == name for name, form in FORMATS.items())


def test_a_new_format(one_video):
    one_video.check_options({"annotations"})
    (videos,) = one_video.read(AnnotationSource("root", "test", annotations="a.mp4")).values()
    assert videos.videos == (LabelledVideo("a.mp4", (0,)),)
    with pytest.raises(ConfigError, match="^--format=one_video needs --annotations$"):
        one_video.check_options(())
    with pytest.raises(ConfigError, match="^--format=one_video does not take --fold$"):
        one_video.check_options({"annotations", "fold"})


def test_the_splits_that_formats_read(root, tmp_path):
    def splits(name, **options):
        found = FORMATS[name].read(AnnotationSource(str(root), **{"split": "train"} | options))
        return {split: len(videos.videos) for split, videos in found.items()}

    (root / "swim dive" / "d.mp4").write_bytes(b"x")
    assert splits("folder", split="test") == {"test": 4}
    assert splits("folder", holdout_fraction=0.5) == {"train": 2, "test": 2}
    with pytest.raises(ConfigError, match="it cannot be used with --split"):
        splits("folder", split="test", holdout_fraction=0.5)
    table = str(write(tmp_path / "videos.csv", "path,labels\nrun/a.mp4,run\n"))
    assert splits("csv", split="validation", annotations=table) == {"validation": 1}
    table = str(write(tmp_path / "videos.csv", "path,labels,split\nrun/a.mp4,run,test\nrun/b.AVI,run,train\n"))
    assert splits("csv", split="validation", annotations=table) == {"test": 1, "train": 1}
