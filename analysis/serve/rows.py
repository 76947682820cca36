"""All rows of a run in a table of the database; rows that are committed while it is looked at are added."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analysis.result_files import (
    JUDGE_STRUCTS,
    added_columns,
    data_frame,
    later_axes,
    one_table,
    open_rows,
    refuse_other_schemas,
    result_names,
    with_constants,
)
from analysis.run import Run
from analysis.serve import counts
from analysis.serve.columns import Column, extended, is_flat
from analysis.serve.counts import Counts, make_counts
from analysis.serve.database import Database, quoted
from sweeps.schemas import attack_victims, attribute_scores
from sweeps.schemas.axis_kinds import axis_kinds, identity_columns
from sweeps.store.errors import explained

# Where a row stands: together they never change, and the values of an attribution are found by them.
FILE, ROW = "results_file", "row_in_file"
# Its number in the table, as long as that is there. No column of a run has spaces in its name.
PLACE = "place in the table"

_NUM_READERS = 8
# Whoever sorts or turns pages asks for the same summary and number of rows again.
_KEPT_ANSWERS = 64
_FILES_AT_ONCE = 64

# Verdicts on a row by kind of sweep: facts are in the rows, these are computed.
_NO_TARGET = '"target" IS NULL OR "adversarial_prediction" = "target"'
_VERDICTS = {
    "attack": {
        # As `analysis.attacks.success_rates.successes`: null where the target is the label itself.
        "success": 'CASE WHEN "target" = "label" THEN NULL '
        f'ELSE "adversarial_prediction" <> "label" AND ({_NO_TARGET}) END',
        "initially_correct": '"clean_prediction" = "label"',
    },
    "attribute": {"correct": '"prediction" = "label"'},
    "attribute_training": {"correct": '"prediction" = "label"'},
    "generate": {"correct": '"top1" = "class_index"'},
    "modify": {"reached": '"prediction" = "target"'},
    "tune_recipe": {"correct": '"top1" = "class_index"'},
}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a table holds: rows of these results files, beside them those of other tables, and its columns."""

    table: str = ""
    names: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    num_rows: int = 0
    counts: Counts | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)


