"""Where the steps of training are computed. A new executor: a file here, and its line in `EXECUTORS`."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepvideo_tf.training.executors.base import Executor

# Each module has a function `executor()`. They are imported when they are asked for: TensorFlow takes seconds.
EXECUTORS = {
    "local": "deepvideo_tf.training.executors.local",
    "processes": "deepvideo_tf.training.executors.processes",
    "mirrored": "deepvideo_tf.training.executors.mirrored",
    "downpour": "deepvideo_tf.training.executors.downpour",
}
STRATEGIES = tuple(name for name in EXECUTORS if name not in ("local", "processes"))  # what `--strategy` offers


def make_executor(strategy: str | None) -> "Executor":
    """Return the executor of a strategy, not started.

    Args:
        strategy: one of `STRATEGIES`; None for this process alone or, within `processes.joined`, with the others.

    Returns:
        The executor.

    Raises:
        ConfigError: there is no such strategy.
    """
    from deepvideo_tf.errors import ConfigError
    from deepvideo_tf.training.executors.processes import are_joined

    if strategy is not None and strategy not in STRATEGIES:
        raise ConfigError(f"strategy must be None or one of {', '.join(STRATEGIES)}. Received: {strategy!r}")
    name = strategy or ("processes" if are_joined() else "local")
    return importlib.import_module(EXECUTORS[name]).executor()
