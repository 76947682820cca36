"""The pages of the viewer: all runs, the rows of one, one image, and files to download."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, PackageLoader

from analysis import html
from analysis.html.site import template_environment
from analysis.progress import missing_shards, planned_shards
from analysis.run import Run
from analysis.serve.controls import constants, controls, table_columns
from analysis.serve.database import Database, quoted
from analysis.serve.formatting import shown
from analysis.serve.histogram import histogram
from analysis.serve.images import image_path, key_column, pictured
from analysis.serve.pictures import Pictures
from analysis.serve.rows import FILE, ROW, RunRows
from analysis.serve.summary import SUCCESS, Summary, default_groups, default_measure, summary
from analysis.serve.view import (
    DENOMINATORS,
    NOTHING,
    BadQuery,
    Filter,
    View,
    measures,
    numbers,
    parse_query,
    parse_view,
    text_of,
)

PAGE_ROWS = 50
MOST_GROUPS_SHOWN = 200
_CSV_ROWS = 5000

_ASSETS = {"report.css": html.__name__, "report.js": html.__name__, "viewer.css": __package__}
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
# What a name stands for never changes.
_LASTING = {"Cache-Control": "private, max-age=86400, immutable"}


class NotFound(Exception):  # noqa: N818  # said to a person, as a page
    """An address of nothing: what was asked for, and what there is."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer. A body in parts is sent as it comes."""

    status: int = 200
    kind: str = "text/html; charset=utf-8"
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


class Viewer:
    """The pages of some runs, whose rows are in a database."""

    def __init__(self, runs: Sequence[Run], database: Database, *, title: str) -> None:
        self.rows = [RunRows(run, database) for run in runs]
        self._pictures = [Pictures(run) for run in runs]
        self._title = title
        packages = (__package__, html.__name__)
        self._environment = template_environment(ChoiceLoader([PackageLoader(each) for each in packages]))
        self._environment.filters["shown"] = shown

    def respond(self, parts: Sequence[str], query: str) -> Response:
        """Return the answer to a path, in its parts, and a query. Raises NotFound, BadQuery and ValueError."""
        match list(parts):
            case [""]:
                return self._index()
            case ["assets", name] if name in _ASSETS:
                content = resources.files(_ASSETS[name]).joinpath("assets", name).read_bytes()
                return Response(kind=_TYPES[name.rpartition(".")[2]], body=content)
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
                    return _redirect(["run", str(number), *rest], View(pairs=pairs).link(*_page_of(pairs)))
                rows.refresh()
                if rest[:1] == ["image"]:
                    return self._image(rows, rest[1], pairs)
                view = parse_view(pairs, rows.columns)
                if not rest:
                    return self._run(rows, view)
                return _rows_file(rows, view) if rest == ["rows.csv"] else _summary_file(rows, view)
        raise NotFound(f"no page is called /run/{number}/{'/'.join(rest)}: the run's is /run/{number}")

    def _index(self) -> Response:
        for rows in self.rows:
            rows.refresh()
        found = [{"rows": rows, "run": rows.run, "missing": _missing(rows)} for rows in self.rows]
        return self._page("viewer_index.html", runs=found)

    def _run(self, rows: RunRows, view: View) -> Response:
        first, others = controls(rows, view)
        held = {name for each in (*first, *others) for name in each.fields}
        groups = default_groups(rows) if view.by is None else view.by
        columns = rows.columns
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
            measure=view.measure or default_measure(columns),
            denominators=DENOMINATORS if rows.run.kind == "attack" else (),
            numbers=numbers(columns),
            constants=constants(rows),
            summary=self._summary(rows, view),
            histogram=histogram(rows, view),
            **_table(rows, view),
        )

    def _image(self, rows: RunRows, key: str, pairs: Any) -> Response:
        column = key_column(rows)
        if column is None:
            raise NotFound(f"{rows.run.name} names no images")
        columns = rows.columns
        own = Filter(column=columns[column], test="among", values=(key,), names=())
        view = parse_view(pairs, columns, [own])
        table = _table(rows, view)
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

    def _summary(self, rows: RunRows, view: View) -> dict[str, Any]:
        nothing: dict[str, Any] = {"error": "", "found": None, "lines": [], "num_groups": 0}
        try:
            found = summary(rows, view)
        except BadQuery as error:
            return nothing | {"error": str(error)}
        if found is None:
            return nothing
        lines = [
            _group(rows, view, found, line) for line in found.table.head(MOST_GROUPS_SHOWN).to_dict("records")
        ]
        return nothing | {"found": found, "lines": lines, "num_groups": len(found.table)}

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


