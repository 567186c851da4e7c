"""Scores of a run: clips x views through the model, computed once and kept in the run's folder (section 4.1)."""

import logging
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import numpy as np

from deepvideo_tf.config import check_int
from deepvideo_tf.data.input.pipeline import check_clip, make_evaluation_dataset, naming_damage
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.data.sampling import MAX_VIEWS
from deepvideo_tf.data.shards.manifest import Manifest, check_card, read_manifest
from deepvideo_tf.errors import ModelFileError
from deepvideo_tf.evaluation.averages import append_rows, map_rows, scratch_files, video_means
from deepvideo_tf.evaluation.scores import FORWARD, Scores, read, save, scores_path
from deepvideo_tf.metrics.probabilities import probabilities
from deepvideo_tf.runs.run import Run, load_run
from deepvideo_tf.storage.paths import AnyPath, PathLike

logger = logging.getLogger(__name__)

SHUFFLING_SEED = 0
_VERSION = 1  # of what `score_run` computes: files of another version are computed again

Progress = Callable[[int], object]


def score_run(
    workdir: PathLike,
    shards_dir: PathLike,
    *,
    split: str = "test",
    num_views: int = 4,
    time_orders: Sequence[str] = (FORWARD,),
    batch_size: int = 8,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    on_batch: Progress | None = None,
) -> dict[str, Scores]:
    """Score every clip and video of a split, or read the scores in the run's folder.

    The probabilities of a clip's views are averaged into the clip's, the clips' into the video's (section 4.1). Each
    time order has its own file in the run's folder; all missing ones are computed in one pass over the shards. A file
    is used again if it is whole and was computed by the same checkpoint from the same shards and views.

    Args:
        workdir: the run's folder.
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        num_views: crops and mirror images of each clip, 1 to 5; 4 in the paper.
        time_orders: the orders in which the model sees the frames of a clip: `forward`; `shuffled`, by a random
            permutation of each clip that is never the identity; `reversed`; `frozen`, the middle frame repeated.
        batch_size: stored clips in a batch.
        max_bad_fraction: the fraction of the stored clips that may be damaged, and are skipped with a warning.
        on_batch: called with the number of clips after each batch, for a progress bar.

    Returns:
        Dict from the time order to `Scores`. A model of one frame has the order `forward` only.

    Raises:
        ModelFileError: the run cannot be loaded or written to, has outputs that are not finite, or was trained on clips
            of another size or rate.
        ShardError: the shards are missing, unfinished or damaged, or have other classes or another order of them.
        ConfigError: an argument is outside its range, or the shards do not have such clips.
    """
    check_int("num_views", num_views, 1, MAX_VIEWS)
    manifest = read_manifest(shards_dir, split)
    run = load_fitting_run(workdir, shards_dir, manifest)
    if run.card.clip.num_frames == 1:
        time_orders = (FORWARD,)
    paths = {order: scores_path(workdir, split, order) for order in time_orders}
    abouts = {order: _about(run, manifest, num_views, order) for order in time_orders}
    found = {order: _kept(path, abouts[order], manifest) for order, path in paths.items()}
    kept = {order: scores for order, scores in found.items() if scores is not None}
    missing = [order for order in time_orders if order not in kept]
    if not missing:
        if on_batch is not None:
            on_batch(manifest.records)
        return kept
    dataset = make_evaluation_dataset(
        shards_dir,
        split,
        run.card.clip,
        batch_size=batch_size,
        num_views=num_views,
        max_bad_fraction=max_bad_fraction,
    )
    with naming_damage(shards_dir, split):
        computed = _compute(workdir, run, dataset, {order: abouts[order] for order in missing}, on_batch)
    for order, scores in computed.items():
        save(scores, paths[order])
    return {order: (kept | computed)[order] for order in time_orders}


def load_fitting_run(workdir: PathLike, shards_dir: PathLike, manifest: Manifest) -> Run:
    """Load a run, and check that its model can be evaluated on some shards.

    Args:
        workdir: the run's folder.
        shards_dir: the folder of shards, for messages.
        manifest: of the shards.

    Returns:
        `Run`.

    Raises:
        ModelFileError: the run cannot be loaded, or was trained on clips of another size or rate.
        ShardError: the shards have other classes or another order of them.
        ConfigError: the shards do not have the model's clips.
    """
    run = load_run(workdir)
    check_card(workdir, run.card, shards_dir, manifest)
    check_clip(manifest, run.card.clip, shards_dir)
    return run


