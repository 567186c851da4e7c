"""The confusion matrix and the pairs of classes that are confused most often."""

import numpy as np

from deepvideo_tf.evaluation.context import Evaluation, Results

LISTED_CONFUSIONS = 10


def run(evaluation: Evaluation) -> Results:
    """Yield `confusion`, videos `[true class][predicted class]`, and `most_confused`."""
    scores = evaluation.scores
    num_classes = len(scores.classes)
    videos, labels = np.nonzero(scores.is_true)
    predicted = scores.video_scores.argmax(axis=1)
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted[videos]), 1)
    yield "confusion", counts.tolist()
    # For a video of two classes, predicting one of them is not an error for the other.
    is_wrong = ~scores.is_true[videos, predicted[videos]]
    mistaken = np.zeros_like(counts)
    np.add.at(mistaken, (labels[is_wrong], predicted[videos][is_wrong]), 1)
    order = np.argsort(-mistaken, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    pairs = [divmod(int(index), num_classes) for index in order if mistaken.flat[index]]
    yield (
        "most_confused",
        [
            {"true": scores.classes[one], "predicted": scores.classes[other], "videos": int(mistaken[one, other])}
            for one, other in pairs
        ],
    )
