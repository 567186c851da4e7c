"""What the paper found, compared with the results."""

import itertools
from collections.abc import Mapping
from typing import Any

from deepvideo_tf.reporting import paper
from deepvideo_tf.reporting.results import HITS, TITLES, Folds, Interval, has_transfer, result, transfer_run

Finding = dict[str, Any]


def make_findings(folds: Folds) -> list[Finding]:
    """Compare what the paper found with the results.

    Args:
        folds: for each fold, evaluations by the name of the run.

    Returns:
        List of dicts: `expected`, what the paper found; `holds`, a bool; `sure`, whether the difference exceeds the
        intervals, None if these do not matter; `doubt`, the reason if it does not; `verdict`, all that in words;
        `measured`, a text with the numbers.
    """
    against = folds[0]["slow_fusion"]["against"]
    findings = [_motion(folds, against), _video_over_clip(folds), _average_over_members(folds)]
    pairs = [
        ("context", "fovea", "The context alone tells more than the fovea alone"),
        ("slow_fusion", "early_fusion", "Slow fusion is ahead of early fusion"),
        ("slow_fusion", "feature_histograms", "Slow fusion is ahead of the feature histograms"),
    ]
    if has_transfer(folds):
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


def _verdict(finding: Finding) -> str:
    """Say whether it is as in the paper, and whether there are enough videos to know."""
    what = "as in the paper" if finding["holds"] else "not here"
    if finding["sure"] is None:
        return what
    return f"{what}, by more than the intervals" if finding["sure"] else f"{what}, though {finding['doubt']}"


def _order(folds: Folds) -> Finding:
    """Compare the order of the rows of Table 1 by video Hit@1."""
    here = {run: result(folds, run)[0] for run in paper.TABLE_1}
    papers = {run: hits[1] for run, hits in paper.TABLE_1.items()}
    return {
        "expected": f"The order of Table 1 is {_ranking(papers)}",
        "holds": all(here[one] > here[other] for one in here for other in here if papers[one] > papers[other]),
        "sure": None,
        "measured": f"here it is {_ranking(here)}",
    }


def _ranking(values: Mapping[str, float]) -> str:
    """Return the titles from the highest value on, with `=` between equal ones."""
    runs = sorted(values, key=lambda run: -values[run])
    signs = (" = " if values[run] == values[after] else " > " for run, after in itertools.pairwise(runs))
    return "".join(TITLES[run] + sign for run, sign in zip(runs, (*signs, ""), strict=True))


def _compared(folds: Folds, better: str, worse: str, expected: str, *, may_tie: bool = False) -> Finding:
    (one, one_ends), (other, other_ends) = (result(folds, run) for run in (better, worse))
    return {
        "expected": expected,
        "holds": one > other or (may_tie and one == other),
        "sure": one_ends[0] > other_ends[1] or one_ends[1] < other_ends[0],
        "doubt": "the intervals overlap",
        "measured": f"video Hit@1 {one:.3f} ({_range(one_ends)}) against {other:.3f} ({_range(other_ends)})",
    }


def _range(ends: Interval) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"


def _motion(folds: Folds, against: Mapping[str, Any]) -> Finding:
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


def _video_over_clip(folds: Folds) -> Finding:
    runs = [run for run in paper.TABLE_1 if run != "average"]
    values = {run: [result(folds, run, name)[0] for name in HITS[:2]] for run in runs}
    below = [run for run, (clip, video) in values.items() if video < clip]
    gains = [video - clip for clip, video in values.values()]
    return {
        "expected": "Averaging the clips of a video helps: video Hit@1 is at or above clip Hit@1",
        "holds": not below,
        "sure": None,
        "measured": f"from {min(gains):+.3f} to {max(gains):+.3f}"
        + (f"; below it for {', '.join(TITLES[run] for run in below)}" if below else ", for all models"),
    }


def _average_over_members(folds: Folds) -> Finding:
    average, ends = result(folds, "average")
    best = max(paper.AVERAGED, key=lambda run: result(folds, run)[0])
    of_best, _ = result(folds, best)
    return {
        "expected": "The average of the nets is at or above the best of them, within its interval",
        "holds": ends[1] >= of_best,
        "sure": None,  # the statement has the interval in it
        "measured": f"video Hit@1 {average:.3f} ({_range(ends)}) against {of_best:.3f} of {TITLES[best]}",
    }
