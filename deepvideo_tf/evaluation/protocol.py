"""The paper's test protocol (section 4.1), and what its scores tell: Hit@k, average precision, confusion, motion."""

import math
from pathlib import Path

import numpy as np

from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.evaluation.class_groups import check_groups, ucf101_groups
from deepvideo_tf.evaluation.scores import (
    FORWARD,
    MOTION_ORDERS,
    average_scores,
    check_same_clips,
    load_fitting_run,
    row_chunks,
    score_run,
)
from deepvideo_tf.metrics.average_precision import average_precision
from deepvideo_tf.metrics.bootstrap import RESAMPLES, mean_interval, mean_intervals, resampled_average_precision
from deepvideo_tf.metrics.hit_at_k import hits_at_k
from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.paths import to_path

LISTED_CONFUSIONS = 10
LISTED_DIFFERENCES = 5  # gains, and as many losses, in Table 2
CLIP_HIT = "clip_hit_at_1"
VIDEO_HIT = "video_hit_at_1"


def evaluate(
    workdir,
    shards_dir,
    *,
    split="test",
    num_views=4,
    ks=None,
    batch_size=8,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
    ensemble=(),
    against=None,
    groups=None,
    motion=False,
    on_batch=None,
):
    """Evaluates a run, or the average of several, on shards.

    Each clip passes the net once a view; the views' probabilities are averaged into the clip's, the clips' into the
    video's (section 4.1). Differs from the paper, which draws 20 clips at random: these are the stored, evenly spaced
    ones. The scores are kept in the runs' folders (`score_run`) and computed only once.

    Ties are resolved against the model in Hit@k (`HitAtK`), and share a threshold in average precision
    (`average_precision`). Intervals hold 95% of 1000 bootstrap resamples of the videos; all use the same draws.

    Args:
        workdir: the run's folder; not looked at where `ensemble` is given.
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        num_views: crops and mirrorings of each clip, 1 to 5; 4 in the paper.
        ks: the k of Hit@k; None for 1 and 5, the paper's, without those that are not below the number of classes.
        batch_size: stored clips in a batch.
        max_bad_fraction: the part of the stored clips that may be damaged, and are skipped with a warning.
        ensemble: folders of runs whose answers are averaged, as the paper's CNN average.
        against: folder of a run to compare with, class by class (Table 2).
        groups: dict from the names of groups to lists of class names, for their mean average precision; None for the
            paper's five where all classes are of UCF-101 (Table 4), else none.
        motion: whether to evaluate the same clips with frames shuffled, reversed and frozen as well, which tells
            whether the model uses motion.
        on_batch: called with the number of clips after each batch of each run, for a progress bar.

    Returns:
        Dict, ready for JSON. Numbers that cannot be told, as a class's without a video, are None.

        - `split`, `videos`, `clips`, `skipped_clips` (damaged ones), `views`, `runs` (their folders),
          `checkpoints` (names of the files that their weights come from).
        - `clip_hit_at_1`, `video_hit_at_<k>` for each k, `map` (mean average precision over the classes that have
          videos) and `map_by_group`; `map_by_group_intervals`, 95%, and
          `group_sizes`, numbers of classes, by the same names.
        - `intervals`: of each of these (without groups) the lower and the upper end, and the number of `resamples` and
          of `map_resamples`, which are fewer on big sets.
        - `chance`: what an order of the classes drawn at random is expected to reach in each of these.
        - `classes`: for each class name its `videos`, `video_hit_at_1` and `ap`. A video of several labels is a hit
          in each of them where any is predicted.
        - `confusion`: counts of videos `[true class][predicted class]`; a video counts once for each of its labels. Of
          classes with the same highest score the first counts as predicted, which is no hit.
          `most_confused`: at most 10 of `true`, `predicted`, `videos`, where the prediction is none of the labels.
        - `against`, if asked for: `run`; `video_hit_at_1` and `map` of the other run, what this one has more
          (`..._difference`), with an `interval` for the former; `ap_difference` for each class name; `gains` and
          `losses`, the five largest, each with its `class`, `ap`, `ap_difference` and the `interval` of the latter.
        - `motion`, if asked for: `orders`, for each order of time `clip_hit_at_1`, `video_hit_at_1`, `map`, their
          `..._change` against the order as it is, of the first two an `..._change_interval`, and for each of `classes`
          the `ap_change` and `video_hit_at_1_change`; `matters`, the orders whose interval of a change of Hit@1 lies
          below 0; and a `note`, where the model sees one frame, and so no motion.
        - `per_video`: list of `video_id`, `labels`, `predicted` and the `probability` of the latter.

    Raises:
        ModelFileError: a run cannot be loaded or written to, or was trained on clips of another size or rate.
        ShardError: the shards are missing, unfinished or damaged, or have other classes or another order of them.
        ConfigError: an argument is outside its range.
    """
    manifest = read_manifest(shards_dir, split)
    ks = _checked_ks(ks, len(manifest.classes))
    if groups is None:
        groups = ucf101_groups(manifest.classes) or {}
    else:
        check_groups(groups, manifest.classes)
    runs = _checked_runs(workdir, ensemble)
    for other in [*runs[1:]] + [against] * (against is not None):
        load_fitting_run(other, shards_dir, manifest)  # a mistake must not show itself only after the first run's hour
    settings = {
        "split": split,
        "num_views": num_views,
        "batch_size": batch_size,
        "max_bad_fraction": max_bad_fraction,
        "on_batch": on_batch,
    }
    time_orders = (FORWARD, *MOTION_ORDERS) if motion else (FORWARD,)
    scored = {run: score_run(run, shards_dir, time_orders=time_orders, **settings) for run in runs}
    scores = _average(scored, FORWARD)
    result = _judge(scores, ks, groups)
    if against is not None:
        result["against"] = _compare(scores, score_run(against, shards_dir, **settings)[FORWARD], runs, against)
    if motion:
        result["motion"] = _motion(scores, scored)
    about = {
        "split": split,
        "videos": len(scores.video_ids),
        "clips": len(scores.clip_videos),
        "skipped_clips": manifest.records - len(scores.clip_videos),
        "views": num_views,
        "runs": [str(run) for run in runs],
        "checkpoints": scores.about["models"],
    }
    return about | result | {"per_video": _by_video(scores)}


