"""Sphinx: `make docs` builds .docs/ from the Markdown files of the repository, each where it lies.

The source folder is the repository's root, so that a link works on GitHub and in the built pages alike.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

project = "attrib-sweeps"
author = "attrib-sweeps"
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/**.md", "analysis/README.md", "benchmarks/README.md", "cluster/README.md",
                    "sweeps/schemas/README.md"]  # fmt: skip
exclude_patterns = [".*", "build", "dist", "runs", "tests", "*.egg-info"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "command_reference", "documented_names"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # as GitHub makes them
# Docstrings are plain text, in which `this` is code.
default_role = "literal"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "alphabetical"
python_use_unqualified_type_names = True
maximum_signature_line_length = 90

# Every reference must lead somewhere. These lead to other projects, whose pages are not at hand without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|pandas|pd|pyarrow|pydantic|nn|collections|os|pathlib|typing|contextlib)\..*"),
    (r"py:.*", r"(matplotlib|enum)\..*"),
    (r"py:.*", r"(Tensor|Module|Generator|DataFrame|NDArray|Path|Sequence|Mapping|Iterable|Iterator|Callable|Any"
               r"|Literal|Self|Enum|device|dtype|memory_format)"),
]  # fmt: skip

# Types inside: a reader meets them in a signature, and needs none of them to call it.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "analysis.progress.Failure",
        "attrib_core.attacks.batch.Attempt",
        "attrib_core.attacks.victims.Onlooker",
        "attrib_core.attribution.scores.score.Score",
        "attrib_core.execution.Module",
        "attrib_core.generation.objectives.Objective",
        "attrib_core.generation.parameterizations.Parameterization",
        "attrib_core.generation.recipe.Stage",
        "attrib_core.prepared.Result",
        "attrib_core.references.Reference",
        "attrib_core.units.layers.Listed",
        "sweeps.store.image_failures.ImageFailure",
        "sweeps.store.maintenance.Status",
        "sweeps.store.run_directory.RunDirectory",
    )
]

html_theme = "furo"
html_title = "attrib-sweeps"
html_show_copyright = False
html_copy_source = False
# The pages lie in docs/ of the output; its top leads there.
html_additional_pages = {"index": "to-the-start.html"}
templates_path = ["_templates"]
# make docs-links
linkcheck_timeout = 20
linkcheck_anchors = False
