"""The paper's tables from the evaluations of a report, beside the paper's numbers."""

from collections.abc import Mapping
from typing import Any

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.reporting import paper
from deepvideo_tf.reporting.results import (
    HITS,
    TITLES,
    Evaluation,
    Folds,
    cell,
    has_transfer,
    over_folds,
    result,
    transfer_run,
)

Table = dict[str, Any]

HIT_TITLES = {"clip_hit_at_1": "clip Hit@1", "video_hit_at_1": "video Hit@1", "video_hit_at_5": "video Hit@5"}
TABLE_3_ORDER = ("feature_histograms", "scratch", "top", "top3", "all")
NOT_TRANSFERRED = " Not fine-tuned: there was no trained net to start from (--init_from)."


def make_tables(folds: Folds, speed: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Table]:
    """Make all tables of a report.

    Args:
        folds: for each fold, evaluations by the name of the run.
        speed: from `measure_speed`.
        seconds: by run, the seconds of its training and evaluation, over all folds.

    Returns:
        Dict, ready for JSON, from `table_1` to `table_4` and `speed`: each has a `title`, a `note`, the titles of its
        `columns`, and `rows`: `title` and a list of `cells`, one per column. A cell is a text, or a dict of `value`,
        `interval` (95%, or None) and `paper`, the paper's value or None. A table that could not be measured has no
        rows, and a note that says why.
    """
    return {
        "table_1": _table_1(folds, seconds),
        "table_2": _table_2(folds),
        "table_3": _table_3(folds, seconds),
        "table_4": _table_4(folds),
        "speed": _speed(speed),
    }


def _table_1(folds: Folds, seconds: Mapping[str, float]) -> Table:
    hits = [name for name in HITS if name in folds[0]["single_frame"]]
    rows = []
    for run, papers in paper.TABLE_1.items():
        by_name = dict(zip(HITS, papers, strict=True))
        cells = [cell(*result(folds, run, name), by_name.get(name)) for name in (*hits, "map")]
        rows.append({"title": TITLES[run], "cells": [*cells, _duration(seconds.get(run))]})
    chance = folds[0]["single_frame"]["chance"]
    rows.append({"title": "chance", "cells": [*(cell(chance[name]) for name in (*hits, "map")), ""]})
    return {
        "title": "Table 1: Hit@k of clips and videos",
        "note": "The CNN average is that of single-frame, early, late and slow fusion. The paper's numbers are of "
        "200,000 test videos of Sports-1M." + _below_chance(folds, chance["video_hit_at_1"]),
        "columns": [*(HIT_TITLES[name] for name in hits), "mAP", "training and evaluation"],
        "rows": rows,
    }


def _below_chance(folds: Folds, chance: float) -> str:
    """Name the models that are not significantly better than chance."""
    lows = {run: result(folds, run)[1][0] for run in paper.TABLE_1}
    guessing = [TITLES[run] for run, low in lows.items() if low <= chance]
    return f" No better than chance, by the interval of video Hit@1: {'; '.join(guessing)}." if guessing else ""


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def _table_2(folds: Folds) -> Table:
    """Compare classes in the first fold only, over the same videos."""
    against = folds[0]["slow_fusion"]["against"]
    gain, loss = paper.TABLE_2_LARGEST_GAIN, paper.TABLE_2_LARGEST_LOSS
    rows = [
        {
            "title": row["class"],
            "cells": [
                cell(row["ap"] - row["ap_difference"]),
                cell(row["ap"]),
                cell(row["ap_difference"], row["interval"], is_change=True),
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


def _table_3(folds: Folds, seconds: Mapping[str, float]) -> Table:
    rows = []
    for mode in TABLE_3_ORDER if has_transfer(folds) else TABLE_3_ORDER[:2]:
        run = transfer_run(folds, mode) if mode in FINETUNE_MODES else mode
        cells = [cell(*result(folds, run), paper.TABLE_3[mode]), _duration(seconds.get(run))]
        rows.append({"title": TITLES[mode], "cells": cells})
    return {
        "title": "Table 3: what another net's knowledge is worth",
        "note": "In the paper accuracy on UCF-101, the mean of three folds, of slow fusion trained on Sports-1M."
        + ("" if has_transfer(folds) else NOT_TRANSFERRED),
        "columns": ["video Hit@1", "training and evaluation"],
        "rows": rows,
    }


def _table_4(folds: Folds) -> Table:
    modes = paper.TABLE_4_MODES if has_transfer(folds) else paper.TABLE_4_MODES[:1]
    table: Table = {
        "title": "Table 4: mean average precision by group of classes",
        "columns": [TITLES[mode] for mode in modes],
    }
    groups = list(folds[0]["slow_fusion"]["map_by_group"])
    if not groups:
        return table | {"note": "Not measured: no groups of these classes are known.", "rows": []}
    rows = []
    for group in [*groups, "all"]:
        papers = paper.TABLE_4.get(group, [None] * len(modes))
        cells = [
            cell(*_of_group(folds, transfer_run(folds, mode), group), value)
            for mode, value in zip(modes, papers, strict=False)
        ]
        rows.append({"title": f"{group} ({_count(folds[0]['slow_fusion'], group)})", "cells": cells})
    whose = (
        "The paper's groups of UCF-101, as far as their classes are here; in brackets the number of classes."
        if all(group in paper.TABLE_4 for group in groups)
        else "The groups are this report's own, in brackets the number of classes; the paper's are of UCF-101."
    )
    return table | {"note": whose + ("" if has_transfer(folds) else NOT_TRANSFERRED), "rows": rows}


def _of_group(folds: Folds, run: str, group: str) -> tuple[Any, Any]:
    if group == "all":
        return result(folds, run, "map")
    return over_folds(folds, run, lambda of: (of["map_by_group"][group], of["map_by_group_intervals"][group]))


def _count(evaluation: Evaluation, group: str) -> int:
    return len(evaluation["classes"]) if group == "all" else evaluation["group_sizes"][group]


def _speed(speed: Mapping[str, Any]) -> Table:
    rows = []
    for fusion, of_fusion in speed.items():
        papers = paper.SPEED_CLIPS_PER_S[fusion]
        for side, title, papers_rate in zip(
            ("full_frame", "multires"), (TITLES[fusion], f"{TITLES[fusion]} + multires"), papers, strict=True
        ):
            rates = [
                cell(of_fusion[side][what], None, value, is_rate=True)
                for what, value in (("training", papers_rate), ("inference", None))
            ]
            rows.append({"title": title, "cells": rates})
        ratios = [
            cell(ratio["median"], [ratio["least"], ratio["greatest"]], value, is_ratio=True)
            for what, value in (("training", paper.SPEED_UP[fusion]), ("inference", None))
            for ratio in [of_fusion["speed_up"][what]]
        ]
        rows.append({"title": f"{TITLES[fusion]}: times as fast with multires", "cells": ratios})
    return {
        "title": "Speed at the paper's size, clips a second",
        "note": "Random clips in batches of 8, the two sides in turn, medians; with a ratio the least and the "
        "greatest of a round. The paper's are of one replica of a cluster of 2014.",
        "columns": ["training", "inference"],
        "rows": rows,
    }
