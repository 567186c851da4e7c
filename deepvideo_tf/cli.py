"""What all programs share: how one is started, how it fails in one line, and how it shows that it works.

This is the programs' side of the house: the only module of the package that knows absl and prints. No library module
imports it.
"""

import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading

from absl import app, flags
from absl import logging as absl_logging
from tqdm import tqdm

from deepvideo_tf.errors import DeepVideoError, first_line
from deepvideo_tf.storage.paths import is_remote, on_disk, scheme_of, to_path

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def run(main, *, positional=None, in_buckets=()):
    """Runs a program: parses its flags, calls `main`, and turns what a user can cure into one line and a status.

    Args:
        main: called with no arguments, or with the list of positional arguments if `positional` is given.
        positional: what the positional arguments are, for the help (`VIDEO...`); None where there are none.
        in_buckets: names of the flags whose files may lie in a bucket (`gs://`).
    """
    signal.signal(signal.SIGTERM, _interrupt)
    library_logger().addHandler(logging.StreamHandler())
    library_logger().setLevel(logging.INFO)
    library_logger().propagate = False  # absl would print every line once more, in its own way
    absl_logging.set_verbosity(absl_logging.ERROR)  # TensorFlow's notes on its own workings are not the user's
    program = os.path.basename(sys.argv[0])
    try:
        app.run(
            lambda arguments: main(arguments[1:]) if positional else main(),
            flags_parser=lambda argv: _parse(argv, program, sys.modules[main.__module__], positional, in_buckets),
        )
    except DeepVideoError as error:
        _fail(program, str(error), FAILED)
    except KeyboardInterrupt as interruption:
        _fail(program, str(interruption) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, say) has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        # A folder that may not be read, a disk that is full: the user's to cure, wherever it comes up.
        if error.strerror is None:
            raise
        _fail(program, f"{error.filename or 'output'}: {error.strerror}", FAILED)
    except Exception as error:
        if "gs://" in str(error) and type(error).__module__.startswith("tensorflow"):  # a bucket's, within a graph
            _fail(program, first_line(error), FAILED)
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's
            raise
        _fail(program, f"not enough memory: {error}"[:200], FAILED)


def _interrupt(*_):
    raise KeyboardInterrupt


def _parse(argv, program, module, positional, in_buckets):
    if any(argument in ("--help", "-help", "-h", "--helpfull", "--helpshort") for argument in argv[1:]):
        _print_help(program, module, positional)
        sys.exit(0)
    try:
        arguments = flags.FLAGS(argv)
    except flags.Error as error:
        required = re.findall(r"Flag (--\w+) must have a value other than None", str(error))
        message = f"{', '.join(required)} must be given" if required else str(error).rstrip(".")
        _fail(program, f"{message}. See {program} --help", WRONG_USAGE)
    for flag in flags.FLAGS.get_flags_for_module(_flags_module(module)):
        if flag.value == "":
            _fail(program, f"--{flag.name} must not be empty", WRONG_USAGE)
    _check_places(program, module, in_buckets)
    if positional is None and len(arguments) > 1:
        _fail(program, f"unexpected argument {arguments[1]!r}: this program takes flags only", WRONG_USAGE)
    if positional is not None and len(arguments) == 1:
        _fail(program, f"expected {positional}, found nothing", WRONG_USAGE)
    try:
        arguments[1:] = [
            str(on_disk(positional.strip("."), value)) if scheme_of(value) else value for value in arguments[1:]
        ]
    except DeepVideoError as error:
        _fail(program, str(error), WRONG_USAGE)
    return arguments


