"""First-layer filters of a network (Figure 3)."""

import numpy as np

from deepvideo_tf.models.first_layer import first_layer_filters
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, networks_only

obstacle = networks_only


def draw(source: Source) -> Picture:
    """Draw the filters of each stream."""
    model = source.run.config.model
    filters = first_layer_filters(source.run.model)
    numbers = {name: round(float(np.nanmean(plots.colourfulness(some))), 4) for name, some in filters.items()}
    title = f"First-layer filters of {model}"
    how = ", ".join(f"{value:.2f} in the {name} stream" for name, value in numbers.items())
    caption = (
        f"The first-layer filters of {model}, whose colourfulness is {how} on average, where 0 is grey, 1 a pure hue, "
        f"and {plots.RANDOM_COLOURFULNESS:.2f} what random filters have."
    )
    return Picture(plots.filters(filters, title=title), title, caption, {"colourfulness": numbers})
