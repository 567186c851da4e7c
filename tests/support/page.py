"""Actions of a user on the page that runs a model. Importing this skips the tests where Playwright is missing."""

import io
import json
import zipfile
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="make web-test installs it")

CLASSIFIED_MS = 60_000


def choose_model(page, path):
    page.set_input_files("#model-file", path)
    playwright.expect(page.locator("#model-about")).to_contain_text(Path(path).name)


def choose_video(page, path):
    page.set_input_files("#video-file", path)
    playwright.expect(page.locator("#whole")).to_be_enabled()


def classify_whole(page, path):
    """Classify a whole video; return the top classes that the page shows, from name to probability, highest first."""
    choose_video(page, path)
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_contain_text(f"{path.name}: ", timeout=CLASSIFIED_MS)
    return shown_classes(page)


def classify_again(page):
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_contain_text("the mean of", timeout=CLASSIFIED_MS)
    return page.inner_text("#status")


def shown_classes(page):
    items = page.locator("#classes li").all()
    return {one.locator("span").inner_text(): float(one.locator("data").get_attribute("value")) for one in items}


def error_of(page):
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_be_visible()
    return alert.inner_text()


def live(page):
    playwright.expect(page.locator("#rate")).not_to_have_text("\N{EN DASH}")
    return float(page.inner_text("#rate"))


def with_card(flatbuffer, card):
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model_card.json", json.dumps(card))
    return file.getvalue()
