"""Format `list`: a text file with a path and labels per line."""

from deepvideo_tf.data.annotations.find import check_video_root, checked_path
from deepvideo_tf.data.annotations.lines import labels_by_name, parse_labels, read_classes, read_lines
from deepvideo_tf.data.annotations.source import AnnotationSource, register_format
from deepvideo_tf.data.annotations.videos import Annotations, FilePath, LabelledVideo, UniqueVideos
from deepvideo_tf.errors import AnnotationError


@register_format("list", required=("annotations", "classes"))
def read(source: AnnotationSource) -> dict[str, Annotations]:
    """Read a list as the split of the source."""
    return {source.split: read_list(source.annotations, source.video_root, source.classes)}


def read_list(annotations: FilePath, video_root: FilePath, classes: FilePath) -> Annotations:
    """Read a list with a line `relative/path label[,label]` for each video.

    A label is a 0-based number or a class name. Blank lines are skipped. The labels begin after the last space of the
    line: paths may contain spaces, labels may not. For a class name with a space, give the number.

    Args:
        annotations: the list, UTF-8.
        video_root: the folder that the paths are relative to.
        classes: a file with one class name per line.

    Returns:
        `Annotations`. The files are not looked for: a missing one is found when it is decoded.

    Raises:
        AnnotationError: a file cannot be read, or a line has another form; the message names file and line.
    """
    root = check_video_root(video_root)
    names = read_classes(classes)
    label_of = labels_by_name(names)
    videos = UniqueVideos()
    for where, line in read_lines(annotations):
        path, _, label_text = line.strip().rpartition(" ")
        if not path:
            raise AnnotationError(f"{where}: expected 'relative/path label[,label]', found {line.strip()!r:.80}")
        labels = parse_labels(label_text.split(","), label_of, where, classes)
        videos.add(LabelledVideo(checked_path(path.strip(), root, where), labels), where)
    if not videos.found:
        raise AnnotationError(f"{annotations}: expected a line 'relative/path label[,label]' per video, found none")
    return Annotations(str(video_root), names, tuple(videos.found))
