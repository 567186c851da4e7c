"""From an encoded record to a model's clip and target: parse, choose frames, decode only those, augment."""

from dataclasses import dataclass

import tensorflow as tf

from deepvideo_tf.config import ClipSpec
from deepvideo_tf.data.input import augment
from deepvideo_tf.data.sampling import middle_frames, view_boxes
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import Manifest


@dataclass(frozen=True)
class ClipDecoder:
    """Turns encoded records into clips, in a graph.

    Args:
        manifest: manifest of the shards.
        clip: the model's clip.
        multi_label: whether each label of a clip gets the target 1, or they share 1 equally.
    """

    manifest: Manifest
    clip: ClipSpec
    multi_label: bool = False

    def training_clip(
        self, record: tf.Tensor, seed: tf.Tensor, augmentation: augment.Augmentation
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Decode random frames and a random view of a record; all draws are functions of the seed, int64 `[2]`.

        Returns a clip, uint8 `[time, height, width, 3]`, and its target, float32 `[class]`.
        """
        parsed = records.parse_record(record)
        spec = self.manifest.spec
        numbers = augment.random_frames(
            tf.random.fold_in(seed, 0), spec.clip_frames, self.clip, augmentation.time_jitter
        )
        view = augment.random_view(tf.random.fold_in(seed, 1), spec.frame_size_px, self.clip)
        pixels = self._decode(tf.gather(parsed[records.FRAMES], numbers), view)
        if augmentation.colour_jitter:
            pixels = augment.jitter_colors(tf.random.fold_in(seed, 2), pixels, augmentation.colour_jitter)
        return pixels, self.target(parsed)

    def evaluation_clip(self, record: tf.Tensor, num_views: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Decode 1 to 5 views of the frames in the middle of a record.

        Returns the views, uint8 `[view, time, height, width, 3]`, the target, float32 `[class]`, and the video id.
        """
        parsed = records.parse_record(record)
        spec = self.manifest.spec
        frames = parsed[records.FRAMES][middle_frames(spec.clip_frames, self.clip)]
        boxes = view_boxes(spec.frame_size_px, self.clip.crop_size_px, num_views, self.clip.flip)
        views = [self._decode(frames, tf.constant([int(value) for value in box])) for box in boxes]
        return tf.stack(views), self.target(parsed), parsed[records.VIDEO_ID]

    def target(self, parsed: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the target of a parsed record, float32 `[class]`."""
        hot = tf.reduce_max(tf.one_hot(parsed[records.LABELS], len(self.manifest.classes)), axis=0)
        return hot if self.multi_label else hot / tf.reduce_sum(hot)

    def _decode(self, frames: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        """Decode one view, int32 (top_px, left_px, mirrored), of the chosen frames, string `[time]`."""
        frames = tf.ensure_shape(frames, [self.clip.num_frames])
        size_px, frame_px = self.clip.crop_size_px, self.manifest.spec.frame_size_px
        if self.manifest.spec.frame_format == "raw":
            whole = tf.reshape(tf.io.decode_raw(frames, tf.uint8), [self.clip.num_frames, frame_px, frame_px, 3])
            pixels = whole[:, view[0] : view[0] + size_px, view[1] : view[1] + size_px]
        else:
            window = tf.stack([view[0], view[1], size_px, size_px])
            images = [tf.image.decode_and_crop_jpeg(frame, window, channels=3) for frame in tf.unstack(frames)]
            pixels = tf.stack(images)
        pixels = tf.ensure_shape(pixels, [self.clip.num_frames, size_px, size_px, 3])
        return tf.cond(view[2] == 1, lambda: _mirrored(pixels), lambda: pixels)


def _mirrored(pixels: tf.Tensor) -> tf.Tensor:
    """Mirror frames as the rows of one tall picture, which TensorFlow reverses five times as fast."""
    time, height, width, channels = pixels.shape
    rows = tf.reshape(pixels, [time * height, width, channels])
    return tf.reshape(tf.reverse(rows, axis=[1]), [time, height, width, channels])
