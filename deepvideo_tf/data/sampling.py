"""Which moments of a video, frames of a stored clip and views of a frame are used."""

import numpy as np

from deepvideo_tf.config import ClipSpec

MAX_VIEWS = 5
ViewBox = tuple[int, int, bool]  # a square crop of a frame: top_px, left_px, and whether it is mirrored


def clip_starts_s(duration_s: float, *, clips: int, clip_frames: int, frame_rate_fps: float) -> list[float]:
    """Return start times of the clips of one video, evenly spaced from its beginning to its end.

    Differs from the paper, which draws them at random (section 4.1): evenly spaced clips cover the video, and are the
    same on every machine.

    Args:
        duration_s: length of the video, seconds.
        clips: maximum number of clips.
        clip_frames: frames per clip.
        frame_rate_fps: frames per second within the clip.

    Returns:
        Seconds from the first frame, ascending: `clips` of them, or fewer if the video is so short that two would start
        within one frame of each other.
    """
    last_start_s = max(0.0, duration_s - clip_frames / frame_rate_fps)
    distinct = 1 + int(last_start_s * frame_rate_fps + 1e-6)
    if min(clips, distinct) == 1:
        return [last_start_s / 2]
    return [float(start) for start in np.linspace(0.0, last_start_s, min(clips, distinct))]


def frame_times_s(start_s: float, *, clip_frames: int, frame_rate_fps: float) -> list[float]:
    """Return the times of the frames of one clip, seconds from the first frame of the video."""
    return [start_s + index / frame_rate_fps for index in range(clip_frames)]


def middle_frames(stored_frames: int, clip: ClipSpec) -> slice:
    """Return which frames of a stored clip, at least `clip.span` long, make up the model's clip in its middle."""
    start = (stored_frames - clip.span) // 2
    return slice(start, start + clip.span, clip.frame_stride)


def view_boxes(frame_size_px: int, crop_size_px: int, num_views: int, flip: bool) -> list[ViewBox]:
    """Return the views of each clip in evaluation: different crops, every second one mirrored (section 4.1).

    The order is center, top left, bottom right, top right, bottom left.

    Args:
        frame_size_px: height and width of the stored frame.
        crop_size_px: height and width of the view, at most `frame_size_px`.
        num_views: 1 to 5; 4 in the paper.
        flip: whether a mirror image keeps its label; if not, no view is mirrored.

    Returns:
        The boxes of the views.
    """
    room_px = frame_size_px - crop_size_px
    corners = [(room_px // 2, room_px // 2), (0, 0), (room_px, room_px), (0, room_px), (room_px, 0)]
    return [(top, left, flip and number % 2 == 1) for number, (top, left) in enumerate(corners[:num_views])]


def view_of(frames: np.ndarray, box: ViewBox, size_px: int) -> np.ndarray:
    """Cut a view `[..., size_px, size_px, 3]` out of frames `[..., height, width, 3]`; no pixels are copied."""
    top, left, mirrored = box
    view = frames[..., top : top + size_px, left : left + size_px, :]
    return view[..., ::-1, :] if mirrored else view


def evaluation_views(frames: np.ndarray, clip: ClipSpec, num_views: int) -> np.ndarray:
    """Cut a stored clip, `[frame, size, size, 3]`, into evaluation's views, `[view, time, height, width, 3]`."""
    chosen = frames[middle_frames(len(frames), clip)]
    boxes = view_boxes(frames.shape[1], clip.crop_size_px, num_views, clip.flip)
    return np.stack([view_of(chosen, box, clip.crop_size_px) for box in boxes])
