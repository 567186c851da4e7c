"""Mean average precision of groups of classes (Table 4)."""

from deepvideo_tf.evaluation.context import Evaluation, Results, known_mean
from deepvideo_tf.metrics.bootstrap import mean_interval


def run(evaluation: Evaluation) -> Results:
    """Yield `map_by_group`, `group_sizes` (numbers of classes) and `map_by_group_intervals`."""
    classes = evaluation.scores.classes
    columns = {group: [classes.index(name) for name in names] for group, names in evaluation.groups.items()}
    yield "map_by_group", {group: known_mean(evaluation.ap[labels]) for group, labels in columns.items()}
    yield "group_sizes", {group: len(labels) for group, labels in columns.items()}
    resampled = evaluation.resampled_ap
    yield "map_by_group_intervals", {group: mean_interval(resampled[:, labels]) for group, labels in columns.items()}
