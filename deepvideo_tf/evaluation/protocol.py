"""The paper's test protocol (section 4.1)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.evaluation import EVALUATORS
from deepvideo_tf.evaluation.class_groups import check_groups, ucf101_groups
from deepvideo_tf.evaluation.context import Evaluation
from deepvideo_tf.evaluation.scores import FORWARD, MOTION_ORDERS
from deepvideo_tf.evaluation.scoring import load_fitting_run, score_run
from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.paths import PathLike, to_path


def evaluate(
    workdir: PathLike,
    shards_dir: PathLike,
    *,
    split: str = "test",
    num_views: int = 4,
    ks: Sequence[int] | None = None,
    batch_size: int = 8,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    ensemble: Sequence[PathLike] = (),
    against: PathLike | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    motion: bool = False,
    on_batch: Callable[[int], object] | None = None,
) -> dict[str, Any]:
    """Evaluate a run, or the average of several, on shards.

    Each clip passes through the model once per view; the views' probabilities are averaged into the clip's, the clips'
    into the video's (section 4.1). Differs from the paper, which draws 20 clips at random: these are the stored, evenly
    spaced ones. The scores are kept in the runs' folders (`score_run`) and computed only once.

    Ties are resolved against the model in Hit@k (`HitAtK`), and share a threshold in average precision
    (`average_precision`). Intervals hold 95% of 1000 bootstrap resamples of the videos; all use the same draws.

    Args:
        workdir: the run's folder; not used if `ensemble` is given.
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        num_views: crops and mirror images of each clip, 1 to 5; 4 in the paper.
        ks: the k of Hit@k; None for the paper's 1 and 5, without 5 if there are no more than 5 classes.
        batch_size: stored clips in a batch.
        max_bad_fraction: the fraction of the stored clips that may be damaged, and are skipped with a warning.
        ensemble: folders of runs whose probabilities are averaged, as the paper's CNN average.
        against: folder of a run to compare with, class by class (Table 2).
        groups: lists of class names by the name of their group, for mean average precision by group; None for the
            paper's five if all classes are of UCF-101 (Table 4), else none.
        motion: whether to evaluate the same clips with frames shuffled, reversed and frozen too, which shows whether
            the model uses motion.
        on_batch: called with the number of clips after each batch of each run, for a progress bar.

    Returns:
        Dict, ready for JSON. Unknown numbers, such as those of a class without a video, are None.

        - `split`, `videos`, `clips`, `skipped_clips` (damaged ones), `views`, `runs` (their folders),
          `checkpoints` (names of the files that their weights come from).
        - `clip_hit_at_1`, `video_hit_at_<k>` for each k, `clip_<metric>` and `video_<metric>` of any further registered
          metric, `map` (mean average precision over the classes that have videos) and `map_by_group`; by the same
          names, `group_sizes`, numbers of classes, and `map_by_group_intervals`, 95%.
        - `intervals`: the lower and upper bounds of each of these (without groups), and the numbers of `resamples` and
          of `map_resamples`, which are fewer on large sets.
        - `chance`: what a random order of the classes is expected to reach in each of these; None if not known.
        - `classes`: for each class name its `videos`, `video_hit_at_1` and `ap`. A video with several labels is a hit
          in each of them if any is predicted.
        - `confusion`: counts of videos `[true class][predicted class]`; a video counts once for each of its labels. Of
          classes with the same highest score the first counts as predicted, which is not a hit.
          `most_confused`: at most 10 of `true`, `predicted`, `videos`, where the prediction is not one of the labels.
        - `against`, if given: `run`; `video_hit_at_1` and `map` of the other run, and the differences of this one from
          it (`..._difference`), with an `interval` for the former; `ap_difference` for each class name; `gains` and
          `losses`, the five largest, each with its `class`, `ap`, `ap_difference` and the `interval` of the latter.
        - `motion`, if asked for: `orders`, for each time order `clip_hit_at_1`, `video_hit_at_1`, `map`, their
          `..._change` against the frames' own order, for the first two a `..._change_interval`, and for each of
          `classes` the `ap_change` and `video_hit_at_1_change`; `matters`, the orders with an interval of a change of
          Hit@1 below 0; and a `note` if the model sees one frame, and so no motion.
        - `per_video`: list of `video_id`, `labels`, `predicted` and the `probability` of the latter.

    Raises:
        ModelFileError: a run cannot be loaded or written to, or was trained on clips of another size or rate.
        ShardError: the shards are missing, unfinished or damaged, or have other classes or another order of them.
        ConfigError: an argument is outside its range.
    """
    manifest = read_manifest(shards_dir, split)
    ks = checked_ks(ks, len(manifest.classes))
    if groups is None:
        groups = ucf101_groups(manifest.classes) or {}
    else:
        check_groups(groups, manifest.classes)
    runs = _checked_runs(workdir, ensemble)
    others = [] if against is None else [against]
    for other in runs[1:] + others:
        load_fitting_run(other, shards_dir, manifest)  # report a mistake before the first run's hour
    settings: dict[str, Any] = {
        "split": split,
        "num_views": num_views,
        "batch_size": batch_size,
        "max_bad_fraction": max_bad_fraction,
        "on_batch": on_batch,
    }
    time_orders = (FORWARD, *MOTION_ORDERS) if motion else (FORWARD,)
    scored = {run: score_run(run, shards_dir, time_orders=time_orders, **settings) for run in runs}
    compared = None if against is None else (against, score_run(against, shards_dir, **settings)[FORWARD])
    evaluation = Evaluation(scored, ks, groups, compared, motion)
    scores = evaluation.scores
    result: dict[str, Any] = {
        "split": split,
        "videos": len(scores.video_ids),
        "clips": len(scores.clip_videos),
        "skipped_clips": manifest.records - len(scores.clip_videos),
        "views": num_views,
        "runs": [str(run) for run in runs],
        "checkpoints": scores.about["models"],
    }
    for module in EVALUATORS.values():
        result.update(import_module(module).run(evaluation))
    return result


def checked_ks(ks: Sequence[int] | None, num_classes: int) -> list[int]:
    """Return the k of Hit@k, by default the paper's 1 and 5; raise ConfigError for others than 1 to `num_classes`."""
    if ks is None:
        return [1] + [5] * (num_classes > 5)
    if not isinstance(ks, (list, tuple)) or not ks:
        raise ConfigError(f"ks must be a list of integers. Received: {ks!r}")
    for k in ks:
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= num_classes:
            raise ConfigError(f"k must be an integer from 1 to the {num_classes} classes. Received: {k!r}")
    return list(ks)


def _checked_runs(workdir: PathLike, ensemble: Sequence[PathLike]) -> list[PathLike]:
    if isinstance(ensemble, (str, Path, RemotePath)):
        raise ConfigError(f"ensemble must be a list of folders of runs. Received: {ensemble!r}")
    runs = list(ensemble) or [workdir]
    for number, run in enumerate(runs):
        if to_path(run).resolve() in [to_path(other).resolve() for other in runs[:number]]:
            raise ConfigError(f"ensemble must name each run once. Received: {run} twice")
    return runs
