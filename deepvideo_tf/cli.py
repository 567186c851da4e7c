"""What all programs share: flags from config dataclasses, starting, failing in one line, and showing progress.

This is the only module of the package that knows absl and prints. No library module imports it.
"""

import contextlib
import dataclasses
import inspect
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
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Generic, NoReturn, TypeVar

from absl import app, flags
from absl import logging as absl_logging
from tqdm import tqdm

from deepvideo_tf.config.checks import flag_name
from deepvideo_tf.errors import DeepVideoError, first_line
from deepvideo_tf.storage.buckets import is_bucket_error
from deepvideo_tf.storage.paths import PathLike, is_on_disk, on_disk, scheme_of, to_path

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

flags.disclaim_key_flags()  # flags that `ConfigFlags` defines are those of the program that makes it

T = TypeVar("T")


class ConfigFlags(Generic[T]):
    """Flags that set the fields of a config dataclass. Each has its field's name, type, default, choices and text.

    Args:
        kind: the dataclass. The `Args` of its docstring are the flags' help.
        only: names of the fields that get a flag; None for all.
        skip: names of fields that get no flag.
        changes: by field, what is different for its flag: any argument of absl's `DEFINE_...`, and `note`, a sentence
            to append to the help.
    """

    def __init__(
        self,
        kind: type[T],
        *,
        only: Collection[str] | None = None,
        skip: Collection[str] = (),
        changes: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        self._kind = kind
        hints, texts = typing.get_type_hints(kind), field_texts(kind)
        self._flags = {
            item.name: _define_flag(
                item, hints[item.name], texts.get(item.name, ""), (changes or {}).get(item.name, {})
            )
            for item in dataclasses.fields(kind)  # type: ignore[arg-type]
            if item.name not in skip and (only is None or item.name in only)
        }

    def __getitem__(self, field: str) -> flags.FlagHolder[Any]:
        """Return the flag of a field."""
        return self._flags[field]

    def config(self, base: T | None = None, **values: Any) -> T:
        """Return the config that the flags describe.

        Args:
            base: a config whose fields stay as they are where a flag is None; by default the dataclass's defaults.
            **values: values of fields without a flag, or in place of one.

        Returns:
            A `kind`.
        """
        given = {field: flag.value for field, flag in self._flags.items() if flag.value is not None} | values
        return self._kind(**given) if base is None else dataclasses.replace(base, **given)  # type: ignore[type-var]


def field_texts(kind: type) -> dict[str, str]:
    """Return the text of each field in the `Args` of a dataclass's docstring, as one line."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(kind) or "", re.M | re.S)
    parts = re.split(r"^    (\w+): ", section[1] if section else "", flags=re.M)
    return {field: " ".join(text.split()) for field, text in zip(parts[1::2], parts[2::2], strict=True)}


def _define_flag(
    item: dataclasses.Field[Any], hint: Any, text: str, changes: Mapping[str, Any]
) -> flags.FlagHolder[Any]:
    kind = next(kind for kind in (*typing.get_args(hint), hint) if kind is not type(None))  # of `str | None`, str
    help_text = f"{text[:1].upper()}{text[1:]} {changes.get('note', '')}".replace("`", "").strip()
    settings: dict[str, Any] = {"name": flag_name(item), "default": item.default, "help": help_text, **changes}
    settings.pop("note", None)
    if "choices" in item.metadata:
        return flags.DEFINE_enum(**{"enum_values": item.metadata["choices"], **settings})
    define: Any = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        str: flags.DEFINE_string,
    }
    return define[kind](**settings)


def run(main: Callable[..., None], *, positional: str | None = None, in_buckets: Collection[str] = ()) -> None:
    """Run a program: parse its flags, call `main`, and turn an error that the user can fix into one line and a status.

    Args:
        main: called with no arguments, or with the list of positional arguments if `positional` is given.
        positional: what the positional arguments are, for the help (`VIDEO...`); None if the program takes none.
        in_buckets: names of the flags whose files may be in a bucket.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    library_logger().addHandler(logging.StreamHandler())
    library_logger().setLevel(logging.INFO)
    library_logger().propagate = False  # absl would print every line a second time
    absl_logging.set_verbosity(absl_logging.ERROR)  # TensorFlow's internal notes are not for users
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
        # An unreadable folder or a full disk is for the user to fix, wherever it happens.
        if error.strerror is None:
            raise
        _fail(program, f"{error.filename or 'output'}: {error.strerror}", FAILED)
    except Exception as error:
        if is_bucket_error(error):
            _fail(program, first_line(error), FAILED)
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":  # TensorFlow's
            raise
        _fail(program, f"not enough memory: {error}"[:200], FAILED)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _parse(
    argv: list[str], program: str, module: ModuleType, positional: str | None, in_buckets: Collection[str]
) -> list[str]:
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
    _check_paths(program, module, in_buckets)
    if positional is None:
        if len(arguments) > 1:
            _fail(program, f"unexpected argument {arguments[1]!r}: this program takes flags only", WRONG_USAGE)
        return arguments
    if len(arguments) == 1:
        _fail(program, f"expected {positional}, found nothing", WRONG_USAGE)
    try:
        arguments[1:] = [
            str(on_disk(positional.strip("."), value)) if scheme_of(value) else value for value in arguments[1:]
        ]
    except DeepVideoError as error:
        _fail(program, str(error), WRONG_USAGE)
    return arguments


def _check_paths(program: str, module: ModuleType, in_buckets: Collection[str]) -> None:
    """Reject addresses where paths on a disk are expected; import TensorFlow if a path is in a bucket."""
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
            needs_tensorflow |= not is_on_disk(value)
        if isinstance(flag.value, str) and scheme_of(flag.value) == "file":
            flag.value = str(to_path(flag.value))
    if needs_tensorflow:
        import_tensorflow()


def _print_help(program: str, module: ModuleType, positional: str | None) -> None:
    print(f"usage: {program} [flags]{' ' + positional if positional else ''}\n\n{(module.__doc__ or '').strip()}\n")
    print("flags:" + flags.FLAGS.module_help(_flags_module(module)).partition(":")[2])


def _flags_module(module: ModuleType) -> str:
    """Return the name under which absl keeps the flags of a program: its path if it runs as a script."""
    return sys.argv[0] if module.__name__ == "__main__" else module.__name__


def _fail(program: str, message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    print(f"{program}: error: {line}", file=sys.stderr)
    sys.exit(status)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep native libraries from writing to standard error; show what they wrote if they fail."""
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


def import_tensorflow() -> None:
    """Import TensorFlow without the lines that its libraries print before their logging is set up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Bytes that TensorFlow reads ahead in each open object of a bucket: its own 64 MB are 1 GB for 16 open shards.
    os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "8")
    with quiet_libraries():
        try:
            import tensorflow  # noqa: F401
        except ModuleNotFoundError as error:
            raise DeepVideoError(f"this needs TensorFlow (predicting with TFLite files does not): {error}") from None


def run_program(program: str, *arguments: object) -> None:
    """Print the command of another program, run it, and wait for it.

    When interrupted, send one signal to the other program and wait until it has saved its work. The program runs in its
    own process group: otherwise a terminal's Ctrl-C would reach it as well, and a second signal keeps it from saving.

    Args:
        program: an installed program, `deepvideo-...`.
        *arguments: its flags.

    Raises:
        DeepVideoError: it failed; it has printed its message.
        KeyboardInterrupt: this process was interrupted.
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


def print_next(program: str, *arguments: object, needs_disk: Sequence[PathLike] = ()) -> None:
    """Print the next command to run, quoted for a shell; nothing unless the paths `needs_disk` are on a disk."""
    if is_on_disk(*needs_disk):
        print(f"Next: {shlex.join([program, *map(str, arguments)])}")


def print_line(text: str) -> None:
    """Print a line, above the progress bar if there is one."""
    tqdm.write(text)


def library_logger() -> logging.Logger:
    """Return the logger of all library modules."""
    return logging.getLogger("deepvideo_tf")


@contextlib.contextmanager
def progress(total: int, unit: str, description: str, *, done: int = 0) -> Iterator[Callable[..., object]]:
    """Show the progress of long work: a bar on a terminal, elsewhere a line for every tenth.

    Args:
        total: number of items.
        unit: what an item is, in the singular.
        description: what is done with them.
        done: number of items that were done before.

    Yields:
        A function to call after each item, or with the number of items done since the last call; from any thread.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, unit=unit, desc=description, initial=done) as bar:
            yield bar.update
        return
    lock = threading.Lock()

    def update(count: int = 1) -> None:
        nonlocal done
        with lock:
            before, done = done, done + count
            if done * 10 // total > before * 10 // total:
                print(f"{description}: {done} of {total} {unit}s", file=sys.stderr, flush=True)

    yield update
