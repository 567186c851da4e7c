"""The views of the two-stream network: a sharp fovea and a coarse context, half the height and width (section 3.2)."""

import keras

from deepvideo_tf.models.layers import DATA_FORMAT

Frames = list[keras.KerasTensor]


def fovea_views(frames: Frames, crop_size_px: int) -> Frames:
    """Crop the center of each frame: half the height and width, rounded up, in full resolution."""
    size_px = (crop_size_px + 1) // 2
    before_px = (crop_size_px - size_px) // 2
    after_px = crop_size_px - size_px - before_px
    around_px = ((before_px, after_px), (before_px, after_px))
    crop = keras.layers.Cropping2D(around_px, data_format=DATA_FORMAT, name="fovea")
    return [crop(frame) for frame in frames]


def context_views(frames: Frames, crop_size_px: int) -> Frames:
    """Shrink each frame: every 2 x 2 pixels averaged, and what is left at an odd edge."""
    del crop_size_px
    shrink = keras.layers.AveragePooling2D(2, padding="same", data_format=DATA_FORMAT, name="context")
    return [shrink(frame) for frame in frames]


VIEWS = {"context": context_views, "fovea": fovea_views}
