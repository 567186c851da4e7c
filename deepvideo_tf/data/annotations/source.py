"""The registry of annotation formats: what the user gives, and which of it each format reads."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

from deepvideo_tf.data.annotations.videos import Annotations
from deepvideo_tf.errors import ConfigError


@dataclass(frozen=True)
class AnnotationSource:
    """Where labeled videos come from. Each format declares which of the options it reads.

    Args:
        video_root: the folder that holds the videos.
        split: the split that the videos become, if the format does not say.
        annotations: option: the list of videos, or the folder of lists.
        classes: option: a file with one class name per line.
        fold: option: number of one of several official splits.
        holdout_fraction: option: fraction of each class that becomes the split `test`; 0 for none.
    """

    video_root: str
    split: str
    annotations: str = ""
    classes: str = ""
    fold: int = 1
    holdout_fraction: float = 0.0


OPTIONS = tuple(field.name for field in fields(AnnotationSource))[2:]
Reader = Callable[[AnnotationSource], dict[str, Annotations]]


@dataclass(frozen=True)
class AnnotationFormat:
    """A way of labeling videos.

    Args:
        name: the value of the flag `--format`.
        read: function from an `AnnotationSource` to the `Annotations` of each split.
        required: options that must be given.
        optional: options that may be given.
        lists_absent: whether lists may name videos that were never downloaded; their number is then reported.
    """

    name: str
    read: Reader
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    lists_absent: bool = False

    def check_options(self, given: Collection[str]) -> None:
        """Raise ConfigError if a required option is not given, or one is given that this format does not read."""
        for name in OPTIONS:
            if name in self.required and name not in given:
                raise ConfigError(f"--format={self.name} needs --{name}")
            if name in given and name not in self.required + self.optional:
                raise ConfigError(f"--format={self.name} does not take --{name}")


FORMATS: dict[str, AnnotationFormat] = {}


def register_format(
    name: str, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = (), lists_absent: bool = False
) -> Callable[[Reader], Reader]:
    """Return a decorator that adds a reader to `FORMATS`; the arguments are the fields of `AnnotationFormat`."""

    def register(read: Reader) -> Reader:
        FORMATS[name] = AnnotationFormat(name, read, required, optional, lists_absent)
        return read

    return register
