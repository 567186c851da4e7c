"""A cluster of `deepvideo-train --strategy=downpour` on this machine."""

import json
import os
import socket
import subprocess
import sysconfig
import time
from pathlib import Path

TRAIN = Path(sysconfig.get_path("scripts")) / "deepvideo-train"


class Cluster:
    """A chief, a parameter server and workers: processes of this machine, killed at the end if they still run.

    Args:
        folder: where their output goes, to `<job><number>.log`.
        flags: of `deepvideo-train`.
        workers: how many.
        jobs: those that are started at once.
    """

    def __init__(self, folder, flags, workers=2, jobs=("ps", "worker", "chief")):
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 + workers)]
        places = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        for one in sockets:
            one.close()
        self.cluster = {"chief": places[:1], "ps": places[1:2], "worker": places[2:]}
        self.processes, self._jobs = {}, jobs
        self._command, self._folder = [TRAIN, "--strategy=downpour", *flags], Path(folder)

    def __enter__(self):
        for job in self._jobs:
            for index in range(len(self.cluster[job])):
                self.start(job, index)
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, job, index=0):
        config = json.dumps({"cluster": self.cluster, "task": {"type": job, "index": index}})
        with open(self._folder / f"{job}{index}.log", "a") as log:
            self.processes[job, index] = subprocess.Popen(
                self._command, env=os.environ | {"TF_CONFIG": config}, stdout=log, stderr=log
            )

    def kill(self, job, index=0):
        self.processes[job, index].kill()
        self.processes[job, index].wait()

    def log(self, job, index=0):
        return (self._folder / f"{job}{index}.log").read_text()

    def wait_for(self, text, job="chief", timeout_s=300):
        """Waits until the first of a job, by default the chief, has printed something."""
        end_s = time.monotonic() + timeout_s
        while text not in self.log(job):
            assert self.processes[job, 0].poll() is None, self.log(job)
            assert time.monotonic() < end_s, self.log(job)
            time.sleep(0.05)

    def wait_for_end(self, timeout_s=600):
        """The chief ends first, then the others by themselves."""
        assert self.processes["chief", 0].wait(timeout_s) == 0, self.log("chief")
        for (job, index), process in self.processes.items():
            assert process.wait(30) == 0, self.log(job, index)