def _checked_ks(ks, num_classes):
    if ks is None:
        return [1] + [5] * (num_classes > 5)
    if not isinstance(ks, (list, tuple)) or not ks:
        raise ConfigError(f"ks must be a list of whole numbers. Received: {ks!r}")
    for k in ks:
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= num_classes:
            raise ConfigError(f"k must be a whole number from 1 to the {num_classes} classes. Received: {k!r}")
    return list(ks)


def _checked_runs(workdir, ensemble):
    if isinstance(ensemble, (str, Path, RemotePath)):
        raise ConfigError(f"ensemble must be a list of folders of runs. Received: {ensemble!r}")
    runs = list(ensemble) or [workdir]
    for number, run in enumerate(runs):
        if to_path(run).resolve() in [to_path(other).resolve() for other in runs[:number]]:
            raise ConfigError(f"ensemble must name each run once. Received: {run} twice")
    return runs


def _average(scored, time_order):
    """The mean of all runs; those of a single frame have one order of time only."""
    members = {run: of_run.get(time_order, of_run[FORWARD]) for run, of_run in scored.items()}
    return average_scores(members, folder=next(iter(members)))


def _judge(scores, ks, groups):
    """What one set of scores tells by itself."""
    statistics = _statistics(scores, ks)
    ap = average_precision(scores.is_true, scores.video_scores)
    ap_of = dict(zip(scores.classes, ap.tolist(), strict=True))
    drawn = resampled_average_precision(scores.is_true, scores.video_scores)
    columns = {group: [scores.classes.index(name) for name in names] for group, names in groups.items()}
    confusion, most_confused = _confusion(scores)
    return {
        **_means(statistics),
        "map": _mean(ap),
        "map_by_group": {group: _mean([ap_of[name] for name in names]) for group, names in groups.items()},
        "group_sizes": {group: len(names) for group, names in groups.items()},
        "map_by_group_intervals": {group: mean_interval(drawn[:, labels]) for group, labels in columns.items()},
        "intervals": {
            **_intervals(statistics),
            "map": mean_interval(drawn),
            "resamples": RESAMPLES,
            "map_resamples": len(drawn),
        },
        "chance": _chance(scores, ks),
        "classes": _by_class(scores, ap),
        "confusion": confusion.tolist(),
        "most_confused": most_confused,
    }