def _table(rows: RunRows, view: View) -> dict[str, Any]:
    """Return what a table of the rows of a view needs. Raises BadQuery for a page behind the last."""
    where, parameters = view.where()
    counted = rows.query(f"SELECT count(*) FROM {rows.source} {where}", parameters).fetchone()
    num_rows = counted[0] if counted else 0
    num_pages = max(1, -(-num_rows // PAGE_ROWS))
    if view.page > num_pages:
        raise BadQuery(f"page is {str(view.page)!r}: these rows have pages 1 to {num_pages:,}")
    cursor = rows.query(
        f"SELECT * FROM {rows.source} {where} {_order(view)} LIMIT {PAGE_ROWS} OFFSET ?",
        [*parameters, (view.page - 1) * PAGE_ROWS],
    )
    names = [each[0] for each in cursor.description or ()]
    found = [dict(zip(names, line, strict=True)) for line in cursor.fetchall()]
    return {
        "rows": rows,
        "run": rows.run,
        "view": view,
        "num_rows": num_rows,
        "num_pages": num_pages,
        "page_rows": PAGE_ROWS,
        "columns": table_columns(rows, view),
        "found": found,
        "key_name": key_column(rows),
        "chips": [_chip(rows, view, each) for each in view.filters],
    }


def _order(view: View) -> str:
    # Without an order rows come as they were read: shard by shard, new ones last.
    if view.sort is None:
        return ""
    return (
        f"ORDER BY {quoted(view.sort.name)} {'DESC' if view.descending else 'ASC'} NULLS LAST, {FILE}, {ROW}"
    )


def _chip(rows: RunRows, view: View, one: Filter) -> dict[str, str]:
    """Return a filter in words, and the query without it."""
    names = rows.run.class_names
    values = ", ".join(
        "none" if value is None else shown(one.column.name, value, names) for value in one.values
    )
    verb = {"among": "is", "from": "≥", "to": "≤", "has": "contains", "present": "is there"}[one.test]
    return {"words": f"{one.column.name} {verb} {values}".rstrip(), "link": view.link(without=one.names)}


def _group(rows: RunRows, view: View, found: Summary, line: dict[str, Any]) -> dict[str, Any]:
    """Return a line of the summary: its group in words, its numbers, and the query of its rows."""
    gone, ends = [], []
    for name in found.by:
        gone += [name, f"is.{name}"]
        missing = line[name] is None or line[name] != line[name]
        ends.append((f"is.{name}", "null") if missing else (name, text_of(line[name])))
    words = [shown(name, line[name], rows.run.class_names) for name in found.by]
    numbers_ = {name: line[name] for name in ("value", "low", "high", "count")}
    return {"words": words, "link": view.link(*ends, without=gone), **numbers_}


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


def _rows_file(rows: RunRows, view: View) -> Response:
    where, parameters = view.where()
    cursor = rows.query(f"SELECT * FROM {rows.source} {where} {_order(view)}", parameters)

    def parts() -> Iterator[bytes]:
        yield _csv([[each[0] for each in cursor.description or ()]])
        while lines := cursor.fetchmany(_CSV_ROWS):
            yield _csv(lines)

    return _download(parts(), f"{rows.run.id}-rows.csv")


def _summary_file(rows: RunRows, view: View) -> Response:
    found = summary(rows, view)
    if found is None:
        raise NotFound(f"{rows.run.name} has nothing to summarise: give measure=COLUMN")
    name = "rate" if found.measure == SUCCESS else found.measure
    table = found.table.rename(columns={"value": name if name not in found.by else f"{name}_"})
    return _download(iter([table.to_csv(index=False).encode()]), f"{rows.run.id}-summary.csv")


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().encode(errors="backslashreplace")


def _download(body: Iterator[bytes], name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(kind="text/csv; charset=utf-8", body=body, headers=headers)


def _redirect(parts: Sequence[str], query: str) -> Response:
    path = "/".join(quote(part, safe="") for part in parts)
    return Response(status=303, headers={"Location": f"/{path}{query if query != '?' else ''}"})


def _page_of(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[0] == "page"]


def _found(read: Any) -> bytes:
    try:
        content: bytes = read()
    except (ValueError, FileNotFoundError) as error:
        raise NotFound(str(error)) from error
    return content
