"""What TensorBoard shows of a run: its metrics after each epoch, and pictures of what it has learned."""

import contextlib
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ModelCard
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.errors import DeepVideoError, ModelFileError
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.models.first_layer import first_layer_filters
from deepvideo_tf.storage.paths import AnyPath

logger = logging.getLogger(__name__)

PICTURES_EVERY_S = 60.0
PICTURES_PAUSE = 30  # times as long as they took, if that is more: drawing never takes more than 3% of the time
PICTURED_VIDEOS, SHOWN_VIDEOS = 64, 8  # of the first of the shards on; in the confusion matrix, and with their frames


class TensorBoard:
    """Writes a run's events.

    Args:
        folder: of the events; made if it does not exist.
        card: the model's.
        model: from clips to logits.
        shards_dir: the folder of shards.
        split: whose videos the pictures show.
        max_bad_fraction: fraction of the stored clips that may be damaged.

    Raises:
        ModelFileError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: AnyPath,
        card: ModelCard,
        model: keras.Model,
        shards_dir: AnyPath,
        split: str,
        max_bad_fraction: float,
    ) -> None:
        self._folder = folder
        self._card = card
        self._model = model
        self._shards_dir = shards_dir
        self._split = split
        self._max_bad_fraction = max_bad_fraction
        self._pictures_due_s = math.inf
        with self._naming_folder():
            self._writer = tf.summary.create_file_writer(str(folder))

    def draw_pictures(self) -> None:
        """Draw pictures, too, after the first epoch that ends a minute from now and every minute then."""
        self._pictures_due_s = time.monotonic() + PICTURES_EVERY_S

    def close(self) -> None:
        self._writer.close()

    @contextlib.contextmanager
    def _naming_folder(self) -> Iterator[None]:
        """Name the folder where TensorFlow cannot write to it."""
        try:
            yield
        except tf.errors.OpError as error:
            reason = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", error.message)
            raise ModelFileError(f"{self._folder}: cannot be written: {reason}") from None

    def write(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Write an epoch's metrics, and pictures if they are due.

        Args:
            epoch: its number, from 0.
            logs: the metrics.

        Raises:
            ModelFileError: the folder cannot be written.
        """
        with self._naming_folder():
            self._write_scalars(epoch, logs)
        if time.monotonic() >= self._pictures_due_s:
            self._write_pictures(epoch)

    def _write_scalars(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Write scalars as TensorBoard shows them; `tf.summary.scalar` needs TensorBoard itself."""
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        kind = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=1)  # 1 is DATA_CLASS_SCALAR
        with self._writer.as_default(step=epoch):
            for name, value in logs.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=kind)
        self._writer.flush()

    def _write_pictures(self, epoch: int) -> None:
        """Write filters, predictions and confusion.

        They show the same videos each time, in the central view of one clip each. No weight, metric or random state of
        the run changes.
        """
        began_s = time.monotonic()
        try:
            figures = self._pictures(epoch)
        except DeepVideoError as error:
            logger.warning("no pictures in tensorboard: %s", error)
            self._pictures_due_s = math.inf
            return
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="images")
        kind = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=3)  # 3 is DATA_CLASS_BLOB_SEQUENCE
        with self._naming_folder(), self._writer.as_default(step=epoch):
            for name, (png, width_px, height_px) in figures.items():
                value = tf.constant([str(width_px).encode(), str(height_px).encode(), png])
                tf.summary.write(f"pictures/{name}", value, metadata=kind)
            self._writer.flush()
        ended_s = time.monotonic()
        self._pictures_due_s = ended_s + max(PICTURES_EVERY_S, PICTURES_PAUSE * (ended_s - began_s))

    def _pictures(self, epoch: int) -> dict[str, tuple[bytes, int, int]]:
        """Return a PNG's bytes, width and height by the picture's name."""
        from deepvideo_tf.visualization import plots

        clips, is_true, scores = self._pictured_predictions()
        labels = [np.flatnonzero(row).tolist() for row in is_true]
        confusion = np.zeros((len(self._card.classes),) * 2, int)
        for of_video, row in zip(labels, scores, strict=True):
            confusion[of_video, row.argmax()] += 1
        moment = f"after epoch {epoch + 1}, of videos of the {self._split} split"
        shown = len(clips)
        figures = {
            "filters": plots.filters(
                first_layer_filters(self._model), title=f"First-layer filters after epoch {epoch + 1}"
            ),
            "predictions": plots.predictions(
                clips, scores[:shown], labels[:shown], self._card.classes, title=f"Predictions {moment}"
            ),
            "confusion": plots.confusion(
                confusion, self._card.classes, title=f"Confusion {moment}: a clip of each of {len(scores)}"
            ),
        }
        found = {}
        for name, figure in figures.items():
            width_px, height_px = map(int, figure.canvas.get_width_height())
            found[name] = plots.to_png(figure), width_px, height_px
        return found

    def _pictured_predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return frames, uint8 `[shown video, height, width, 3]`, truth and probabilities, `[video, class]`."""
        frames: list[np.ndarray] = []
        is_true, scores, seen = [], [], set()
        dataset = make_evaluation_dataset(
            self._shards_dir, self._split, self._card.clip, num_views=1, max_bad_fraction=self._max_bad_fraction
        )
        for views, targets, ids in dataset.as_numpy_iterator():
            new = [row for row, video_id in enumerate(ids) if video_id not in seen and video_id not in ids[:row]]
            seen.update(ids)
            if new:
                clips = views[new, 0]
                scores.append(probabilities(self._card, self._model.predict_on_batch(clips)))
                is_true.append(targets[new] > 0)
                frames += list(clips[: SHOWN_VIDEOS - len(frames), clips.shape[1] // 2])
            if len(seen) >= PICTURED_VIDEOS:
                break
        return np.stack(frames), np.concatenate(is_true), np.concatenate(scores).astype(np.float32)
