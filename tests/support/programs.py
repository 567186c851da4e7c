"""What tests ask of the programs."""

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
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Next: " in result.stdout
    return result.stdout


def one_line(result, *words):
    """The program failed with one line that holds these words."""
    assert result.returncode not in (0, -6, -9, -11)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert ": error: " in lines[0]
    assert all(word in lines[0] for word in words), lines[0]
    return lines[0]
