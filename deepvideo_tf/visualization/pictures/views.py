"""What the streams of a two-stream network see (section 3.2)."""

from collections.abc import Sequence

from deepvideo_tf.models.first_layer import stream_views
from deepvideo_tf.models.info import ModelInfo
from deepvideo_tf.storage.paths import PathLike
from deepvideo_tf.visualization import plots
from deepvideo_tf.visualization.pictures.source import Picture, Source, networks_only, short_name


def obstacle(runs: Sequence[PathLike], info: ModelInfo) -> str | None:
    """Return the reason why there are no views, or None."""
    has_streams = len(info.views) > 1
    return networks_only(runs, info) or (
        None if has_streams else f"{runs[0]} is a run of {info.name}, which is no two-stream net"
    )


def draw(source: Source) -> Picture:
    """Draw a clip and what each stream sees of it."""
    clip = source.clips[0]
    found = {name: of_clips[0] for name, of_clips in stream_views(source.run.model, clip[None]).items()}
    sizes_px = {name: view.shape[1] for name, view in found.items()}
    name = short_name(source.scores.video_ids[source.chosen[0]])
    title = f"What the streams of {source.run.config.model} see of {name}"
    caption = (
        f"A clip of {clip.shape[1]} x {clip.shape[2]} px, and what each stream sees of it: "
        + ", ".join(f"the {name} {size} x {size} px" for name, size in sizes_px.items())
        + "."
    )
    numbers = {"clip_px": clip.shape[1], "views_px": sizes_px}
    return Picture(plots.views(clip, found, title=title), title, caption, numbers)