def _statistics(scores, ks=(1,)):
    """The sums over each video's clips and their number, float64 `[video]` both, by the name of a Hit@k."""
    every = np.arange(len(scores.video_ids))
    clip_hits = _hits(scores.clip_scores, scores.is_true, scores.clip_videos, 1)
    of_clips = np.bincount(scores.clip_videos, clip_hits), np.bincount(scores.clip_videos).astype(float)
    of_videos = {
        f"video_hit_at_{k}": (_hits(scores.video_scores, scores.is_true, every, k).astype(float), np.ones(len(every)))
        for k in ks
    }
    return {CLIP_HIT: of_clips} | of_videos


def _hits(scores, is_true, videos, k):
    """Hits, bool `[row]`: a part of the rows at a time, since the scores of all clips may not fit into memory."""
    return np.concatenate([hits_at_k(is_true[videos[rows]], scores[rows], k) for rows in row_chunks(scores)])


def _means(statistics):
    return {name: float(sums.sum() / counts.sum()) for name, (sums, counts) in statistics.items()}


def _intervals(statistics):
    sums, counts = (np.stack(arrays, axis=1) for arrays in zip(*statistics.values(), strict=True))
    return dict(zip(statistics, mean_intervals(sums, counts).T.tolist(), strict=True))


def _changes(statistics, before):
    """How much more than before: the same videos and clips, so that an interval of it is paired."""
    return {name: (sums - before[name][0], counts) for name, (sums, counts) in statistics.items()}


