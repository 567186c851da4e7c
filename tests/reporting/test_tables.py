"""The tables of a report against numbers worked out by hand."""

import math

import pytest

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.evaluation.class_groups import UCF101_GROUPS
from deepvideo_tf.reporting.findings import make_findings
from deepvideo_tf.reporting.results import over_folds
from deepvideo_tf.reporting.tables import make_tables
from tests.support.reports import SPEED, against, evaluation, fold


def by_title(table):
    return {row["title"]: row["cells"] for row in table["rows"]}


def test_table_1_has_the_papers_nine_rows_and_chance():
    table = make_tables([fold()], SPEED, {"slow_fusion": 75.4})["table_1"]
    rows = by_title(table)
    assert len(rows) == 10
    assert table["columns"] == ["clip Hit@1", "video Hit@1", "mAP", "training and evaluation"]
    clip, video, mean, duration = rows["slow fusion"]
    assert (clip["paper"], video["paper"], mean["paper"]) == (0.419, 0.609, None)
    assert video["value"] == 0.609
    assert video["interval"] == pytest.approx([0.559, 0.659])
    assert duration == "1 min 15 s"
    assert rows["single-frame"][-1] == ""
    assert rows["chance"][1] == {"value": 0.2, "interval": None, "paper": None}
    assert "chance" not in table["note"]


def test_hit_at_5_is_a_column_where_there_are_classes_enough():
    runs = fold()
    for of_run in runs.values():
        of_run["video_hit_at_5"] = 0.9
        of_run["intervals"]["video_hit_at_5"] = [0.8, 1.0]
        of_run["chance"]["video_hit_at_5"] = 0.5
    table = make_tables([runs], SPEED, {})["table_1"]
    assert table["columns"][2] == "video Hit@5"
    assert by_title(table)["CNN average"][2]["paper"] == 0.824


def test_models_that_only_guess_are_named():
    runs = fold(fovea=evaluation(0.22), context=evaluation(0.25))
    note = make_tables([runs], SPEED, {})["table_1"]["note"]
    assert note.endswith(
        "No better than chance, by the interval of video Hit@1: single-frame, fovea only; single-frame, context only."
    )


def test_folds_are_averaged_and_their_errors_add_up():
    folds = [fold(shift) for shift in (0.0, 0.03, 0.06)]
    value, interval = over_folds(
        folds, "slow_fusion", lambda of: (of["video_hit_at_1"], of["intervals"]["video_hit_at_1"])
    )
    assert value == pytest.approx(0.639)
    assert interval == pytest.approx([0.639 - 0.05 / math.sqrt(3), 0.639 + 0.05 / math.sqrt(3)])
    assert over_folds(folds, "slow_fusion", lambda of: (None, None)) == (None, None)
    table = make_tables(folds, SPEED, {})["table_1"]
    assert by_title(table)["slow fusion"][1]["value"] == pytest.approx(0.639)


def test_table_2_goes_from_the_largest_gain_to_the_largest_loss():
    table = make_tables([fold()], SPEED, {})["table_2"]
    assert [row["title"] for row in table["rows"]] == ["b", "a", "c"]
    frame, slow, difference = table["rows"][0]["cells"]
    assert (frame["value"], slow["value"], difference["value"]) == pytest.approx((0.5, 0.8, 0.3))
    assert difference["interval"] == [0.2, 0.4]
    assert "+0.12 (juggling club) to -0.07 (short track motor racing)" in table["note"]


def test_without_a_net_to_start_from_only_scratch_is_shown_and_the_note_says_why():
    tables = make_tables([fold(groups=["Sports"])], SPEED, {})
    assert list(by_title(tables["table_3"])) == ["feature histograms + neural net", "train from scratch"]
    assert by_title(tables["table_3"])["train from scratch"][0] == {
        "value": 0.609, "interval": pytest.approx([0.559, 0.659]), "paper": 0.413,
    }  # fmt: skip
    assert tables["table_4"]["columns"] == ["train from scratch"]
    assert all("--init_from" in tables[name]["note"] for name in ("table_3", "table_4"))


