"""The page, the browser that opens it, and a model and videos to choose there."""

import os
import signal
import socket
import subprocess
import time
from urllib.parse import urlsplit

import pytest

import deepvideo_tf as dv
from tests.support.browser import CHROMIUM, FLAGS, transcode
from tests.support.repository import REPOSITORY


@pytest.fixture(scope="session")
def run_folder(ucf101_6, tmp_path_factory):
    """A folder with a two-stream model, trained on UCF-101's six classes for some epochs, and its shards."""
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


@pytest.fixture(scope="session")
def model_path(run_folder):
    return dv.export_tflite(run_folder / "run", run_folder / "multires.tflite")


@pytest.fixture(scope="session")
def videos(ucf101_6, tmp_path_factory):
    """Every fourth video of the test split as H.264 in MP4, 21 of them."""
    folder = tmp_path_factory.mktemp("videos")
    lines = (ucf101_6 / "testlist01.txt").read_text().splitlines()[::4]
    sources = [ucf101_6 / "videos" / line.split()[0] for line in lines]
    return [transcode(source, folder / f"{source.stem}.mp4") for source in sources]


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Function that starts `make web` with some variables and returns the page's address."""
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


@pytest.fixture(scope="session")
def address(serve):
    return serve()


@pytest.fixture(scope="session")
def launcher():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield lambda *flags: running.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])


@pytest.fixture(scope="session")
def browser(launcher):
    with launcher() as running:
        yield running


@pytest.fixture
def open_page(browser, address):
    """Function that opens the page; afterwards, check where its requests went, and that no error was left uncaught."""
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
