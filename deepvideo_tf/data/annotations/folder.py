"""Format `folder`: one folder of videos per class."""

from pathlib import Path

from deepvideo_tf.data.annotations.find import VIDEO_SUFFIXES, check_video_root, has_video_suffix
from deepvideo_tf.data.annotations.source import AnnotationSource, register_format
from deepvideo_tf.data.annotations.splits import hold_out
from deepvideo_tf.data.annotations.videos import Annotations, FilePath, LabelledVideo
from deepvideo_tf.errors import AnnotationError, ConfigError


@register_format("folder", optional=("holdout_fraction",))
def read(source: AnnotationSource) -> dict[str, Annotations]:
    """Read a folder; with a `holdout_fraction` as the splits `train` and `test`."""
    videos = read_folder(source.video_root)
    if not source.holdout_fraction:
        return {source.split: videos}
    if source.split != "train":
        raise ConfigError("--holdout_fraction makes the splits 'train' and 'test': it cannot be used with --split")
    train, test = hold_out(videos, source.holdout_fraction)
    return {"train": train, "test": test}


def read_folder(video_root: FilePath) -> Annotations:
    """Read a folder `<video_root>/<class>/<video>`; the class names are the folder names in code point order.

    Args:
        video_root: the folder of class folders.

    Returns:
        `Annotations`.

    Raises:
        AnnotationError: the folder is missing, has no class folders, or one of them holds no video.
    """
    check_video_root(video_root)
    root = Path(video_root)
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise AnnotationError(f"{video_root}: expected a folder for each class, found no folder")
    videos = []
    ignored = [entry.name for entry in entries if entry.is_file()]
    for label, folder in enumerate(folders):
        # The format has one level of folders; deeper ones are listed among the ignored. Hidden files belong to file
        # managers.
        files = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        for entry in (folder, *files):
            if not entry.name.isprintable():  # also how Python shows bytes that are not UTF-8
                raise AnnotationError(f"{root}: expected printable names in UTF-8, found {entry.name!r}")
        is_video = {entry: has_video_suffix(entry) and entry.is_file() for entry in files}
        if not any(is_video.values()):
            raise AnnotationError(
                f"{folder}: expected videos of the class {folder.name!r} "
                f"({', '.join(sorted(VIDEO_SUFFIXES))}), found none"
            )
        videos += [LabelledVideo(f"{folder.name}/{entry.name}", (label,)) for entry in files if is_video[entry]]
        ignored += [f"{folder.name}/{entry.name}" for entry in files if not is_video[entry]]
    names = tuple(folder.name for folder in folders)
    return Annotations(str(video_root), names, tuple(videos), tuple(ignored))
