"""The programs, and what a user sees when one succeeds or fails."""

PROGRAMS = (
    "build-shards",
    "check-parity",
    "demo",
    "describe",
    "evaluate",
    "export-onnx",
    "export-saved-model",
    "export-tflite",
    "inspect-shards",
    "make-synthetic",
    "predict",
    "predict-many",
    "report",
    "serve",
    "train",
    "verify-shards",
)


def succeeded(result):
    """Check that a program succeeded and named the next command; return what it printed."""
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Next: " in result.stdout
    return result.stdout


def one_line(result, *words):
    """Check that a program failed with one line of error that holds these words; return the line."""
    assert result.returncode not in (0, -6, -9, -11)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert ": error: " in lines[0]
    assert all(word in lines[0] for word in words), lines[0]
    return lines[0]
