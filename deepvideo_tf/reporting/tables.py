"""The paper's tables from the evaluations of a report, beside the paper's numbers, and what they tell."""

import itertools
import math

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.reporting import paper
from deepvideo_tf.reporting.paper import AVERAGED

TITLES = {
    "feature_histograms": "feature histograms + neural net",
    "single_frame": "single-frame",
    "multires": "single-frame + multires",
    "fovea": "single-frame, fovea only",
    "context": "single-frame, context only",
    "early_fusion": "early fusion",
    "late_fusion": "late fusion",
    "slow_fusion": "slow fusion",
    "average": "CNN average",
    "top": "fine-tune top layer",
    "top3": "fine-tune top 3 layers",
    "all": "fine-tune all layers",
    "scratch": "train from scratch",
}
HITS = ("clip_hit_at_1", "video_hit_at_1", "video_hit_at_5")
HIT_TITLES = {"clip_hit_at_1": "clip Hit@1", "video_hit_at_1": "video Hit@1", "video_hit_at_5": "video Hit@5"}
TABLE_3_ORDER = ("feature_histograms", "scratch", "top", "top3", "all")


def make_tables(folds, speed, seconds):
    """All tables of a report.

    Args:
        folds: for each fold a dict from the name of a run to its evaluation, as `evaluate` returns it.
        speed: what `measure_speed` returned.
        seconds: dict from a run to the seconds of its training and evaluation, over all folds.

    Returns:
        Dict, ready for JSON, from `table_1` to `table_4` and `speed`: each has a `title`, a `note` where one is
        needed, the titles of its `columns`, and `rows`: `title` and a list of `cells`, one a column. A cell is a text,
        or a dict of `value`, `interval` (95%, None where there is none) and `paper`, the value there or None. A table
        that could not be measured has no rows, and a note that says why.
    """
    return {
        "table_1": _table_1(folds, seconds),
        "table_2": _table_2(folds),
        "table_3": _table_3(folds, seconds),
        "table_4": _table_4(folds),
        "speed": _speed(speed),
    }


def over_folds(folds, name, read):
    """The mean of a number over the folds, and its interval: the folds' test videos are other ones, so errors add up.

    Args:
        folds: as in `make_tables`.
        name: of the run.
        read: function from an evaluation to the number and its interval.

    Returns:
        (value, interval); (None, None) where a fold has none.
    """
    values, intervals = zip(*(read(fold[name]) for fold in folds), strict=True)
    if any(value is None for value in values):
        return None, None
    value = sum(values) / len(values)
    if any(interval is None for interval in intervals):
        return value, None
    below, above = (
        math.sqrt(sum((number - interval[end]) ** 2 for number, interval in zip(values, intervals, strict=True)))
        for end in (0, 1)
    )
    return value, [value - below / len(values), value + above / len(values)]


def _metric(name):
    return lambda evaluation: (evaluation[name], evaluation["intervals"][name])


def _cell(folds, run, name, papers=None):
    value, interval = over_folds(folds, run, _metric(name))
    return {"value": value, "interval": interval, "paper": papers}


def _table_1(folds, seconds):
    hits = [name for name in HITS if name in folds[0]["single_frame"]]
    rows = []
    for run, papers in paper.TABLE_1.items():
        by_hit = dict(zip(HITS, papers, strict=True))
        cells = [_cell(folds, run, name, by_hit[name]) for name in hits]
        rows.append({"title": TITLES[run], "cells": [*cells, _cell(folds, run, "map"), _duration(seconds.get(run))]})
    chance = folds[0]["single_frame"]["chance"]
    at_random = [{"value": chance[name], "interval": None, "paper": None} for name in (*hits, "map")]
    rows.append({"title": "chance", "cells": [*at_random, ""]})
    return {
        "title": "Table 1: Hit@k of clips and videos",
        "note": "The CNN average is that of single-frame, early, late and slow fusion. The paper's numbers are of "
        "200,000 test videos of Sports-1M." + _below_chance(folds, chance["video_hit_at_1"]),
        "columns": [*(HIT_TITLES[name] for name in hits), "mAP", "training and evaluation"],
        "rows": rows,
    }


def _below_chance(folds, chance):
    """Says which models have learnt nothing that can be told from guessing."""
    lows = {run: over_folds(folds, run, _metric("video_hit_at_1"))[1][0] for run in paper.TABLE_1}
    guessing = [TITLES[run] for run, low in lows.items() if low <= chance]
    return f" No better than chance, by the interval of video Hit@1: {'; '.join(guessing)}." if guessing else ""


