"""The output of a report: pages, pictures and files to download, in a folder or a bucket.

Every path comes from ids and indices, never from a name in the data. Pages refer to each other by relative
paths, so that the folder can be moved, zipped or served from anywhere.
"""

import io
import mimetypes
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import obstore
import pandas as pd
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.html.formatting import FILTERS
from sweeps.store import RunDirectory
from sweeps.store.errors import explained
from sweeps.store.maintenance import open_run

INDEX = "index.html"
ASSETS = ("report.css", "report.js")

# How a report knows its own pages: it overwrites no other's.
GENERATOR = "attrib-sweeps report"

# Writing to a bucket waits for the network; to a disk it takes no time worth sharing.
_NUM_WRITERS = 16
# Contents that wait for a writer; a class page with its pictures is a few hundred kilobytes.
_MAX_PENDING = 256


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the index page: its anchor, its title, and what it shows."""

    id: str
    title: str
    html: Markup


class Site:
    """The pages and files of a report below a folder or URL; a context manager that ends when all is written."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._is_bucket = "://" in url
        self._written: set[str] = set()
        self._pending: list[Future[None]] = []
        self._environment = template_environment(PackageLoader("analysis.html"))

    @property
    def index(self) -> str:
        """Where the index page is."""
        return f"{self.url}/{INDEX}"

    def render(self, template: str, **values: Any) -> Markup:
        """Render a template with these values; they are escaped unless they are Markup."""
        return Markup(self._environment.get_template(template).render(**values))

    def page(self, path: str, template: str, **values: Any) -> str:
        """Write a page and return its path. The template gets `root`, the way from the page to the folder."""
        root = "../" * path.count("/")
        return self.put(path, _encoded(self.render(template, root=root, generator=GENERATOR, **values)))

    def finish(self, template: str, **values: Any) -> None:
        """Write the index page last; until now it said that the report is being written."""
        for future in self._pending:
            future.result()
        self._put(INDEX, _encoded(self.render(template, root="", generator=GENERATOR, **values)))

    def put(self, path: str, content: bytes) -> str:
        """Write a file and return its path, which is relative to the index page."""
        assert path not in self._written, f"{path} is written twice"
        self._written.add(path)
        self._pending.append(self._pool.submit(self._put, path, content))
        if len(self._pending) > _MAX_PENDING:
            self._pending.pop(0).result()
        return path

    def figure(self, path: str, figure: Figure) -> str:
        """Write a figure as PNG and return its path; the same figure gives the same file."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=2 * figure.dpi, metadata={"Software": None})
        return self.put(path, buffer.getvalue())

    def table(self, path: str, table: pd.DataFrame) -> str:
        """Write a table as CSV and return its path."""
        return self.put(path, table.to_csv(index=False).encode())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write what is put inside, after the assets; remove what an earlier report left in the folder."""
        with explained(self.url, "written"), ThreadPoolExecutor(_NUM_WRITERS) as self._pool:
            self._open()
            # Marks the folder as a report's, so that a build that dies half-way can be repeated.
            self._put(INDEX, _encoded(self.render("unfinished.html", root="", generator=GENERATOR)))
            for name in ASSETS:
                self.put(f"assets/{name}", _asset(name))
            yield
            self._remove_others()

    def _open(self) -> None:
        if not self._is_bucket:
            Path(self.url).mkdir(parents=True, exist_ok=True)
        self._files = RunDirectory(self.url).files

    def _put(self, path: str, content: bytes) -> None:
        # A disk keeps no type beside a file; a bucket would serve a page as a download without one.
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        attributes = {"Content-Type": kind} if self._is_bucket else None
        obstore.put(self._files.store, path, content, use_multipart=False, attributes=attributes)

    def _remove_others(self) -> None:
        """Delete the pages of an earlier report of more classes or runs: no link leads to them any more."""
        left = (entry.path for entry in list(self._files.list("")) if entry.path not in self._written)
        for path in filter(_is_reports, left):
            self._files.delete(path)


def template_environment(loader: BaseLoader) -> Environment:
    """Return what renders a report's templates: values are escaped, a missing one is an error."""
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    return environment


def open_site(output: str) -> Site:
    """Open the folder of a report, which must be writable and hold nothing else. Raise ValueError otherwise."""
    place = RunDirectory(output)
    for folder in _folders(place.url):
        if _is_run(folder):
            raise ValueError(
                f"output {output!r} lies in the run directory {folder}: a report belongs beside a run; "
                "choose a folder of its own"
            )
    place.check_writable()
    with explained(place.url, "read"):
        index = place.files.read_if_present(INDEX) or b""
        is_empty = next(place.files.list(""), None) is None
    if not is_empty and GENERATOR.encode() not in index:
        raise ValueError(
            f"output {output!r} holds files that are no report's: choose a new folder, or one of a report"
        )
    return Site(place.url)


def _folders(url: str) -> list[str]:
    """Return the folder itself and, on a disk, those above it."""
    if "://" in url:
        return [url]
    resolved = Path(url).resolve()
    return [str(folder) for folder in (resolved, *resolved.parents)]


def _is_run(folder: str) -> bool:
    try:
        open_run(folder)
    except ValueError:
        return False
    return True


def _is_reports(path: str) -> bool:
    return re.match(r"run-\d+/|assets/", path) is not None


def _encoded(html: str) -> bytes:
    # A command recorded in sweep.json may hold bytes that are no text: half of a surrogate pair each.
    return html.encode(errors="backslashreplace")


def _asset(name: str) -> bytes:
    return resources.files("analysis.html").joinpath("assets", name).read_bytes()
