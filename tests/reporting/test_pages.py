"""The pages of a report: self-contained, and safe with any class name."""

import json
import re
from html.parser import HTMLParser

import pytest

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.reporting.page import write_pages
from tests.support.reports import evaluation, fold, made_report


class Reader(HTMLParser):
    """Collects the tags, what they load, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.loaded, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def pages(tmp_path):
    folds = [fold(transfer=FINETUNE_MODES, groups=["<script>alert(1)</script>"])]
    report = made_report(tmp_path, folds)
    html, markdown = write_pages(report, tmp_path)
    return json.loads(json.dumps(report)), html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_runs_nothing(pages):
    reader = Reader()
    reader.feed(pages[1])
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in reader.loaded)
    assert "<script>alert(1)</script> (2)" in " ".join(reader.words)
    assert "http" not in pages[1].replace("http-equiv", "")


def test_every_number_stands_on_both_pages(pages):
    report, html, markdown = pages
    for table in report["tables"].values():
        assert f"## {table['title']}\n" in markdown
        for row in table["rows"]:
            for cell in row["cells"]:
                if isinstance(cell, dict) and cell["value"] is not None:
                    digits = re.compile(
                        rf"\b{abs(cell['value']):.{1 if cell.get('is_rate') else 2 if cell.get('is_ratio') else 3}f}\b"
                    )
                    assert digits.search(html), cell
                    assert digits.search(markdown), cell


def test_markdown_rows_are_as_long_as_their_heads(pages):
    blocks = re.findall(r"(?:^\|.*\n)+", pages[2], re.M)
    assert len(blocks) == 5
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert len(block.splitlines()) > 2


def test_a_class_name_with_a_bar_does_not_break_a_row(tmp_path):
    runs = fold(slow_fusion=evaluation(0.6, against=fold()["slow_fusion"]["against"]))
    runs["slow_fusion"]["against"]["gains"][0]["class"] = "one|two\n<img>"
    _, markdown = write_pages(made_report(tmp_path, [runs]), tmp_path)
    assert "| one\\|two &lt;img&gt; |" in markdown.read_text(encoding="utf-8")
