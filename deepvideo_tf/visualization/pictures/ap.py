"""Average precision of each class (Table 4)."""

from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, no_obstacle

obstacle = no_obstacle


def draw(source: Source) -> Picture:
    """Draw the average precision of each class, by group."""
    evaluation = source.evaluation
    ap = {name: of_class["ap"] for name, of_class in evaluation["classes"].items()}
    ranked = [name for _, _, names in plots.ranked_by_group(ap) for name in names if ap[name] is not None]
    title = f"Average precision of {source.what}"
    best, worst = ranked[0], ranked[-1]
    caption = (
        f"Average precision of {len(ranked)} classes, from {ap[best]:.2f} ({best}) down to {ap[worst]:.2f} ({worst}); "
        f"the mean is {evaluation['map']:.2f}, chance {evaluation['chance']['map']:.2f}."
    )
    numbers = {"map": evaluation["map"], "map_by_group": evaluation["map_by_group"]}
    return Picture(plots.average_precision(ap, groups=source.groups, title=title), title, caption, numbers)
