"""Frames and regions that the predictions of some videos depend on."""

from typing import Any

import numpy as np

from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, evenly_spaced, networks_only, short_name
from deepvideo_tf.visualization.saliency import Saliency, occlusion_saliency

SALIENT_VIDEOS = 3

obstacle = networks_only


def draw(source: Source) -> Picture:
    """Draw the saliency of a clip of each video."""
    scores, chosen = source.scores, source.chosen
    shown = evenly_spaced(np.arange(len(chosen)), SALIENT_VIDEOS)
    found, captions, numbers = [], [], []
    for index in shown:
        clip, number = source.clips[index], chosen[index]
        target = int(source.probabilities(clip[None])[0].argmax())
        found.append(occlusion_saliency(source.probabilities, clip, target))
        true = " and ".join(scores.classes[label] for label in np.flatnonzero(scores.is_true[number]))
        predicted, probability = scores.classes[target], found[-1].probability
        mark = "✓" if scores.is_true[number, target] else "✗"
        captions.append(f"{mark} {short_name(scores.video_ids[number])}: {predicted} {probability:.2f}, true: {true}")
        numbers.append(_numbers(scores.video_ids[number], predicted, found[-1]))
    title = f"What the answer depends on: {source.run.config.model}, a clip of each of {len(shown)} videos"
    caption = "Clips whose regions are the lighter the more the answer needs them: " + "; ".join(
        f"{short_name(one['video_id'])} is taken for {one['predicted']} with {one['probability']:.2f}, which falls by "
        f"at most {one['largest_fall']:.3g} when one region is hidden, and by {one['largest_frame_fall']:.3g} when "
        f"frame {one['frame']} is"
        for one in numbers
    )
    figure = plots.saliency(source.clips[shown], found, captions=captions, title=title)
    return Picture(figure, title, f"{caption}.", {"clips": numbers})


def _numbers(video_id: str, predicted: str, found: Saliency) -> dict[str, Any]:
    frame = int(found.by_frame.argmax())
    return {
        "video_id": video_id,
        "predicted": predicted,
        "probability": round(found.probability, 4),
        "largest_fall": round(float(found.by_region.max()), 7),
        "frame": frame + 1,
        "largest_frame_fall": round(float(found.by_frame[frame]), 7),
    }
