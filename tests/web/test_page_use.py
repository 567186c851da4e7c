"""The page in a real browser: how it is served, the keyboard, accessibility, and small screens."""

import json
import subprocess
import zipfile
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.support.browser import AXE
from tests.support.page import (
    CLASSIFIED_MS,
    choose_model,
    choose_video,
    classify_again,
    classify_whole,
    error_of,
    playwright,
    with_card,
)
from tests.support.repository import REPOSITORY

pytestmark = pytest.mark.web

SCREENSHOTS = REPOSITORY / "build/screenshots"


def test_the_model_beside_the_page_is_loaded(open_page, serve, model_path):
    address = serve(f"MODEL={model_path}")
    page = open_page(address=address)
    playwright.expect(page.locator("#model-about")).to_contain_text("model.tflite: multires, float32, 6 classes")
    with urlopen(f"{address}litert/wasm/litert_wasm_internal.wasm") as response:
        assert response.headers["Content-Type"] == "application/wasm"  # else the browser waits for the last byte


def test_a_page_without_model_has_none_left_of_an_earlier_one(model_path, tmp_path):
    page_of = ["make", "web-page", f"WEB={tmp_path}/web"]
    subprocess.run([*page_of, f"MODEL={model_path}"], cwd=REPOSITORY, check=True, capture_output=True)
    assert (tmp_path / "web/model.tflite").read_bytes() == model_path.read_bytes()
    subprocess.run(page_of, cwd=REPOSITORY, check=True, capture_output=True)
    assert not (tmp_path / "web/model.tflite").exists()
    assert (tmp_path / "web/index.html").exists()


def test_a_port_in_use_is_told(address, tmp_path):
    command = ["make", "web", f"WEB={tmp_path}/web", f"PORT={urlsplit(address).port}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"PORT={urlsplit(address).port} is in use: make web PORT=..." in done.stderr
    assert "Traceback" not in done.stderr
    assert "http://localhost" not in done.stdout


def test_the_keyboard_alone_is_enough(open_page, model_path, videos):
    page = open_page()
    page.on("filechooser", lambda _: None)  # from now on, and not from a moment after the first key, they are caught
    for name, path in (("model-file", model_path), ("video-file", videos[0])):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(path)
    playwright.expect(page.locator("#whole")).to_be_enabled()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "webcam"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "whole"
    outline = page.locator("#whole").evaluate("(button) => getComputedStyle(button).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_contain_text("the mean of", timeout=CLASSIFIED_MS)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "video"
    page.keyboard.press("Space")
    playwright.expect(page.locator("#source")).to_contain_text("Live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits_the_screen(open_page, model_path, videos, width, scheme):
    page = open_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert not accessibility_errors(page)
    choose_model(page, model_path)
    classify_whole(page, videos[-1])
    assert not accessibility_errors(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"page-{width}-{scheme}.png", full_page=True)
    if width < 640:
        assert parts_end_px(page) - page.locator("video").bounding_box()["y"] < 600  # browsers take a part of the 844
        assert parts_end_px(page) <= 844
    page.set_input_files("#video-file", model_path)
    assert error_of(page)
    assert not accessibility_errors(page)
    page.screenshot(path=SCREENSHOTS / f"error-{width}-{scheme}.png", full_page=True)


def parts_end_px(page):
    """Return where the last class ends, from the top of the page."""
    last = page.locator("#classes li").last.bounding_box()
    return last["y"] + last["height"]


@pytest.mark.parametrize(("width", "most_px"), [(1280, 380), (390, 250)])
def test_long_names_leave_the_rates_where_they_are(open_page, model_path, videos, tmp_path, width, most_px):
    content = model_path.read_bytes()
    with zipfile.ZipFile(model_path) as archive:
        flatbuffer_bytes = min(one.header_offset for one in archive.infolist())
        about = json.loads(archive.read("model_card.json"))
    about["model"]["classes"] = [f"{number} {'a long name of a class ' * 7}".strip() for number in range(6)]
    path = tmp_path / f"{'model_of_a_long_name_' * 8}.tflite"
    path.write_bytes(with_card(content[:flatbuffer_bytes], about))
    page = open_page(viewport={"width": width, "height": 844})
    choose_model(page, path)
    choose_video(page, videos[0])
    classify_again(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#classes").bounding_box()
    assert box["height"] < most_px
    name = page.locator("#classes li span").first
    assert name.get_attribute("title") == name.inner_text()
    assert len(name.inner_text()) > 140
    assert page.locator("#model-name").get_attribute("title") == path.name
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"long-{width}.png", full_page=True)


def accessibility_errors(page):
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    assert found["passes"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
