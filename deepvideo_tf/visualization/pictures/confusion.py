"""The confusion matrix of an evaluation."""

import numpy as np

from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, no_obstacle

obstacle = no_obstacle


def draw(source: Source) -> Picture:
    """Draw the confusion matrix."""
    classes = list(source.evaluation["classes"])
    counts = np.array(source.evaluation["confusion"])
    right, all_labels = int(np.trace(counts)), int(counts.sum())
    title = f"Confusion of {source.what}"
    pairs = source.evaluation["most_confused"]
    worst = (
        f"most often, {pairs[0]['true']} is taken for {pairs[0]['predicted']}, {pairs[0]['videos']} times"
        if pairs
        else "none is mistaken"
    )
    caption = f"Confusion matrix of {len(classes)} classes: {right} of {all_labels} labels on the diagonal; {worst}."
    numbers = {"diagonal": right, "labels": all_labels}
    return Picture(plots.confusion(counts, classes, title=title), title, caption, numbers)
