"""The page in a real browser: what it answers beside what Python answers, and everything that can go wrong."""

import io
import json
import os
import signal
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import av
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.sampling import evaluation_views
from deepvideo_tf.data.video.decode import decode_clips
from tests.support.browser import AXE, CHROMIUM, FLAGS
from tests.support.files import flip_a_bit
from tests.support.repository import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api", reason="make web-test installs it")

pytestmark = pytest.mark.web

SCREENSHOTS = REPOSITORY / "build/screenshots"
CLASSIFIED_MS = 60_000
PARITY = 1e-3
BT709, UNSPECIFIED = 1, 2  # FFmpeg's numbers of what turns brightness and colour into red, green and blue


def transcode(source, path, codec="libx264", size=None, frames=None, matrix=UNSPECIFIED):
    """Browsers read neither AVI nor MPEG-4: the same frames, as a file that both sides read."""
    with av.open(str(source)) as container, av.open(str(path), "w") as written:
        stream = container.streams.video[0]
        encoder = written.add_stream(codec, rate=stream.average_rate)
        encoder.width, encoder.height = size or (stream.width, stream.height)
        encoder.codec_context.colorspace = matrix
        encoder.pix_fmt = "yuv420p" if codec != "mjpeg" else "yuvj420p"
        for number, frame in enumerate(container.decode(stream)):
            if number == frames:
                break
            frame.pts, frame.pict_type = None, 0
            written.mux(encoder.encode(frame))
        written.mux(encoder.encode())
    return path


@pytest.fixture(scope="module")
def run_folder(ucf101_6, tmp_path_factory):
    """A two-stream net trained on the training split for some epochs, and its shards."""
    folder = tmp_path_factory.mktemp("ucf")
    videos = dv.read_list(ucf101_6 / "trainlist01.txt", ucf101_6 / "videos", ucf101_6 / "classes.txt")
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=100)
    dv.build_shards(videos, folder / "shards", split="train", spec=spec, num_workers=2)
    config = dv.TrainConfig(
        model="multires",
        clip=dv.ClipSpec(crop_size_px=90),
        width=0.25,
        optimizer="adamw",
        learning_rate=3e-4,
        num_epochs=6,
    )
    dv.train(config, folder / "shards", folder / "run")
    return folder


@pytest.fixture(scope="module")
def model_path(run_folder):
    return dv.export_tflite(run_folder / "run", run_folder / "multires.tflite")


@pytest.fixture(scope="module")
def videos(ucf101_6, tmp_path_factory):
    """Every fourth video of the test split as H.264 in MP4, 21 of them."""
    folder = tmp_path_factory.mktemp("videos")
    lines = (ucf101_6 / "testlist01.txt").read_text().splitlines()[::4]
    sources = [ucf101_6 / "videos" / line.split()[0] for line in lines]
    return [transcode(source, folder / f"{source.stem}.mp4") for source in sources]


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Starts `make web` with some variables, and returns the page's address."""
    processes = []

    def start(*variables):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folder = tmp_path_factory.mktemp("page")
        command = ["make", "web", f"WEB={folder}/web", f"PORT={port}", *variables]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.PIPE))
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://localhost:{port}/"
            time.sleep(0.1)
        raise AssertionError("make web does not serve within 30 s")

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


@pytest.fixture(scope="module")
def address(serve):
    return serve()


@pytest.fixture(scope="module")
def launcher():
    with playwright.sync_playwright() as running:
        yield lambda *flags: running.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])


@pytest.fixture(scope="module")
def browser(launcher):
    with launcher() as running:
        yield running


@pytest.fixture
def open_page(browser, address):
    """Opens the page; afterwards looks at where its requests went, and for errors that nobody caught."""
    opened, requests, failures = [], [], []

    def open_(browser=browser, address=address, **options):
        context = browser.new_context(**options)
        opened.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        return page

    yield open_
    for context in opened:
        context.close()
    assert requests
    assert {urlsplit(url).hostname for url in requests if not url.startswith("blob:")} == {"localhost"}
    assert all(urlsplit(url.removeprefix("blob:")).hostname == "localhost" for url in requests)
    assert not failures


def choose_model(page, path):
    page.set_input_files("#model-file", path)
    playwright.expect(page.locator("#model-about")).to_contain_text(Path(path).name)


def choose_video(page, path):
    page.set_input_files("#video-file", path)
    playwright.expect(page.locator("#whole")).to_be_enabled()


def classify_whole(page, path):
    """The top classes of a whole video as the page shows them, a dict from name to probability, highest first."""
    choose_video(page, path)
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_contain_text(f"{path.name}: ", timeout=CLASSIFIED_MS)
    return shown_classes(page)


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


def differences(shown, expected):
    assert next(iter(shown)) == next(iter(expected))
    return max(abs(expected[name] - probability) for name, probability in shown.items())


# The same answers as Python's


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
    """A file for the test's own scripts: the page empties its fields as soon as a file is chosen."""
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


# Live


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
    """Chromium's own false camera, which shows a file."""
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
    """Whichever arrives last: the one beside the page is on its way while the user chooses, and one of his is slow."""
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


def classify_again(page):
    page.click("#whole")
    playwright.expect(page.locator("#status")).to_contain_text("the mean of", timeout=CLASSIFIED_MS)
    return page.inner_text("#status")


def test_the_same_file_can_be_chosen_again(open_page, model_path, videos):
    """A field that still held it would tell of no change."""
    page = open_page()
    choose_model(page, model_path)
    choose_video(page, videos[0])
    for name, path in (("model", model_path), ("video", videos[0])):
        assert page.input_value(f"#{name}-file") == ""
        assert page.inner_text(f"#{name}-name") == path.name


# What can go wrong


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


def with_card(flatbuffer, card):
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model_card.json", json.dumps(card))
    return file.getvalue()


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


# How it is used


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
    """Where the last class ends, from the top of the page."""
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
