"""How Sphinx builds these pages: `make docs`. They need no network, neither to be built nor to be read."""

import sys
from pathlib import Path

from deepvideo_tf import cli

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
cli.import_tensorflow()  # without the lines that it prints

project = "deepvideo_tf"
copyright = "the authors of deepvideo_tf, under the Apache License 2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
source_suffix = {".md": "markdown"}
highlight_language = "none"  # most blocks without a language are trees of files
default_role = "code"  # `name` in a docstring is code, as it is in Markdown

autodoc_typehints = "none"  # shapes, ranges and units stand in the text
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False  # what stands before a colon in Returns is a sentence, no type
myst_heading_anchors = 3

nitpicky = True
nitpick_ignore = [("py:exc", name) for name in ("KeyboardInterrupt", "ValueError")]  # Python's own

html_theme = "furo"
html_title = "deepvideo_tf"
html_show_sourcelink = False
html_copy_source = False
