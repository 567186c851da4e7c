"""Pictures of an evaluated run, as PNG files with a list of what they show.

A picture is one module with `obstacle(runs, info)`, the reason why some runs cannot have it or None, and
`draw(source)`: a new one is one new file, and one line in `PICTURES`, whose order is that of the list.
"""

PICTURES = {
    "filters": "deepvideo_tf.visualization.pictures.filters",
    "predictions": "deepvideo_tf.visualization.pictures.predictions",
    "curves": "deepvideo_tf.visualization.pictures.curves",
    "confusion": "deepvideo_tf.visualization.pictures.confusion",
    "ap": "deepvideo_tf.visualization.pictures.ap",
    "saliency": "deepvideo_tf.visualization.pictures.saliency",
    "views": "deepvideo_tf.visualization.pictures.views",
}