def _duration(seconds):
    return "" if seconds is None else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _table_2(folds):
    """Of the first fold alone: classes are compared over the same videos."""
    against = folds[0]["slow_fusion"]["against"]
    gain, loss = paper.TABLE_2_LARGEST_GAIN, paper.TABLE_2_LARGEST_LOSS
    rows = [
        {
            "title": row["class"],
            "cells": [
                {"value": row["ap"] - row["ap_difference"], "interval": None, "paper": None},
                {"value": row["ap"], "interval": None, "paper": None},
                {"value": row["ap_difference"], "interval": row["interval"], "paper": None, "is_change": True},
            ],
        }
        for row in [*against["gains"], *reversed(against["losses"])]
    ]
    return {
        "title": "Table 2: the classes that gain and lose most from motion",
        "note": "Average precision of slow fusion against the single-frame net, the five largest gains and losses"
        + (", of the first fold. " if len(folds) > 1 else ". ")
        + f"In the paper from {gain[1]:+.2f} ({gain[0]}) to {loss[1]:+.2f} ({loss[0]}), of other classes.",
        "columns": ["single-frame", "slow fusion", "difference"],
        "rows": rows,
    }


def transfer_run(folds, mode):
    """The run of a transfer mode: from scratch it may be Table 1's slow fusion."""
    return f"transfer_{mode}" if f"transfer_{mode}" in folds[0] else "slow_fusion"


def _has_transfer(folds):
    return "transfer_top" in folds[0]


NOT_TRANSFERRED = " Not fine-tuned: there was no trained net to start from (--init_from)."


def _table_3(folds, seconds):
    rows = []
    for mode in TABLE_3_ORDER if _has_transfer(folds) else TABLE_3_ORDER[:2]:
        run = transfer_run(folds, mode) if mode in FINETUNE_MODES else mode
        cells = [_cell(folds, run, "video_hit_at_1", paper.TABLE_3[mode]), _duration(seconds.get(run))]
        rows.append({"title": TITLES[mode], "cells": cells})
    return {
        "title": "Table 3: what another net's knowledge is worth",
        "note": "In the paper accuracy on UCF-101, the mean of three folds, of slow fusion trained on Sports-1M."
        + ("" if _has_transfer(folds) else NOT_TRANSFERRED),
        "columns": ["video Hit@1", "training and evaluation"],
        "rows": rows,
    }


def _table_4(folds):
    modes = paper.TABLE_4_MODES if _has_transfer(folds) else paper.TABLE_4_MODES[:1]
    table = {
        "title": "Table 4: mean average precision by group of classes",
        "columns": [TITLES[mode] for mode in modes],
    }
    groups = list(folds[0]["slow_fusion"]["map_by_group"])
    if not groups:
        return table | {"note": "Not measured: no groups of these classes are known.", "rows": []}
    rows = []
    for group in [*groups, "all"]:
        cells = []
        for column, mode in enumerate(modes):
            value, interval = over_folds(folds, transfer_run(folds, mode), _of_group(group))
            papers = paper.TABLE_4[group][column] if group in paper.TABLE_4 else None
            cells.append({"value": value, "interval": interval, "paper": papers})
        rows.append({"title": f"{group} ({_count(folds[0]['slow_fusion'], group)})", "cells": cells})
    is_papers = all(group in paper.TABLE_4 for group in groups)
    whose = (
        "The paper's groups of UCF-101, as far as their classes are here; in brackets the number of classes."
        if is_papers
        else "The groups are this report's own, in brackets the number of classes; the paper's are of UCF-101."
    )
    return table | {"note": whose + ("" if _has_transfer(folds) else NOT_TRANSFERRED), "rows": rows}


def _of_group(group):
    if group == "all":
        return _metric("map")
    return lambda evaluation: (evaluation["map_by_group"][group], evaluation["map_by_group_intervals"][group])


def _count(evaluation, group):
    return len(evaluation["classes"]) if group == "all" else evaluation["group_sizes"][group]


def _speed(speed):
    rows = []
    for fusion, of_fusion in speed.items():
        papers = paper.SPEED_CLIPS_PER_S[fusion]
        for side, title, papers_rate in zip(
            ("full_frame", "multires"), (TITLES[fusion], f"{TITLES[fusion]} + multires"), papers, strict=True
        ):
            rates = [
                {"value": of_fusion[side][what], "interval": None, "paper": value, "is_rate": True}
                for what, value in (("training", papers_rate), ("inference", None))
            ]
            rows.append({"title": title, "cells": rates})
        ratios = [
            {
                "value": of_fusion["speed_up"][what]["median"],
                "interval": [of_fusion["speed_up"][what]["least"], of_fusion["speed_up"][what]["greatest"]],
                "paper": value,
                "is_ratio": True,
            }
            for what, value in (("training", paper.SPEED_UP[fusion]), ("inference", None))
        ]
        rows.append({"title": f"{TITLES[fusion]}: times as fast with multires", "cells": ratios})
    return {
        "title": "Speed at the paper's size, clips a second",
        "note": "Random clips in batches of 8, the two sides in turn, medians; with a ratio the least and the "
        "greatest of a round. The paper's are of one replica of a cluster of 2014.",
        "columns": ["training", "inference"],
        "rows": rows,
    }


