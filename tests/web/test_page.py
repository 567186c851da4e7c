"""The page in a real browser: it predicts what Python predicts."""

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.sampling import evaluation_views
from deepvideo_tf.data.video.decode import decode_clips
from tests.support.browser import BT709, UNSPECIFIED, transcode
from tests.support.page import choose_model, classify_whole, playwright

pytestmark = pytest.mark.web

PARITY = 1e-3


def differences(shown, expected):
    assert next(iter(shown)) == next(iter(expected))
    return max(abs(expected[name] - probability) for name, probability in shown.items())


def test_whole_videos_get_the_answers_of_python(open_page, model_path, videos):
    page, predictor = open_page(), dv.load_predictor(model_path)
    choose_model(page, model_path)
    assert len(videos) >= 20
    found, right = [], 0
    for video in videos:
        shown = classify_whole(page, video)
        assert len(shown) == 5
        found.append(differences(shown, dv.predict_video(predictor, video)))
        right += next(iter(shown)) in video.name
    print(f"\nlargest differences of the {len(videos)} videos: {sorted(found)[-3:]}; {right} right")
    assert max(found) < PARITY
    assert right > len(videos) / 2  # chance is a sixth: answers that all models give alike would show nothing


def test_clips_of_several_frames_get_the_answers_of_python(open_page, small_run, synthetic_videos, tmp_path):
    path = dv.export_tflite(small_run, tmp_path / "ten_frames.tflite")
    page, predictor = open_page(), dv.load_predictor(path)
    assert predictor.card.clip.num_frames == 10
    choose_model(page, path)
    for number, video in enumerate(sorted(synthetic_videos.rglob("*.mp4"))[::4]):
        renamed = tmp_path / f"{number}.mp4"
        renamed.symlink_to(video)
        assert differences(classify_whole(page, renamed), dv.predict_video(predictor, renamed)) < PARITY


@pytest.mark.parametrize(
    "name",
    [
        "pytorch+torchcodec/av1_video.mkv",  # its codec leaves open where its colours lie
        "IBM+MAX-Sports-Video-Classifier/baseball.mp4",  # its sound outlasts its pictures
        "dmlc+decord/flipping_a_pancake.mkv",
    ],
)
def test_odd_videos_get_the_answers_of_python(open_page, model_path, odd_videos, name):
    page, predictor = open_page(), dv.load_predictor(model_path)
    choose_model(page, model_path)
    shown = classify_whole(page, odd_videos / name)
    assert differences(shown, dv.predict_video(predictor, odd_videos / name)) < PARITY


@pytest.mark.parametrize("precision", ["float16", "dynamic_int8", "int8"])
def test_every_precision_gives_the_answers_of_python(open_page, run_folder, videos, tmp_path, precision):
    path = dv.export_tflite(
        run_folder / "run", tmp_path / "model.tflite", quantization=precision, shards_dir=run_folder / "shards"
    )
    predictor, page = dv.load_predictor(path), open_page()
    frames = np.stack([crop(clip, predictor.card) for clip in decode_clips(videos[0], predictor.card.shards, encode=0)])
    hand_over(page, path)
    load = """async (clips) => {
      const { loadModel } = await import("./model.js");
      const [file] = document.querySelector("#handed-over").files;
      const model = await loadModel(new Uint8Array(await file.arrayBuffer()), file.name);
      const rows = [];
      for (const clip of clips) rows.push([...(await model.probabilities([Uint8Array.from(clip)]))]);
      return rows;
    }"""
    rows = page.evaluate(load, [clip.ravel().tolist() for clip in frames])
    np.testing.assert_allclose(rows, predictor.probabilities(frames), atol=PARITY)


def hand_over(page, path):
    """Give the test's own scripts a file: the page empties its own fields as soon as a file is chosen."""
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'), {type:'file', id:'handed-over'}))"
    )
    page.set_input_files("#handed-over", path)


def crop(clip, card):
    """The frame that a single-frame model sees of a decoded clip, uint8 `[1, height, width, 3]`."""
    (view,) = evaluation_views(np.stack(clip.frames), card.clip, num_views=1)
    return view


@pytest.mark.parametrize(
    ("suffix", "codec", "size", "matrix", "frame_size_px", "mean_levels"),
    [
        ("mp4", "libx264", None, UNSPECIFIED, 100, 0.04),
        ("mp4", "libx264", None, UNSPECIFIED, 200, 0.1),  # its planes of colour are stretched
        ("mp4", "libx264", (300, 500), UNSPECIFIED, 100, 0.04),
        ("webm", "libvpx-vp9", (200, 200), UNSPECIFIED, 64, 0.04),
        ("mp4", "libvpx-vp9", None, UNSPECIFIED, 100, 0.04),
        ("webm", "libvpx", (1280, 720), UNSPECIFIED, 100, 0.04),
        ("mp4", "libsvtav1", None, UNSPECIFIED, 100, 0.04),
        ("mkv", "libsvtav1", None, UNSPECIFIED, 100, 0.04),
        ("mp4", "libx264", (1280, 720), BT709, 200, 0.04),
    ],
)
def test_pixels_are_those_of_ffmpeg(
    open_page, ucf101_6, tmp_path, suffix, codec, size, matrix, frame_size_px, mean_levels
):
    source = ucf101_6 / "videos/Surfing/v_Surfing_g01_c01.avi"
    video = transcode(source, tmp_path / f"video.{suffix}", codec, size, frames=40, matrix=matrix)
    spec = dv.ShardSpec(clips_per_video=1, frame_size_px=frame_size_px)
    card = {"shards": {"frame_size_px": frame_size_px}, "clip": {"crop_size_px": frame_size_px - 7}}
    expected = decode_clips(video, spec, encode=False)[0]
    page = open_page()
    page.set_input_files("#video-file", video)
    playwright.expect(page.locator("#status")).to_have_text("Choose a model.")
    hand_over(page, video)
    look = """async ([timeS, card]) => {
      const { codecOf } = await import("./codec.js");
      const { modelPixels } = await import("./frames.js");
      const codec = await codecOf(document.querySelector("#handed-over").files[0]);
      const video = document.querySelector("video");
      video.pause();
      const isThere = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
      video.currentTime = timeS + 0.002;
      await isThere;
      return [...await modelPixels(video, card, codec)];
    }"""
    pixels = np.array(page.evaluate(look, [expected.start_s, card])).reshape(frame_size_px - 7, frame_size_px - 7, 3)
    wrong = np.abs(pixels - expected.frames[0][3:-4, 3:-4].astype(int))
    print(f"\n{wrong.mean():.4f} levels on average, {wrong.max()} at most")
    assert wrong.mean() < mean_levels
    assert wrong.max() <= 5


def test_the_views_are_the_ones_inside_the_model(open_page, model_path, videos):
    page, card = open_page(), dv.load_predictor(model_path).card
    choose_model(page, model_path)
    classify_whole(page, videos[0])
    (last,) = crop(decode_clips(videos[0], card.shards, encode=False)[-1], card)
    from deepvideo_tf.models.views import VIEWS

    for name, make in VIEWS.items():
        (expected,) = make([last[None].astype("float32")], card.clip.crop_size_px)
        read = """(canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
        shown = np.array(page.locator(f"canvas[data-view={name}]").evaluate(read)).reshape(45, 45, 4)[:, :, :3]
        assert np.abs(shown - np.array(expected)[0]).max() <= 5
