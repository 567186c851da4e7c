"""The page of a report in a real browser: no error, no request, nothing wider than a phone's screen, accessible."""

import pytest
from PIL import Image

from deepvideo_tf.config import FINETUNE_MODES
from deepvideo_tf.reporting.page import write_pages
from tests.support.browser import AXE
from tests.support.reports import fold, made_report
from tests.support.repository import REPOSITORY

pytest.importorskip("playwright.sync_api", reason="make web-test installs it")

pytestmark = pytest.mark.web

RESULTS = sorted((REPOSITORY / "docs/results").glob("*/report.html"))


@pytest.fixture(scope="module")
def made_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    html, _ = write_pages(made_report(folder, [fold(transfer=FINETUNE_MODES, groups=["a group"])]), folder)
    return html


@pytest.mark.parametrize("width_px", [1280, 390], ids=["wide", "phone"])
@pytest.mark.parametrize("which", ["made", *(path.parent.name for path in RESULTS)])
def test_the_page_opens_by_itself(browser, made_page, which, width_px, tmp_path):
    path = made_page if which == "made" else REPOSITORY / "docs/results" / which / "report.html"
    context = browser.new_context(viewport={"width": width_px, "height": 844}, offline=True, bypass_csp=True)
    page = context.new_page()
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every((image) => image.complete)")
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert Image.open(tmp_path / "page.png").width == width_px
    page.add_script_tag(path=AXE)
    violations = page.evaluate("axe.run().then((found) => found.violations.map((one) => one.id + ': ' + one.help))")
    assert violations == []
    context.close()
