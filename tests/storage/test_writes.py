"""Files of several writers, and of writers that are interrupted."""

import os
import threading

import pytest

from deepvideo_tf.storage.writes import write_bytes_atomically


def test_writers_at_the_same_time_each_write_a_whole_file(tmp_path):
    path, contents = tmp_path / "model", [bytes([number]) * 3_000_000 for number in range(4)]
    ended, seen, failures = threading.Event(), set(), []

    def write(content):
        try:
            for _ in range(5):
                write_bytes_atomically(path, content)
        except OSError as error:
            failures.append(error)

    def read():
        while not ended.is_set():
            if path.exists():
                seen.add(path.read_bytes())

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    ended.set()
    reader.join()
    assert failures == []
    assert seen <= set(contents)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_an_interruption_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "model"
    write_bytes_atomically(path, b"before")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
