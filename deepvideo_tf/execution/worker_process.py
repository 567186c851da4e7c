"""A child process that can be killed: for work that may hang, crash, or must not share a process with something.

Parent and child speak over pipes: lines of JSON, and bytes whose number was sent before. Nothing is pickled, so what
comes back from a process that has read an untrusted file is only taken as data.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, TypeVar

Answer = TypeVar("Answer")


class WorkerDiedError(Exception):
    """The child ended before it answered.

    Args:
        status: its exit status; a negative number is the signal that ended it.
        last_line: the last line of its standard error, at most 200 characters.
        timed_out: whether it was killed because it took too long.
    """

    def __init__(self, status: int, last_line: str = "", timed_out: bool = False):
        super().__init__(f"ended with status {status}" + (f": {last_line}" if last_line else ""))
        self.status = status
        self.last_line = last_line
        self.timed_out = timed_out


class WorkerProcess:
    """A child process that answers requests: started by the first one, and again after it has died.

    Use it as a context manager; one thread may use it at a time, but for `kill`.

    Args:
        module: full name of the module that the child runs; it calls `serve`.
        environment: environment variables of the child besides this process's own.
        greet: called with the child's standard input when it has started.
    """

    def __init__(
        self,
        module: str,
        *,
        environment: Mapping[str, str] | None = None,
        greet: Callable[[IO[bytes]], object] | None = None,
    ):
        self._module = module
        self._environment = environment or {}
        self._greet = greet
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(
        self,
        send: Callable[[IO[bytes]], object],
        receive: Callable[[IO[bytes]], Answer],
        timeout_s: float | None = None,
    ) -> Answer:
        """Send a request and receive its answer.

        Args:
            send: writes the request to the child's standard input.
            receive: reads the whole answer from its standard output; raises EOFError where that ends too early, as
                `read_json` and `read_exactly` do. After any error the child is not used again.
            timeout_s: after which the child is killed; None for no limit.

        Returns:
            What `receive` returned.

        Raises:
            WorkerDiedError: the child died, or took too long.
        """
        timed_out = threading.Event()
        try:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            with _killing_after(timeout_s, process, timed_out):
                send(process.stdin)
                process.stdin.flush()
                return receive(process.stdout)
        except (EOFError, BrokenPipeError):
            death = self._death(timed_out.is_set())
            self.close()
            raise death from None
        except BaseException:
            self.close()  # an answer may be half read
            raise
        finally:
            if timed_out.is_set():
                self.close()  # also where the answer came just before: the next request must not pay for this one

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
            self._process = subprocess.Popen(
                module_command(self._module),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, **self._environment},
            )
            if self._greet is not None:
                assert self._process.stdin is not None
                self._greet(self._process.stdin)
        return self._process

    def _death(self, timed_out: bool) -> WorkerDiedError:
        assert self._process is not None
        assert self._stderr is not None
        status = self._process.wait()
        self._stderr.seek(0)
        return WorkerDiedError(status, _last_line(self._stderr.read().decode(errors="replace")), timed_out)

    def kill(self) -> None:
        """End the child, from any thread; a request that it is working on raises WorkerDiedError."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the child."""
        if self._process is not None:
            assert self._stderr is not None
            self._process.kill()
            self._process.communicate()
            self._stderr.close()
            self._process = None


@contextlib.contextmanager
def _killing_after(
    timeout_s: float | None, process: "subprocess.Popen[bytes]", timed_out: threading.Event
) -> Iterator[None]:
    if timeout_s is None:
        yield
        return

    def kill() -> None:
        timed_out.set()
        process.kill()

    timer = threading.Timer(timeout_s, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package in another process."""
    # -P keeps a file in the current folder (av.py, say) from being imported in place of a package.
    return [sys.executable, "-P", "-m", module, *arguments]


def run_module(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a module in a process of its own, to its end.

    Args:
        module: its full name.
        *arguments: of its command line.
        environment: environment variables besides this process's own.

    Returns:
        What it wrote to standard output.

    Raises:
        WorkerDiedError: its status was not 0.
    """
    done = subprocess.run(
        module_command(module, *arguments),
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise WorkerDiedError(done.returncode, _last_line(done.stderr))
    return done.stdout


def _last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "")[:200]


def write_json(pipe: IO[bytes], value: object) -> None:
    """Write a value as a line of JSON."""
    pipe.write(json.dumps(value).encode() + b"\n")


def read_json(pipe: IO[bytes]) -> Any:
    """Read what `write_json` wrote; an EOFError where the pipe ends before the line does."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def read_exactly(pipe: IO[bytes], size: int) -> bytes:
    """Read a number of bytes; an EOFError where the pipe ends before."""
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def serve(answer: Callable[[IO[bytes], IO[bytes]], object]) -> None:
    """Answer requests in the child until the parent closes the pipe or has gone.

    Args:
        answer: called with standard input and standard output; returns where a request's EOFError says that no more
            will come.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        with contextlib.suppress(EOFError):
            answer(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        # The parent is gone; closing standard output would raise again.
        sys.stderr.close()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