class RunRows:
    """The rows of a run as `analysis.load.results` gives them, without columns of lists, for SQL."""

    def __init__(self, run: Run, database: Database) -> None:
        self.run, self._database = run, database
        self._content, self._num_tables, self._num_counts = Content(), 0, 0
        self._lock = threading.Lock()
        self._kept = lru_cache(_KEPT_ANSWERS)(
            lambda sql, parameters, *_: self.query(sql, parameters).fetchall()
        )

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by name, verdicts last."""
        verdicts = {
            name: Column(
                name=name, kind="boolean", choices=frozenset({True, False}), has_nulls=name == "success"
            )
            for name in self._verdicts()
        }
        return {**self._content.columns, **verdicts}

    @property
    def num_rows(self) -> int:
        return self._content.num_rows

    @property
    def num_files(self) -> int:
        """How many shards the rows are from."""
        return len(self._content.names)

    @property
    def counts(self) -> Counts | None:
        """Counts of the combinations of axes and verdicts; None if the rows are few or the combinations many."""
        return self._content.counts

    @property
    def source(self) -> str:
        """The table with its verdicts, for the FROM of a query."""
        verdicts = "".join(f", {sql} AS {quoted(name)}" for name, sql in self._verdicts().items())
        return f"(SELECT *, rowid AS {quoted(PLACE)}{verdicts} FROM {self._content.table})"

    def answer(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the lines of a query of few; as long as the rows are the same, so are they, and are kept."""
        return self._kept(sql, tuple(parameters), self._content.num_rows, self._content.table)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> duckdb.DuckDBPyConnection:
        """Run a query and return its cursor."""
        return self._database.cursor().execute(sql, list(parameters))

    def refresh(self, tell: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Read the results files that were committed since; all anew if a file is gone or a table beside grew.

        `tell` is told how many of how many files are read. Raises ValueError for what cannot be read.
        """
        directory = self.run.directory
        with self._lock, explained(directory.url, "read"):
            names, beside = frozenset(result_names(directory)), self._names_beside()
            before = self._content
            if (names, beside) == (before.names, before.beside):
                return
            goes_on = before.table and beside == before.beside and before.names <= names
            start = before if goes_on else self._empty_table(min(names), beside)
            cursor = self._database.cursor()
            # Other threads see the rows as they were until all new ones are there.
            cursor.begin()
            try:
                content = self._read(cursor, start, sorted(names - start.names), tell)
            except BaseException:
                cursor.rollback()
                raise
            cursor.commit()
            # The counts before are of fewer rows.
            self._content = replace(content, counts=None)
            self._count()
            found = self.query(f"SELECT count({ROW}) FROM {content.table}").fetchone()
            assert found == (content.num_rows,), f"{found} of {content.num_rows} rows are in the table"

    def _count(self) -> None:
        """Count the rows of all combinations of axes anew. Those before stay for whoever reads them now."""
        content, cursor = self._content, self._database.cursor()
        kinds = axis_kinds(self.run.sweep)
        if content.num_rows < counts.LEAST_ROWS or not kinds:
            return
        self._num_counts += 1
        new, old = (quoted(f"counts {self.run.index} {self._num_counts - back}") for back in (0, 2))
        made = make_counts(cursor, new, self.source, self.columns, identity_columns(kinds))
        self._content = replace(content, counts=made)
        cursor.execute(f"DROP TABLE IF EXISTS {old}")

    def _names_beside(self) -> frozenset[str]:
        """Return the results files of tables beside results/, whose rows fill columns of these."""
        directory = self.run.directory
        folders = (directory.read_sweep() or {}).get("beside") or {}
        return frozenset(entry.path for folder in folders for entry in directory.beside(folder).results())

    def _read(
        self,
        cursor: duckdb.DuckDBPyConnection,
        content: Content,
        names: Sequence[str],
        tell: Callable[[int, int], None],
    ) -> Content:
        with ThreadPoolExecutor(_NUM_READERS) as pool:
            for start in range(0, len(names), _FILES_AT_ONCE):
                window = names[start : start + _FILES_AT_ONCE]
                table = self._read_window(list(pool.map(self._read_file, window)))
                self._insert(cursor, content, table)
                content = replace(
                    content,
                    names=content.names | set(window),
                    num_rows=content.num_rows + len(table),
                    columns=extended(content.columns, table, content.num_rows),
                )
                tell(start + len(window), len(names))
        return content

    def _empty_table(self, name: str, beside: frozenset[str]) -> Content:
        """Create a table with the columns of a results file, and drop the one before the last."""
        cursor, number = self._database.cursor(), self._num_tables
        tables = [quoted(f"rows {self.run.index} {each}") for each in (number, number - 2)]
        cursor.register("portion", self._read_window([self._read_file(name)]))
        # Outside of the transaction that fills it: in one that creates its table, DuckDB 2.0.0 loses inserts of
        # more than a row group.
        cursor.execute(f"CREATE TABLE {tables[0]} AS SELECT * FROM portion LIMIT 0")
        cursor.execute(f"DROP TABLE IF EXISTS {tables[1]}")
        cursor.unregister("portion")
        self._num_tables += 1
        return Content(table=tables[0], beside=beside)

    def _read_window(self, tables: Sequence[pa.Table]) -> pa.Table:
        """Return the rows of some files: with what tables beside results/ say of them, without lists."""
        table = self._with_added(one_table(tables))
        flat = table.select([each.name for each in table.schema if is_flat(each.type)])
        return flat.unify_dictionaries()

    def _read_file(self, name: str) -> pa.Table:
        """Return the rows of a results file without its lists, and where each row stands."""
        parquet = open_rows(self.run.directory, name)
        refuse_other_schemas(parquet, name)
        schema = parquet.schema_arrow
        flat = [each.name for each in schema if is_flat(each.type) or each.name in JUDGE_STRUCTS]
        table = parquet.read(columns=flat).replace_schema_metadata(None)
        later = later_axes(self.run.directory)
        missing = {axis: value for axis, value in later.items() if axis not in schema.names}
        table = with_constants(table, {**missing, FILE: name})
        return table.append_column(ROW, pa.array(np.arange(len(table))))

    def _with_added(self, table: pa.Table) -> pa.Table:
        """Return the rows with what a table beside results/ says of them."""
        added = added_columns(self.run.directory, None)
        if not added.columns:
            return table
        frame = added.beside(data_frame(table), None)
        for name in added.columns:
            values = pa.array(frame[name].astype(float), from_pandas=True)
            column = values.cast(_added_type(name))
            place = table.schema.get_field_index(name)
            table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
        return table

    def _insert(self, cursor: duckdb.DuckDBPyConnection, content: Content, table: pa.Table) -> None:
        cursor.register("portion", table)
        known = {name for name, _ in _types(cursor, content.table)}
        for name, kind in list(_types(cursor, "portion")):
            if name not in known:
                cursor.execute(f"ALTER TABLE {content.table} ADD COLUMN {quoted(name)} {kind}")
        cursor.execute(f"INSERT INTO {content.table} BY NAME SELECT * FROM portion")
        cursor.unregister("portion")

    def _verdicts(self) -> dict[str, str]:
        known = self._content.columns
        verdicts = _VERDICTS.get(self.run.kind, {}) if known else {}
        return {name: sql for name, sql in verdicts.items() if name not in known}


def _types(cursor: duckdb.DuckDBPyConnection, table: str) -> Iterator[tuple[str, str]]:
    for name, kind, *_ in cursor.execute(f"DESCRIBE {table}").fetchall():
        yield name, kind


def _added_type(column: str) -> pa.DataType:
    fact = column.partition(".")[0]
    schemas = (attack_victims(), attribute_scores())
    return next(schema.field(fact).type for schema in schemas if fact in schema.names)
