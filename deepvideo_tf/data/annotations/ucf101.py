"""Format `ucf101`: the official lists of UCF-101."""

from pathlib import Path

from deepvideo_tf.data.annotations.find import check_video_root, checked_path
from deepvideo_tf.data.annotations.lines import labels_by_name, read_lines
from deepvideo_tf.data.annotations.source import AnnotationSource, register_format
from deepvideo_tf.data.annotations.videos import Annotations, FilePath, LabelledVideo, UniqueVideos
from deepvideo_tf.errors import AnnotationError, ConfigError

UCF101_FOLDS = (1, 2, 3)


@register_format("ucf101", required=("annotations",), optional=("fold",))
def read(source: AnnotationSource) -> dict[str, Annotations]:
    """Read one fold as the splits `train` and `test`."""
    return read_ucf101(source.annotations, source.video_root, source.fold)


def read_ucf101(lists_dir: FilePath, video_root: FilePath, fold: int = 1) -> dict[str, Annotations]:
    """Read the official lists of UCF-101: `classInd.txt`, and `trainlist0X.txt` and `testlist0X.txt` of one fold.

    Labels are the numbers of `classInd.txt` minus 1. Its order is not that of sorted names: HammerThrow comes before
    Hammering in one and after it in the other.

    Args:
        lists_dir: the folder of the lists.
        video_root: the folder of class folders.
        fold: 1, 2 or 3; the paper's results are the mean over all three (section 4.2).

    Returns:
        `Annotations` of `train` and `test`.

    Raises:
        AnnotationError: a list cannot be read, or a line has another form; the message names file and line.
        ConfigError: the fold does not exist.
    """
    if fold not in UCF101_FOLDS:
        raise ConfigError(f"fold must be one of 1, 2, 3. Received: {fold!r}")
    root = check_video_root(video_root)
    names: list[str] = []
    for where, line in read_lines(Path(lists_dir) / "classInd.txt"):
        number, _, name = line.strip().partition(" ")
        if number != str(len(names) + 1) or not name:
            raise AnnotationError(f"{where}: expected '{len(names) + 1} <class>', found {line.strip()!r:.80}")
        names.append(name)
    label_of = labels_by_name(names)
    splits = {}
    for split in ("train", "test"):
        videos = UniqueVideos()
        for where, line in read_lines(Path(lists_dir) / f"{split}list{fold:02d}.txt"):
            path, _, number = line.strip().partition(" ")
            # The folder gives the class: the files of HandstandPushups are called v_HandStandPushups_*.
            label = label_of.get(path.partition("/")[0])
            if label is None or number not in ([str(label + 1)] if split == "train" else ["", str(label + 1)]):
                raise AnnotationError(f"{where}: expected '<class>/<file>' and the class's number, found {line!r:.80}")
            videos.add(LabelledVideo(checked_path(path, root, where), (label,)), where)
        splits[split] = Annotations(str(video_root), tuple(names), tuple(videos.found))
    return splits
