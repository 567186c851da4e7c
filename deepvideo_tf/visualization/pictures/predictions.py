"""Predictions of some videos (Figure 4)."""

import numpy as np

from deepvideo_tf.metrics.hit_at_k import hits_at_k
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, no_obstacle, short_name

obstacle = no_obstacle


def draw(source: Source) -> Picture:
    """Draw a frame of each video with its most probable classes."""
    scores, chosen = source.scores, source.chosen
    labels = [np.flatnonzero(scores.is_true[number]).tolist() for number in chosen]
    is_hit = hits_at_k(scores.is_true, scores.video_scores, 1)
    right = int(is_hit[chosen].sum())
    title = f"Predictions of {source.what}"
    caption = (
        f"A frame of {len(chosen)} videos, {right} classified right and {len(chosen) - right} wrong, each with its "
        f"likeliest classes as bars and the true one hatched; of all {source.videos}, "
        f"{is_hit.mean():.1%} are classified right."
    )
    figure = plots.predictions(
        source.clips[:, source.clips.shape[1] // 2],
        scores.video_scores[chosen],
        labels,
        scores.classes,
        names=[short_name(scores.video_ids[number]) for number in chosen],
        title=title,
    )
    return Picture(figure, title, caption, {"right": right, "wrong": len(chosen) - right})
