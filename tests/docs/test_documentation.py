"""The documentation builds without a warning: no reference, link, page or option of a command is missing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from attrib_sweeps.commands import COMMANDS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("pages")
    flags = ["--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "-c", "docs"]
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *flags,
        "-d",
        str(folder / "doctrees"),
        ".",
        str(folder / "html"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_make_uses_the_same_flags() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "sphinx --fail-on-warning --keep-going --nitpicky --quiet -c docs" in makefile


def test_the_commands_have_all_scripts_and_options(built: Path) -> None:
    page = (built / "docs" / "reference" / "commands.html").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        words = command.module.removesuffix(".__main__")
        assert re.search(rf"{words}|{words.replace('.', '/')}\.py", page), words
        assert f"attrib-sweeps {name}" in page
    for option in (
        "attack-methods",
        "generate-recipes",
        "report-output",
        "store-gc-older-than",
        "blind-score-key",
    ):
        assert f'id="cmdoption-attrib-sweeps-{option}"' in page, option


def test_the_first_page_leads_to_the_others(built: Path) -> None:
    assert 'url=docs/index.html"' in (built / "index.html").read_text(encoding="utf-8")
    start = (built / "docs" / "index.html").read_text(encoding="utf-8")
    for page in ("tutorial", "resume-and-grow", "reference/commands", "explanation/exactly-once"):
        assert f'href="{page}.html"' in start
    for page in ("cluster", "analysis", "sweeps/schemas"):
        assert f'href="../{page}/README.html"' in start


def test_the_public_functions_are_documented(built: Path) -> None:
    pages = built / "docs" / "reference" / "python"
    for page, name in [
        ("classifiers", "attrib_core.classifiers.Classifier.wrap"),
        ("attacks", "attrib_core.attacks.attack"),
        ("attribution", "attrib_core.attribution.attribute"),
        ("generation", "attrib_core.generation.generate"),
        ("units", "attrib_core.activations.strongest_images"),
        ("analysis", "analysis.load.results"),
    ]:
        assert f'id="{name}"' in (pages / f"{page}.html").read_text(encoding="utf-8")