def _about(run: Run, manifest: Manifest, num_views: int, time_order: str) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "split": manifest.split,
        "shards_fingerprint": manifest.fingerprint,
        "shards_sha256": manifest.content_sha256,
        "models": [run.checkpoint.name],
        "num_views": num_views,
        "time_order": time_order,
    }


def _kept(path: AnyPath, about: Mapping[str, Any], manifest: Manifest) -> Scores | None:
    """Return the scores in a file, or None if they must be computed."""
    if not path.exists():
        return None
    try:
        scores = read(path)
    except ModelFileError as error:
        logger.warning("%s; computed again", error)
        return None
    changed = ", ".join(name for name in about if scores.about.get(name) != about[name])
    if changed:
        logger.warning("%s: holds scores of something else (%s); computed again", path, changed)
        return None
    if len(scores.clip_scores) < manifest.records:
        logger.warning("%s: lacks clips that were damaged; computed again", path)
        return None
    return scores


def _compute(
    workdir: PathLike, run: Run, dataset: Any, abouts: Mapping[str, dict[str, Any]], on_batch: Progress | None
) -> dict[str, Scores]:
    """Compute the scores of all time orders in one pass."""
    numbers: dict[str, int] = {}
    is_true, clip_videos = [], array("q")
    with scratch_files(workdir, len(abouts)) as opened:
        files = dict(zip(abouts, opened, strict=True))
        for views, targets, ids in dataset.as_numpy_iterator():
            _append_scores(workdir, run, views, files, len(clip_videos))
            for target, video_id in zip(targets, ids, strict=True):
                if video_id.decode() not in numbers:
                    numbers[video_id.decode()] = len(numbers)
                    is_true.append(target > 0)
                clip_videos.append(numbers[video_id.decode()])
            if on_batch is not None:
                on_batch(len(ids))
        classes, videos = run.card.classes, np.array(clip_videos, np.int64)
        mapped = {order: map_rows(file, len(classes)) for order, file in files.items()}
        return {
            order: Scores(
                tuple(numbers), classes, np.stack(is_true), video_means(rows, videos), rows, videos, abouts[order]
            )
            for order, rows in mapped.items()
        }


def _append_scores(
    workdir: PathLike, run: Run, views: np.ndarray, files: Mapping[str, IO[bytes]], first_clip: int
) -> None:
    """Append a batch's scores, `[clip, class]`, the views' probabilities averaged, to the file of each time order."""
    for order, file in files.items():
        ordered = in_time_order(views, order, first_clip)
        logits = run.model.predict_on_batch(run.inputs(ordered.reshape(-1, *ordered.shape[2:])))
        scores = probabilities(run.card, logits).reshape(*ordered.shape[:2], -1).mean(axis=1)
        if not np.isfinite(scores).all():
            raise ModelFileError(f"{workdir}: the model's outputs are not finite: its weights are damaged")
        append_rows(file, scores)


def in_time_order(views: np.ndarray, time_order: str, first_clip: int) -> np.ndarray:
    """Reorder the frames of clips.

    Args:
        views: `[clip, view, time, height, width, 3]`.
        time_order: `forward`, `shuffled`, `reversed` or `frozen`.
        first_clip: index of the first of these clips in the split, which seeds the shuffling.

    Returns:
        An array of the same shape.
    """
    num_frames = views.shape[2]
    if time_order == "shuffled":
        orders = [_permutation(first_clip + clip, num_frames) for clip in range(len(views))]
        return np.stack([view[:, order] for view, order in zip(views, orders, strict=True)])
    if time_order == "reversed":
        return views[:, :, ::-1]
    if time_order == "frozen":
        return views[:, :, [num_frames // 2] * num_frames]
    return views


def _permutation(clip: int, num_frames: int) -> np.ndarray:
    rng = np.random.default_rng([SHUFFLING_SEED, clip])
    order = np.arange(num_frames)
    while (order == np.arange(num_frames)).all():
        order = rng.permutation(num_frames)
    return order