def make_findings(folds):
    """Whether what the paper found is there: a statement of the paper's, whether it holds here, and how surely.

    Args:
        folds: as in `make_tables`.

    Returns:
        List of dicts: `expected`, what the paper found; `holds`, a bool; `sure`, whether it is so by more than the
        intervals, None where these do not matter; `doubt`, what speaks against it if not; `verdict`, all that in words;
        `measured`, a text with the numbers.
    """
    against = folds[0]["slow_fusion"]["against"]
    findings = [_motion(folds, against), _video_over_clip(folds), _average_over_members(folds)]
    pairs = [
        ("context", "fovea", "The context alone tells more than the fovea alone"),
        ("slow_fusion", "early_fusion", "Slow fusion is ahead of early fusion"),
        ("slow_fusion", "feature_histograms", "Slow fusion is ahead of the feature histograms"),
    ]
    if _has_transfer(folds):
        pairs += [
            (
                transfer_run(folds, "top3"),
                transfer_run(folds, "scratch"),
                "Fine-tuning is ahead of training from scratch",
            ),
            (transfer_run(folds, "top3"), transfer_run(folds, "top"), "Fine-tuning three layers is ahead of one"),
            (transfer_run(folds, "top3"), transfer_run(folds, "all"), "Fine-tuning three layers is ahead of all"),
        ]
    findings.append(
        _compared(folds, "multires", "single_frame", "Two streams are no worse than the full frame", may_tie=True)
    )
    findings += [_compared(folds, *pair) for pair in pairs] + [_order(folds)]
    return [finding | {"verdict": _verdict(finding)} for finding in findings]


def _verdict(finding):
    """In words: as in the paper or not, and whether the number of videos is enough to say so."""
    what = "as in the paper" if finding["holds"] else "not here"
    if finding["sure"] is None:
        return what
    return f"{what}, by more than the intervals" if finding["sure"] else f"{what}, though {finding['doubt']}"


def _order(folds):
    """All rows of Table 1 by video Hit@1."""
    here = {run: over_folds(folds, run, _metric("video_hit_at_1"))[0] for run in paper.TABLE_1}
    papers = {run: hits[1] for run, hits in paper.TABLE_1.items()}
    return {
        "expected": f"The order of Table 1 is {_ranking(papers)}",
        "holds": all(here[one] > here[other] for one in here for other in here if papers[one] > papers[other]),
        "sure": None,
        "measured": f"here it is {_ranking(here)}",
    }


def _ranking(values):
    """Titles from the highest value on, with `=` between equal ones."""
    runs = sorted(values, key=lambda run: -values[run])
    signs = (" = " if values[run] == values[after] else " > " for run, after in itertools.pairwise(runs))
    return "".join(TITLES[run] + sign for run, sign in zip(runs, (*signs, ""), strict=True))


def _compared(folds, better, worse, expected, *, may_tie=False):
    (one, one_ends), (other, other_ends) = (
        over_folds(folds, run, _metric("video_hit_at_1")) for run in (better, worse)
    )
    return {
        "expected": expected,
        "holds": one > other or (may_tie and one == other),
        "sure": one_ends[0] > other_ends[1] or one_ends[1] < other_ends[0],
        "doubt": "the intervals overlap",
        "measured": f"video Hit@1 {one:.3f} ({_range(one_ends)}) against {other:.3f} ({_range(other_ends)})",
    }


def _range(ends):
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _motion(folds, against):
    low, high = against["interval"]
    difference = against["video_hit_at_1_difference"]
    of_fold = " in the first fold" if len(folds) > 1 else ""
    return {
        "expected": "Slow fusion is ahead of the single-frame net",
        "holds": difference > 0,
        "sure": low > 0 or high < 0,
        "doubt": "the interval of the difference holds 0",
        "measured": f"video Hit@1 {difference:+.3f} ({low:+.3f} to {high:+.3f}, the same videos){of_fold}",
    }


def _video_over_clip(folds):
    runs = [run for run in paper.TABLE_1 if run != "average"]
    values = {run: [over_folds(folds, run, _metric(name))[0] for name in HITS[:2]] for run in runs}
    below = [run for run, (clip, video) in values.items() if video < clip]
    gains = [video - clip for clip, video in values.values()]
    return {
        "expected": "Averaging the clips of a video helps: video Hit@1 is at or above clip Hit@1",
        "holds": not below,
        "sure": None,
        "measured": f"from {min(gains):+.3f} to {max(gains):+.3f}"
        + (f"; below it for {', '.join(TITLES[run] for run in below)}" if below else ", for all models"),
    }


def _average_over_members(folds):
    average, ends = over_folds(folds, "average", _metric("video_hit_at_1"))
    best = max(AVERAGED, key=lambda run: over_folds(folds, run, _metric("video_hit_at_1"))[0])
    of_best, _ = over_folds(folds, best, _metric("video_hit_at_1"))
    return {
        "expected": "The average of the nets is at or above the best of them, within its interval",
        "holds": ends[1] >= of_best,
        "sure": None,  # the statement has the interval in it
        "measured": f"video Hit@1 {average:.3f} ({_range(ends)}) against {of_best:.3f} of {TITLES[best]}",
    }
