"""Rows and summaries of a view as CSV files."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.serve.database import quoted
from analysis.serve.order import order_by
from analysis.serve.responses import NotFound, Response
from analysis.serve.rows import PLACE, RunRows
from analysis.serve.summary import SUCCESS, summary
from analysis.serve.view import View

_CSV_ROWS = 5000


def rows_file(rows: RunRows, view: View) -> Response:
    """Return all rows of a view, sent as they are read."""
    where, parameters = view.where()
    cursor = rows.query(
        f"SELECT * EXCLUDE ({quoted(PLACE)}) FROM {rows.source} {where} {order_by(view)}", parameters
    )

    def parts() -> Iterator[bytes]:
        yield _csv([[each[0] for each in cursor.description or ()]])
        while lines := cursor.fetchmany(_CSV_ROWS):
            yield _csv(lines)

    return _download(parts(), f"{rows.run.id}-rows.csv")


def summary_file(rows: RunRows, view: View) -> Response:
    """Return the summary of a view. Raises NotFound for a run without anything to measure."""
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
