"""Splitting one set of labeled videos into a training and a test set."""

import hashlib
import re
from dataclasses import replace

from deepvideo_tf.data.annotations.videos import Annotations, LabelledVideo
from deepvideo_tf.errors import AnnotationError, ConfigError

# UCF-101 names its files v_<Class>_g<group>_c<clip>; the clips of a group are cut from one source video.
GROUP_PATTERN = re.compile(r"(v_.+_g\d+)_c\d+")


def hold_out(annotations: Annotations, fraction: float) -> tuple[Annotations, Annotations]:
    """Split the videos of each class into a training and a test set, always the same ones.

    Videos of one group of UCF-101 stay together, since they are cut from one source video. A hash of the paths decides
    which videos are held out, not their order.

    Args:
        annotations: single-label `Annotations`.
        fraction: fraction of each class to hold out, in (0, 1); at least one video or group is held out, never all.

    Returns:
        Training and test `Annotations`.

    Raises:
        AnnotationError: a class has a single video or group, which cannot be split.
        ConfigError: the fraction is outside its range.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"holdout_fraction must be above 0 and below 1. Received: {fraction!r}")
    groups_of_class: dict[int, dict[str, list[LabelledVideo]]] = {}
    for video in annotations.videos:
        groups = groups_of_class.setdefault(video.labels[0], {})
        groups.setdefault(group_of(video.video_id), []).append(video)
    test: set[LabelledVideo] = set()
    for label, groups in groups_of_class.items():
        if len(groups) < 2:
            raise AnnotationError(
                f"{annotations.video_root}: expected at least 2 videos of the class "
                f"{annotations.classes[label]!r}, so that one can be held out, found 1"
            )
        order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
        held_out = min(max(1, round(fraction * len(order))), len(order) - 1)
        test.update(video for group in order[:held_out] for video in groups[group])

    def part(is_test: bool) -> Annotations:
        videos = tuple(video for video in annotations.videos if (video in test) == is_test)
        return replace(annotations, videos=videos, absent=())

    return part(False), part(True)


def group_of(video_id: str) -> str:
    """Return the group of a video named as in UCF-101, which is its source video; otherwise the id itself."""
    match = GROUP_PATTERN.match(video_id.rpartition("/")[2])
    return video_id.rpartition("/")[0] + "/" + match.group(1) if match else video_id
