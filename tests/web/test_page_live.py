"""The page in a real browser: predictions while a video plays, and choices in the middle of work."""

import pytest

import deepvideo_tf as dv
from tests.support.browser import transcode
from tests.support.page import (
    CLASSIFIED_MS,
    choose_model,
    choose_video,
    classify_again,
    live,
    playwright,
    shown_classes,
)

pytestmark = pytest.mark.web


def test_a_video_is_classified_while_it_plays(open_page, model_path, videos):
    page = open_page()
    choose_model(page, model_path)
    (confident,) = [video for video in videos if video.name == "v_HorseRace_g01_c01.mp4"]
    choose_video(page, confident)
    assert live(page) > 1
    assert next(iter(shown_classes(page))) == "HorseRace"
    page.locator("video").evaluate("(video) => video.pause()")
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_contain_text("HorseRace, ", timeout=CLASSIFIED_MS)
    page.locator("video").evaluate("(video) => video.play()")
    playwright.expect(page.locator("#source")).to_contain_text("Live")


def test_clips_of_several_frames_are_classified_while_they_play(open_page, small_run, synthetic_videos, tmp_path):
    page = open_page()
    choose_model(page, dv.export_tflite(small_run, tmp_path / "ten_frames.tflite"))
    choose_video(page, sorted(synthetic_videos.rglob("*.mp4"))[0])
    assert live(page) > 1


def test_the_webcam_is_classified(open_page, launcher, model_path, ucf101_6, tmp_path):
    """Chromium's fake camera shows a file."""
    source = ucf101_6 / "videos/HorseRace/v_HorseRace_g01_c01.avi"
    shown = transcode(source, tmp_path / "camera.mjpeg", "mjpeg")
    flags = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    with launcher(*flags, f"--use-file-for-fake-video-capture={shown}") as browser:
        page = open_page(browser)
        choose_model(page, model_path)
        page.click("#webcam")
        assert live(page) > 1
        assert next(iter(shown_classes(page))) == "HorseRace"
        assert page.inner_text("#status") == "The webcam is classified live."
        playwright.expect(page.locator("#whole")).to_be_disabled()


def test_a_choice_during_another_takes_its_place(open_page, model_path, videos):
    page = open_page()
    choose_model(page, model_path)
    choose_video(page, videos[0])
    page.click("#whole")
    choose_video(page, videos[-1])
    choose_model(page, model_path)
    playwright.expect(page.locator("#whole")).to_have_text("Classify the whole video")
    assert live(page) > 1
    playwright.expect(page.get_by_role("alert")).to_be_hidden()


def test_the_model_that_was_chosen_last_is_used(open_page, model_path, tmp_path):
    """Whichever arrives last: the model next to the page arrives after the user's choice, and so does a slow file."""
    page, held = open_page(), []
    page.route("**/model.tflite", lambda route: held.append(route))
    with page.expect_request("**/model.tflite"):  # the last thing that the page does before it waits for the user
        page.reload(wait_until="commit")
    chosen, slow = tmp_path / "chosen.tflite", tmp_path / "slow.tflite"
    for path in (chosen, slow):
        path.symlink_to(model_path)
    choose_model(page, chosen)
    (beside,) = held
    with page.expect_response("**/model.tflite") as response:
        beside.fulfill(path=model_path)
    assert response.value.ok
    page.wait_for_timeout(1000)  # a wrong one would be there by then
    assert page.inner_text("#model-name") == chosen.name
    page.evaluate("""() => {
      const read = File.prototype.arrayBuffer;
      const wait = new Promise((resolve) => (window.letGo = resolve));
      File.prototype.arrayBuffer = async function () {
        if (this.name === "slow.tflite") await wait;
        return read.call(this);
      };
    }""")
    page.set_input_files("#model-file", slow)
    playwright.expect(page.locator("#status")).to_contain_text("Loading slow.tflite")
    page.set_input_files("#model-file", chosen)
    playwright.expect(page.locator("#status")).to_have_text("Choose a video, or use the webcam.")
    page.evaluate("letGo()")
    page.wait_for_timeout(1000)
    assert page.inner_text("#model-name") == chosen.name
    assert page.inner_text("#model-about").startswith(f"{chosen.name}: ")


def test_seeking_by_hand_stops_the_whole_video(open_page, model_path, videos):
    page = open_page()
    choose_model(page, model_path)
    choose_video(page, videos[0])
    page.evaluate("""() => {
      const video = document.querySelector("video");
      let seeks = 0;
      video.addEventListener("seeking", () => {
        seeks += 1; // the page looks for the end of the video first, then for the frames of the clips
        if (seeks === 3) video.currentTime = 0.5;
      });
    }""")
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_have_text("Stopped: the video was moved to another time.")
    playwright.expect(page.locator("#whole")).to_have_text("Classify the whole video")
    assert "The whole video" not in page.inner_text("#source")
    assert "The first 1 of 3 clips." in page.inner_text("#source")
    assert "mean of 3" in classify_again(page)


def test_the_same_file_can_be_chosen_again(open_page, model_path, videos):
    """A field that still held the file would not report a change."""
    page = open_page()
    choose_model(page, model_path)
    choose_video(page, videos[0])
    for name, path in (("model", model_path), ("video", videos[0])):
        assert page.input_value(f"#{name}-file") == ""
        assert page.inner_text(f"#{name}-name") == path.name
