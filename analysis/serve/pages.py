"""The pages of the viewer: all runs, the rows of one, one image, and files to download."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, PackageLoader

from analysis import html
from analysis.html.site import template_environment
from analysis.progress import missing_shards, planned_shards
from analysis.run import Run
from analysis.serve.controls import constants, controls
from analysis.serve.database import Database
from analysis.serve.downloads import rows_file, summary_file
from analysis.serve.formatting import is_figure, shown
from analysis.serve.histogram import histogram
from analysis.serve.images import image_path, key_column, pictured
from analysis.serve.pictures import Pictures
from analysis.serve.responses import NotFound, Response, redirect
from analysis.serve.rows import FILE, ROW, RunRows
from analysis.serve.summary import default_groups, default_measure
from analysis.serve.tables import summary_of_rows, table_of_rows
from analysis.serve.view import (
    DENOMINATORS,
    NOTHING,
    Filter,
    View,
    measures,
    numbers,
    parse_query,
    parse_view,
)

_ASSETS = {"report.css": html.__name__, "report.js": html.__name__, "viewer.css": __package__}
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
# What a name stands for never changes.
_LASTING = {"Cache-Control": "private, max-age=86400, immutable"}


class Viewer:
    """The pages of some runs, whose rows are in a database."""

    def __init__(self, runs: Sequence[Run], database: Database, *, title: str) -> None:
        self.rows = [RunRows(run, database) for run in runs]
        self._pictures = [Pictures(run) for run in runs]
        self._title = title
        packages = (__package__, html.__name__)
        self._environment = template_environment(ChoiceLoader([PackageLoader(each) for each in packages]))
        self._environment.filters["shown"] = shown
        self._environment.filters["is_figure"] = is_figure

    def respond(self, parts: Sequence[str], query: str) -> Response:
        """Return the answer to a path, in its parts, and a query. Raises NotFound, BadQuery and ValueError."""
        match list(parts):
            case [""]:
                return self._index()
            case ["assets", name] if name in _ASSETS:
                content = resources.files(_ASSETS[name]).joinpath("assets", name).read_bytes()
                return Response(kind=_TYPES[name.rpartition(".")[2]], body=content)
            case ["favicon.ico"]:
                return Response(status=204, headers=_LASTING)
            case ["run", number, *rest]:
                return self._of_run(self._number(number), rest, query)
        raise NotFound(f"no page is called /{'/'.join(parts)}: the first one is /")

    def error(self, status: int, message: str) -> Response:
        """Return the page of a mistake."""
        return self._page("viewer_error.html", status=status, message=message, code=status)

    def _of_run(self, number: int, rest: Sequence[str], query: str) -> Response:
        rows, pictures = self.rows[number], self._pictures[number]
        match rest:
            case ["stored", file, key]:
                content = _found(lambda: pictures.stored([(file, key)])[file, key])
                return Response(kind="image/png", body=content, headers=_LASTING)
            case ["map", file, row]:
                place = (file, self._row(rows, file, row))
                return Response(kind="image/png", body=pictures.maps([place])[place], headers=_LASTING)
            case [] | ["image", _] | ["rows.csv" | "summary.csv"]:
                pairs, had_empty = parse_query(query)
                if had_empty:
                    return redirect(["run", str(number), *rest], View(pairs=pairs).link(*_page_of(pairs)))
                rows.refresh()
                if rest[:1] == ["image"]:
                    return self._image(rows, rest[1], pairs)
                view = parse_view(pairs, rows.columns)
                if not rest:
                    return self._run(rows, view)
                return rows_file(rows, view) if rest == ["rows.csv"] else summary_file(rows, view)
        raise NotFound(f"no page is called /run/{number}/{'/'.join(rest)}: the run's is /run/{number}")

    def _index(self) -> Response:
        return self._page("viewer_index.html", runs=[_line_of_index(rows) for rows in self.rows])

    def _run(self, rows: RunRows, view: View) -> Response:
        first, others = controls(rows, view)
        held = {name for each in (*first, *others) for name in each.fields}
        columns = rows.columns
        measure = view.measure or default_measure(columns)
        groups = default_groups(rows, measure) if view.by is None else view.by
        return self._page(
            "viewer_run.html",
            missing=_missing(rows),
            first=first,
            others=others,
            hidden=[pair for pair in view.pairs if _is_hidden(pair, held)],
            groups=[
                name for name, column in columns.items() if not column.is_constant and name not in (FILE, ROW)
            ],
            grouped=groups or (NOTHING,),
            measures=measures(columns),
            measure=measure,
            denominators=DENOMINATORS if rows.run.kind == "attack" else (),
            numbers=numbers(columns),
            constants=constants(rows),
            summary=summary_of_rows(rows, view),
            histogram=histogram(rows, view),
            **table_of_rows(rows, view),
        )

    def _image(self, rows: RunRows, key: str, pairs: Any) -> Response:
        column = key_column(rows)
        if column is None:
            raise NotFound(f"{rows.run.name} names no images")
        columns = rows.columns
        own = Filter(column=columns[column], test="among", values=(key,), names=())
        view = parse_view(pairs, columns, [own])
        table = table_of_rows(rows, view)
        if not table["num_rows"] and not view.filters:
            raise NotFound(
                f"no row of {rows.run.name} has {column} {key!r}: its page, /run/{rows.run.index}, lists them"
            )
        return self._page(
            "viewer_image.html",
            key=key,
            key_column=column,
            triptychs=pictured(rows, self._pictures[rows.run.index], table["found"]),
            elsewhere=[other for other in self.rows if other is not rows and self._has(other, column, key)],
            **table,
        )

    def _has(self, rows: RunRows, column: str, key: str) -> bool:
        if column != "key" or key_column(rows) != column:
            return False
        return rows.query(f"SELECT 1 FROM {rows.source} WHERE key = ? LIMIT 1", [key]).fetchone() is not None

    def _page(self, template: str, *, code: int = 200, **values: Any) -> Response:
        page = self._environment.get_template(template).render(
            root="/", generator="attrib-sweeps viewer", title=self._title, image_path=image_path, **values
        )
        return Response(
            status=code, body=page.encode(errors="backslashreplace"), headers={"Cache-Control": "no-store"}
        )

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < len(self.rows)):
            raise NotFound(f"run {text!r} is not shown here: choose from 0 to {len(self.rows) - 1}")
        return int(text)

    def _row(self, rows: RunRows, file: str, text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) < 12 and "attribution_scale" in rows.columns:
            sql = f"SELECT 1 FROM {rows.source} WHERE {FILE} = ? AND {ROW} = ? LIMIT 1"
            if rows.query(sql, [file, int(text)]).fetchone() is not None:
                return int(text)
        raise NotFound(f"row {text!r} of {file!r} has no attribution here")


def _is_hidden(pair: tuple[str, str], held: set[str]) -> bool:
    """Return True for what the form keeps though no control shows it."""
    name = pair[0]
    return name == "sort" or (
        name not in held and name not in ("page", "by", "measure", "denominator", "histogram")
    )


def _missing(rows: RunRows) -> str:
    """Return a sentence that says what an unfinished run lacks, without opening its files."""
    directory = rows.run.directory
    if directory.succeeded():
        return ""
    return missing_shards(rows.num_files, planned_shards(directory.read_sweep() or {}), 0)


def _line_of_index(rows: RunRows) -> dict[str, Any]:
    """Return what the first page says of a run. One that cannot be read now does not hide the others."""
    missing = problem = ""
    try:
        rows.refresh()
        missing = _missing(rows)
    except (ValueError, OSError) as error:
        problem = str(error)
    return {"rows": rows, "run": rows.run, "missing": missing, "problem": problem}


def _page_of(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] == "page"]


def _found(read: Any) -> bytes:
    try:
        content: bytes = read()
    except (ValueError, FileNotFoundError) as error:
        raise NotFound(str(error)) from error
    return content
