"""The package's exceptions: one line each, naming the file or argument, what was expected and what came.

Programs print the message of a `DeepVideoError` as a single line and exit with a status that is not 0. Every other
exception is a defect of this package and keeps its traceback.
"""


class DeepVideoError(Exception):
    """Base of every error that a user, rather than a programmer, can cause and cure."""


class ConfigError(DeepVideoError, ValueError):
    """An argument, a flag or a configuration file holds a value that cannot be used."""


class AnnotationError(DeepVideoError, ValueError):
    """A list of videos, a class list or a folder of classes is not what its format says."""


class BadVideoError(DeepVideoError):
    """A video cannot be decoded, or not to its end.

    Args:
        path: the video file.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: str, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ShardError(DeepVideoError):
    """Shards are missing, unfinished, damaged, in use, or were made from something else."""


class ModelFileError(DeepVideoError):
    """A run, a SavedModel or a TFLite file cannot be read, or does not fit what it is used with."""


class TrainingError(DeepVideoError):
    """Training cannot go on: the loss is not finite, or the data cannot fill a batch."""


def first_line(error):
    """What a library's exception says in its first line, 200 characters at most; its kind where it says nothing."""
    return f"{next(iter(str(error).splitlines()), type(error).__name__):.200}"
