"""The package's exceptions. Each message is one line: the file or argument, what was expected and what was found.

Programs print the message of a `DeepVideoError` as a single line and exit with a nonzero status. Every other exception
is a bug in this package and keeps its traceback.
"""


class DeepVideoError(Exception):
    """Base class of errors that a user can cause and fix, without changing this package."""


class ConfigError(DeepVideoError, ValueError):
    """An argument, a flag or a configuration file has an invalid value."""


class AnnotationError(DeepVideoError, ValueError):
    """A list of videos, a list of classes or a folder of classes does not follow its format."""


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
    """Shards are missing, incomplete, damaged, in use, or were made from something else."""


class ModelFileError(DeepVideoError):
    """A run, a SavedModel or a TFLite file cannot be read, or does not fit what it is used with."""


class TrainingError(DeepVideoError):
    """Training cannot continue: the loss is not finite, or the data cannot fill a batch."""


def first_line(error: BaseException | str) -> str:
    """Return the first line of an exception's message, at most 200 characters; its type if the message is empty."""
    return f"{next(iter(str(error).splitlines()), type(error).__name__):.200}"
