"""Which moments, frames and views are taken: pure index arithmetic, no pixels."""

import numpy as np

MAX_VIEWS = 5


def clip_starts_s(duration_s, *, clips, clip_frames, frame_rate_fps):
    """Start times of the clips of one video, evenly spread from its beginning to its end.

    Differs from the paper, which draws them at random (section 4.1): evenly spread ones cover the video, and come out
    the same on every machine.

    Args:
        duration_s: length of the video, seconds.
        clips: clips wanted at most.
        clip_frames: frames a clip holds.
        frame_rate_fps: frames a second within the clip.

    Returns:
        Start times in seconds from the first frame, ascending: `clips` of them, or fewer where the video is so short
        that two would start within one frame of each other.
    """
    last_start_s = max(0.0, duration_s - clip_frames / frame_rate_fps)
    distinct = 1 + int(last_start_s * frame_rate_fps + 1e-6)
    if min(clips, distinct) == 1:
        return [last_start_s / 2]
    return [float(start) for start in np.linspace(0.0, last_start_s, min(clips, distinct))]


def frame_times_s(start_s, *, clip_frames, frame_rate_fps):
    """Times of the frames of one clip, seconds from the first frame of the video."""
    return [start_s + index / frame_rate_fps for index in range(clip_frames)]


def centred_frame_start(stored_frames, span):
    """First stored frame of a model's clip of `span` frames in the middle of a stored clip."""
    return (stored_frames - span) // 2


def view_boxes(frame_size_px, crop_size_px, num_views, flip):
    """The views in which evaluation shows each clip: different crops, every second one mirrored (section 4.1).

    The order is centre, top left, bottom right, top right, bottom left. Without `flip` none is mirrored.

    Args:
        frame_size_px: height and width of the stored frame.
        crop_size_px: height and width of the view, at most `frame_size_px`.
        num_views: 1 to 5; 4 in the paper.
        flip: whether a mirror image keeps its label.

    Returns:
        List of (top_px, left_px, mirrored).
    """
    room_px = frame_size_px - crop_size_px
    corners = [(room_px // 2, room_px // 2), (0, 0), (room_px, room_px), (0, room_px), (room_px, 0)]
    return [(top, left, flip and number % 2 == 1) for number, (top, left) in enumerate(corners[:num_views])]