def _check_places(program, module, in_buckets):
    """Refuses addresses where paths on a disk are expected, and makes TensorFlow ready for those in buckets."""
    needs_tensorflow = False
    for flag in flags.FLAGS.get_flags_for_module(_flags_module(module)):
        for value in flag.value if isinstance(flag.value, list) else [flag.value]:
            if not isinstance(value, str) or scheme_of(value) is None or flag.name == "ray_address":
                continue
            try:
                to_path(value) if flag.name in in_buckets else on_disk(f"--{flag.name}", value)
            except DeepVideoError as error:
                named = "" if str(error).startswith("--") else f"--{flag.name}: "
                _fail(program, f"{named}{error}", WRONG_USAGE)
            needs_tensorflow |= is_remote(value)
        if isinstance(flag.value, str) and scheme_of(flag.value) == "file":
            flag.value = str(to_path(flag.value))
    if needs_tensorflow:
        import_tensorflow()


def _print_help(program, module, positional):
    print(f"usage: {program} [flags]{' ' + positional if positional else ''}\n\n{module.__doc__.strip()}\n")
    print("flags:" + flags.FLAGS.module_help(_flags_module(module)).partition(":")[2])


def _flags_module(module):
    """The name under which absl files the flags of a program: its path, if it is run as a script."""
    return sys.argv[0] if module.__name__ == "__main__" else module.__name__


def _fail(program, message, status):
    line = " ".join(message.split())
    print(f"{program}: error: {line}", file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def quiet_libraries():
    """Keeps native libraries from writing to standard error; what they wrote is shown if they fail."""
    with tempfile.TemporaryFile() as noise, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except DeepVideoError:
            raise
        except Exception:
            noise.seek(0)
            stderr.write(noise.read())
            raise
        finally:
            os.dup2(stderr.fileno(), 2)


def import_tensorflow():
    """Imports TensorFlow without the lines that its libraries print before their logging is set up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What TensorFlow reads ahead of each open object of a bucket; its own 64 MB would be 1 GB for 16 shards at once.
    os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "8")
    with quiet_libraries():
        try:
            import tensorflow  # noqa: F401
        except ModuleNotFoundError as error:
            raise DeepVideoError(f"this needs TensorFlow (predicting with TFLite files does not): {error}") from None


def run_program(program, *arguments):
    """Shows the command of another program, runs it, and waits for it.

    Told to stop, it tells the other program once (a terminal's Ctrl-C would reach it as well, and a second signal keeps
    a training from saving) and waits until that has saved.

    Args:
        program: `deepvideo-...`, an installed one.
        *arguments: its flags.

    Raises:
        DeepVideoError: it failed; its message was shown.
        KeyboardInterrupt: told to stop.
    """
    command = [program, *map(str, arguments)]
    print(f"\n$ {shlex.join(command)}", flush=True)
    path = os.path.join(sysconfig.get_path("scripts"), program)
    process = subprocess.Popen([path, *command[1:]], process_group=0)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise KeyboardInterrupt("interrupted; the same command goes on from here") from None
    finally:
        process.kill()  # on a second Ctrl-C
    if status:
        raise DeepVideoError(f"{program} ended with status {status}; its message is above")


def print_next(program, *arguments):
    """Prints the next command to run, quoted for a shell."""
    print(f"Next: {shlex.join([program, *map(str, arguments)])}")


def print_line(text):
    """Prints a line above a progress bar, if there is one."""
    tqdm.write(text)


def library_logger():
    """The logger of all library modules."""
    return logging.getLogger("deepvideo_tf")


@contextlib.contextmanager
def progress(total, unit, description, *, done=0):
    """Shows how far long work has come: as a bar on a terminal, elsewhere as a line for every tenth.

    Args:
        total: how many things there are to do.
        unit: what they are, in the singular.
        description: what is done with them.
        done: how many of them were done before.

    Yields:
        A function to call after each thing, or with the number of things done; from any thread.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, unit=unit, desc=description, initial=done) as bar:
            yield bar.update
        return
    lock = threading.Lock()

    def update(count=1):
        nonlocal done
        with lock:
            before, done = done, done + count
            if done * 10 // total > before * 10 // total:
                print(f"{description}: {done} of {total} {unit}s", file=sys.stderr, flush=True)

    yield update