def _mean(values):
    """The mean of the numbers among the values, or None where there are none."""
    known = [float(value) for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _number(value):
    return None if math.isnan(value) else float(value)


def _by_class(scores, ap):
    hits = _hits(scores.video_scores, scores.is_true, np.arange(len(scores.video_ids)), 1)
    return {
        name: {
            "videos": int(of_class.sum()),
            VIDEO_HIT: float(hits[of_class].mean()) if of_class.any() else None,
            "ap": _number(ap_of_class),
        }
        for name, of_class, ap_of_class in zip(scores.classes, scores.is_true.T, ap, strict=True)
    }


def _by_video(scores):
    return [
        {
            "video_id": video_id,
            "labels": [scores.classes[label] for label in np.flatnonzero(is_true)],
            "predicted": scores.classes[of_video.argmax()],
            "probability": round(float(of_video.max()), 6),
        }
        for video_id, is_true, of_video in zip(scores.video_ids, scores.is_true, scores.video_scores, strict=True)
    ]


def _confusion(scores):
    """Counts `[true][predicted]`, and the pairs that are mistaken most often."""
    num_classes = len(scores.classes)
    videos, labels = np.nonzero(scores.is_true)
    predicted = scores.video_scores.argmax(axis=1)
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predicted[videos]), 1)
    # A video of two classes that is taken for one of them is no mistake for the other.
    is_wrong = ~scores.is_true[videos, predicted[videos]]
    mistaken = np.zeros_like(counts)
    np.add.at(mistaken, (labels[is_wrong], predicted[videos][is_wrong]), 1)
    order = np.argsort(-mistaken, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    pairs = [divmod(int(place), num_classes) for place in order if mistaken.flat[place]]
    return counts, [
        {"true": scores.classes[one], "predicted": scores.classes[other], "videos": int(mistaken[one, other])}
        for one, other in pairs
    ]


def _chance(scores, ks):
    """What is expected of scores drawn at random."""
    videos, num_classes = scores.is_true.shape
    labels = scores.is_true.sum(axis=1)
    clips = np.bincount(scores.clip_videos)

    def hit(k, weights):
        missed = [math.comb(num_classes - count, k) / math.comb(num_classes, k) for count in range(labels.max() + 1)]
        return float(1 - np.average(np.array(missed)[labels], weights=weights))

    return {
        CLIP_HIT: hit(1, clips),
        **{f"video_hit_at_{k}": hit(k, None) for k in ks},
        "map": _mean([_random_average_precision(int(count), videos) for count in scores.is_true.sum(axis=0)]),
    }


def _random_average_precision(positives, videos):
    """The expected average precision of an order drawn at random; more than the part of positives in small sets.

    Above a positive at rank r there are (r - 1) * others more, on average. Positives are at all ranks equally often:
    what comes back is the mean of the precision (1 + (r - 1) * others) / r over all ranks.
    """
    if not positives:
        return math.nan
    others = (positives - 1) / max(videos - 1, 1)
    return others + (1 - others) * float(np.mean(1 / np.arange(1, videos + 1)))


def _compare(scores, other, runs, against):
    """What one model gains and loses against another, class by class (Table 2)."""
    check_same_clips({" + ".join(map(str, runs)): scores, str(against): other})
    statistics, others = _statistics(scores), _statistics(other)
    difference = _changes(statistics, others)
    ap, other_ap = (average_precision(one.is_true, one.video_scores) for one in (scores, other))
    drawn = resampled_average_precision(scores.is_true, scores.video_scores)
    drawn -= resampled_average_precision(other.is_true, other.video_scores)
    known = [
        {
            "class": name,
            "ap": float(ap[label]),
            "ap_difference": float(ap[label] - other_ap[label]),
            "interval": mean_interval(drawn[:, [label]]),
        }
        for label, name in enumerate(scores.classes)
        if not math.isnan(ap[label])
    ]
    gains = sorted((row for row in known if row["ap_difference"] > 0), key=lambda row: -row["ap_difference"])
    losses = sorted((row for row in known if row["ap_difference"] < 0), key=lambda row: row["ap_difference"])
    return {
        "run": str(against),
        VIDEO_HIT: _means(others)[VIDEO_HIT],
        f"{VIDEO_HIT}_difference": _means(difference)[VIDEO_HIT],
        "interval": _intervals(difference)[VIDEO_HIT],
        "map": _mean(other_ap),
        "map_difference": _mean(ap - other_ap),
        "ap_difference": dict(zip(scores.classes, map(_number, ap - other_ap), strict=True)),
        "gains": gains[:LISTED_DIFFERENCES],
        "losses": losses[:LISTED_DIFFERENCES],
    }


def _motion(scores, scored):
    """What becomes of the same clips when time is taken from them."""
    if all(set(of_run) == {FORWARD} for of_run in scored.values()):
        return {"orders": {}, "matters": [], "note": "the model sees one frame of each clip: no order changes anything"}
    statistics, ap = _statistics(scores), average_precision(scores.is_true, scores.video_scores)
    orders, matters = {}, []
    for time_order in MOTION_ORDERS:
        reordered = _average(scored, time_order)
        check_same_clips({"forward": scores, time_order: reordered})
        orders[time_order] = _motion_of(reordered, statistics, ap, _by_class(scores, ap))
        if any(orders[time_order][f"{name}_change_interval"][1] < 0 for name in (CLIP_HIT, VIDEO_HIT)):
            matters.append(time_order)
    return {"orders": orders, "matters": matters}


def _motion_of(scores, forward_statistics, forward_ap, forward_classes):
    statistics, ap = _statistics(scores), average_precision(scores.is_true, scores.video_scores)
    changes = _changes(statistics, forward_statistics)
    intervals = _intervals(changes)
    found = {}
    for name in (CLIP_HIT, VIDEO_HIT):
        found[name] = _means(statistics)[name]
        found[f"{name}_change"] = _means(changes)[name]
        found[f"{name}_change_interval"] = intervals[name]
    by_class = {
        name: {
            f"{key}_change": of_class[key] - forward_classes[name][key] if of_class["videos"] else None
            for key in ("ap", VIDEO_HIT)
        }
        for name, of_class in _by_class(scores, ap).items()
    }
    return found | {"map": _mean(ap), "map_change": _mean(ap - forward_ap), "classes": by_class}
