"""The page in a real browser: everything that can go wrong."""

import json
import zipfile

import av
import numpy as np
import pytest

from tests.support.browser import transcode
from tests.support.files import flip_a_bit
from tests.support.page import choose_model, choose_video, error_of, playwright, with_card

pytestmark = pytest.mark.web


def test_what_is_no_video_is_told(open_page, model_path, ucf101_6, tmp_path):
    page = open_page()
    choose_model(page, model_path)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as written:
        encoder = written.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        written.mux(encoder.encode(frame))
        written.mux(encoder.encode())
    for path in (text, empty, sound, ucf101_6 / "videos/Surfing/v_Surfing_g01_c01.avi"):
        page.set_input_files("#video-file", path)
        playwright.expect(page.get_by_role("alert")).to_contain_text(path.name)
        assert page.inner_text("#video-name") == "none chosen"
        assert error_of(page) == f"{path.name}: not a video that this browser can play."
        playwright.expect(page.locator("#whole")).to_be_disabled()
    choose_video(page, transcode(ucf101_6 / "videos/Surfing/v_Surfing_g01_c01.avi", tmp_path / "good.mp4"))
    playwright.expect(page.get_by_role("alert")).to_be_hidden()


def test_odd_videos_are_taken_or_refused(open_page, model_path, odd_videos):
    page = open_page()
    choose_model(page, model_path)
    outcomes = {"taken": 0, "refused": 0}
    for path in sorted(path for path in odd_videos.rglob("*.*") if path.suffix != ".md" and path.is_file()):
        page.set_input_files("#video-file", path)
        taken, refused = page.locator("#whole:enabled"), page.locator("#error:not([hidden])")
        playwright.expect(taken.or_(refused)).to_be_visible()
        if refused.is_visible():
            assert error_of(page).startswith(f"{path.name}: ")
        outcomes["refused" if refused.is_visible() else "taken"] += 1
    print(f"\n{outcomes}")
    assert min(outcomes.values()) > 10


def test_what_is_no_model_is_told(open_page, model_path, tmp_path):
    page, content = open_page(), model_path.read_bytes()
    with zipfile.ZipFile(model_path) as archive:
        flatbuffer_bytes = min(one.header_offset for one in archive.infolist())
        about = json.loads(archive.read("model_card.json"))
    not_ours = "not a TFLite file of this package, or a damaged one"
    wrong = {
        "empty": (b"", not_ours),
        "text": (b"not a model", not_ours),
        "bare": (content[:flatbuffer_bytes], not_ours),
        "truncated": (content[: len(content) // 2], not_ours),
        "other": (with_card(content[:flatbuffer_bytes], {"model": {"classes": []}}), "model must be a name"),
        "classes": (
            with_card(content[:flatbuffer_bytes], about | {"model": about["model"] | {"classes": ["one"]}}),
            "its model card is of a model from",
        ),
    }
    for number, (part, field, value, words) in enumerate(
        [
            (None, "classes", [1, None, {}, []], "classes must be a list of class names"),
            ("clip", "crop_size_px", "90", "clip.crop_size_px must be a whole number from 11 to 2000"),
            ("clip", "num_frames", 1.5, "clip.num_frames must be a whole number"),
            ("clip", "num_frames", 200, "clip must not be longer than shards.clip_frames"),
            ("shards", "frame_size_px", 80, "clip.crop_size_px must be at most shards.frame_size_px"),
            ("shards", "frame_rate_fps", "25", "shards.frame_rate_fps must be a number"),
            ("shards", "clips_per_video", 10**6, "shards.clips_per_video must be a whole number"),
        ]
    ):
        card = json.loads(json.dumps(about))
        (card["model"][part] if part else card["model"])[field] = value
        wrong[f"nonsense{number}"] = with_card(content[:flatbuffer_bytes], card), words
    for name, (data, words) in wrong.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        page.set_input_files("#model-file", path)
        playwright.expect(page.get_by_role("alert")).to_contain_text(f"{name}.tflite: ")
        assert words in error_of(page)
        assert not page.inner_text("#model-about")
        assert page.inner_text("#model-name") == "none chosen"
    flipped = tmp_path / "flipped.tflite"
    flipped.write_bytes(content)
    flip_a_bit(flipped)
    page.set_input_files("#model-file", flipped)
    playwright.expect(page.get_by_role("alert")).to_contain_text("flipped.tflite: its bytes are not what")
    choose_model(page, model_path)
    playwright.expect(page.get_by_role("alert")).to_be_hidden()
    page.set_input_files("#model-file", flipped)
    assert "flipped.tflite" in error_of(page)
    assert page.inner_text("#model-name") == model_path.name  # which stays in use


def test_a_webcam_that_is_refused_or_missing_is_told(open_page, launcher, videos):
    page = open_page()
    page.click("#webcam")
    assert error_of(page).startswith("The webcam is not available: ")
    with launcher("--use-fake-device-for-media-stream", "--deny-permission-prompts") as browser:
        page = open_page(browser)
        page.set_input_files("#video-file", videos[0])
        playwright.expect(page.locator("#status")).to_have_text("Choose a model.")
        page.click("#webcam")
        assert error_of(page) == "The webcam is not available: this page was not allowed to use it."
        assert page.inner_text("#video-name") == videos[0].name
        assert page.locator("video").evaluate("(video) => video.videoWidth > 0 && !video.paused")


def test_missing_webassembly_is_told(open_page, launcher, model_path):
    with launcher("--js-flags=--jitless") as browser:
        page = open_page(browser)
        assert "no WebAssembly" in error_of(page)
        page.set_input_files("#model-file", model_path)
        assert "no WebAssembly" in error_of(page)
