"""Training curves of a run."""

from collections.abc import Sequence

from deepvideo_tf.models.info import ModelInfo
from deepvideo_tf.runs.history import HISTORY_NAME, read_history
from deepvideo_tf.storage.paths import PathLike, to_path
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, one_run_only


def obstacle(runs: Sequence[PathLike], info: ModelInfo) -> str | None:
    """Return the reason why there are no curves, or None."""
    has_history = (to_path(runs[0]) / HISTORY_NAME).is_file()
    return one_run_only(runs, info) or (None if has_history else f"{runs[0]} has no {HISTORY_NAME}")


def draw(source: Source) -> Picture:
    """Draw the history of the run."""
    history = read_history(to_path(source.evaluation["runs"][0]) / HISTORY_NAME)
    title = f"Training of {source.run.config.model}"
    last = {name: values[-1] for name, values in history.items() if name != "epoch"}
    reached = [
        f"{prefix}{plots.CURVES[name]} {last[key + name]:.3g}"
        for prefix, key in (("", ""), ("validation ", "val_"))
        for name in ("loss", "hit_at_1")
        if key + name in last
    ]
    epochs = len(next(iter(history.values())))
    caption = f"Loss, Hit@1 and learning rate over {epochs} epochs; in the last one {', '.join(reached)}."
    return Picture(plots.curves(history, title=title), title, caption, {"epochs": epochs, "last": last})
