"""Chromium, and the checker of accessibility that runs in it."""

import os

from tests.support.repository import REPOSITORY

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = REPOSITORY / "build/npm/node_modules/axe-core/axe.min.js"
