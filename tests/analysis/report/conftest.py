"""Reports of small run directories, and what a browser would make of their pages."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis.html.site import Site, open_site
from analysis.report.__main__ import main
from analysis.report.pages import section_of
from analysis.run import open_runs
from sweeps.schemas import SCHEMA_VERSION
from sweeps.store import RunDirectory

VOID = {"br", "hr", "img", "input", "link", "meta", "line", "polyline"}


@dataclass
class Page(HTMLParser):
    """The elements of a page, its text, and the content of its scripts."""

    path: Path
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_script = False
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
        else:
            self.text += data

    def links(self) -> list[str]:
        """What the page refers to: other pages, pictures, the script and the style sheet."""
        named = [attributes.get(name) for _, attributes in self.elements for name in ("href", "src")]
        return [link for link in named if link is not None]

    def rows(self, heading: str = "") -> list[list[str]]:
        """The texts of the cells of every table row; those below the first that starts with this heading."""
        rows = re.findall(r"<tr.*?</tr>", self.path.read_text(encoding="utf-8"), re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        texts = [[" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in row] for row in cells]
        firsts = [row[0] for row in texts]
        return texts[firsts.index(heading) + 1 :] if heading else texts

    def classes(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of a class."""
        return [held for _, held in self.elements if name in (held.get("class") or "").split()]


@pytest.fixture
def page() -> Callable[[Path], Page]:
    """Reads a page."""
    return lambda path: Page(path)


@pytest.fixture
def describe_run() -> Callable[..., None]:
    """Completes a run's sweep.json with what a sweep records, and closes the run."""

    def describe(run: Path, *, finished: bool = True, **fields: Any) -> None:
        directory = RunDirectory(run)
        directory.update_sweep(
            lambda existing: (existing or {}) | {"schema_version": SCHEMA_VERSION} | fields
        )
        if finished:
            directory.mark_success()

    return describe


@pytest.fixture
def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Path]:
    """Makes the report of some runs and returns the folder that it prints."""

    def make(*runs: Path | str, output: Path | str = tmp_path / "report") -> Path:
        main([*map(str, runs), "--output", str(output)])
        index = Path(capsys.readouterr().out.strip())
        assert index.name == "index.html"
        return index.parent

    return make


@pytest.fixture
def section_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """Makes the section of a run alone, its PNG figures, which take most of the time, left empty."""
    monkeypatch.setattr(Site, "figure", lambda self, path, figure: self.put(path, b""))

    def make(run: Path, folder: str = "section") -> Page:
        [source] = open_runs([str(run)])
        site = open_site(str(tmp_path / folder))
        with site.writing():
            made = section_of(source)(source, site)
            site.put("section.html", made.html.encode())
        return Page(tmp_path / folder / "section.html")

    return make