def test_tables_3_and_4_with_all_modes():
    groups = list(UCF101_GROUPS)
    tables = make_tables([fold(transfer=FINETUNE_MODES, groups=groups)], SPEED, {"transfer_top": 30})
    rows = by_title(tables["table_3"])
    assert {title: cells[0]["value"] for title, cells in rows.items()} == {
        "feature histograms + neural net": 0.553,
        "train from scratch": 0.413,
        "fine-tune top layer": 0.641,
        "fine-tune top 3 layers": 0.654,
        "fine-tune all layers": 0.622,
    }
    assert rows["fine-tune top layer"][1] == "0 min 30 s"
    rows = by_title(tables["table_4"])
    assert [cell["paper"] for cell in rows["Playing Musical Instruments (2)"]] == [0.42, 0.65, 0.46]
    assert [cell["value"] for cell in rows["all (3)"]] == pytest.approx([0.423, 0.664, 0.651])
    assert "The paper's groups of UCF-101" in tables["table_4"]["note"]
    own = make_tables([fold(transfer=FINETUNE_MODES, groups=["arms"])], SPEED, {})["table_4"]
    assert "this report's own" in own["note"]
    assert own["rows"][0]["cells"][0]["paper"] is None


def test_the_speed_table():
    table = make_tables([fold()], SPEED, {})["speed"]
    rows = by_title(table)
    assert [cell["paper"] for cell in rows["single-frame + multires"]] == [21, None]
    ratio = rows["slow fusion: times as fast with multires"][0]
    assert (ratio["value"], ratio["interval"], ratio["paper"]) == (1.5, [1.4, 1.6], 2.0)


def found(findings, words):
    (finding,) = [finding for finding in findings if words in finding["expected"]]
    return finding


def test_what_the_paper_found_holds_on_the_papers_own_numbers():
    findings = make_findings([fold(transfer=FINETUNE_MODES)])
    assert all(finding["holds"] for finding in findings)
    assert found(findings, "ahead of the single-frame")["verdict"] == "as in the paper, by more than the intervals"
    assert found(findings, "ahead of early fusion")["verdict"] == "as in the paper, though the intervals overlap"
    assert found(findings, "order of Table 1")["verdict"] == "as in the paper"
    assert found(findings, "video Hit@1 is at or above")["measured"] == "from +0.020 to +0.020, for all models"


def test_what_the_paper_found_and_is_not_here_is_said():
    changes = {
        "slow_fusion": evaluation(0.40, against=against(-0.2, (-0.3, -0.1))),
        "average": evaluation(0.41),
        "fovea": evaluation(0.60, clip_hit=0.61),
    }
    findings = make_findings([fold(**changes)])
    assert found(findings, "ahead of the single-frame")["verdict"] == "not here, by more than the intervals"
    assert found(findings, "context alone")["verdict"] == "not here, though the intervals overlap"
    average = found(findings, "average of the nets")
    assert not average["holds"]
    assert average["measured"] == "video Hit@1 0.410 (0.360 to 0.460) against 0.593 of single-frame"
    assert "below it for single-frame, fovea only" in found(findings, "video Hit@1 is at or above")["measured"]
    order = found(findings, "order of Table 1")
    assert not order["holds"]
    assert order["measured"].endswith("CNN average > slow fusion")
    assert not any("Fine-tuning" in finding["expected"] for finding in findings)


def test_level_is_not_ahead():
    runs = fold() | {run: evaluation(0.6) for run in ("multires", "single_frame", "early_fusion")}
    runs["slow_fusion"] = evaluation(0.6, against=against(0.0, (-0.1, 0.1)))
    findings = make_findings([runs])
    assert not found(findings, "ahead of the single-frame")["holds"]
    assert not found(findings, "ahead of early fusion")["holds"]
    assert found(findings, "no worse than the full frame")["holds"]
    order = found(findings, "The order of Table 1")
    assert "single-frame = late fusion" in order["expected"]  # both 59.3 in the paper
    assert " = " in order["measured"]
