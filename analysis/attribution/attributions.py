"""Attributions of a run directory: rows without values first, then the values of the rows that are needed.

Results with attributions can be larger than memory: one epoch of one method has 60,000 rows of 784 values. So
`attribution_rows` leaves the values out, and `attribution_values` reads those of chosen rows, file by file.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.attribution.checkpoints import num_redrawn, one_checkpoint, shown_checkpoint
from analysis.drawing.pages import check_listed
from analysis.result_files import later_axes, with_constants
from analysis.run import AnyRun, open_sweep, opened
from analysis.score_rows import AddedScores
from sweeps.schemas import DICTIONARY_COLUMNS, SCHEMA_VERSION
from sweeps.store import RunDirectory
from sweeps.store.errors import explained

STATIC, TRAINING = "attribute", "attribute_training"

# Methods that add up gradients over training: one row per segment.
INTEGRATED, VARIANCE = "training_integrated_gradient", "gradient_variance"

Images = Mapping[str, NDArray[np.uint8]]

# Columns with a value per pixel.
_VALUES = ("attribution", "gradient_sum", "gradient_sum_of_squares")

_NUM_READERS = 8
_BATCH_BYTES = 1 << 26
_MOST_LISTED = 30


def attributions(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    trials: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Return the rows of `attribution_rows` and their attributions `[N, C, H, W]`, each times its scale."""
    rows = attribution_rows(run, methods=methods, images=images, steps=steps, trials=trials)
    return rows, attribution_values(run, rows)


def attribution_rows(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    trials: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of these methods, images, steps and trials, all unless given, without their values.

    `results_file` and `row_in_file` say where a row's values are. Only runs along training have steps and
    trials; only others have a `checkpoint`, which is `trained` where a run has no such column. Rows of all
    checkpoints are returned: `one_checkpoint` takes those of one. Raises ValueError for another sweep's run, one
    without results, and a value that no row has.
    """
    chosen = {"trial": trials, "step": steps, "method": methods, "image_index": images}
    return _chosen_rows(run, chosen)[0].reset_index(drop=True)


def named_rows(
    run: AnyRun,
    *,
    methods: Sequence[str] | None = None,
    images: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    trials: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of `attribution_rows`, their `method` with its target where it has several in the run.

    All rows of the run decide that. So a method has one name, whichever checkpoints and images are looked at.
    """
    chosen = {"trial": trials, "step": steps, "method": methods, "image_index": images}
    rows, every = _chosen_rows(run, chosen)
    return rows.assign(method=method_names(every)[rows.index]).reset_index(drop=True)


def _chosen_rows(
    run: AnyRun, chosen: Mapping[str, Sequence[object] | None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of these values by column, and all rows of the run, which have the same index."""
    run = open_sweep(run, STATIC, TRAINING)
    if run.kind == STATIC and (chosen["step"] is not None or chosen["trial"] is not None):
        raise ValueError(f"{run} is of sweep {STATIC!r}: only {TRAINING!r} has steps and trials")
    every = rows = _all_rows(run.directory)
    for column, values in chosen.items():
        rows = rows if values is None else _select(rows, column, values)
    return rows, every


def evidence_rows(run: AnyRun) -> pd.DataFrame:
    """Return the rows that claims are measured on: those of one network that learned; maybe none."""
    rows = attribution_rows(run)
    rows = rows[[not num_redrawn(str(name)) for name in rows["checkpoint"]]]
    return rows if rows.empty else one_checkpoint(rows, shown_checkpoint(run, rows))


def attribution_values(run: AnyRun, rows: pd.DataFrame) -> NDArray[np.float32]:
    """Return the attributions `[N, C, H, W]` of rows of `attribution_rows`, in their order, times their scale."""
    values = np.empty((len(rows), *attribution_shape(run, rows)), np.float32)
    for places, part in _portions(run, rows, "attribution"):
        values[places] = part
    values *= _scales(rows)
    return values


def attribution_portions(
    run: AnyRun, rows: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, NDArray[np.float32]]]:
    """Yield some of the rows at a time, with their attributions, so that memory stays bounded.

    Each file is read once. Files come in the order in which the rows first name them. The rows of a file come in
    the order in which it stores them: along training, a method's rows step by step.
    """
    for places, part in _portions(run, rows, "attribution"):
        portion = rows.iloc[places]
        yield portion, part.astype(np.float32) * _scales(portion)


def gradient_sums(run: AnyRun, rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return `gradient_sum` or `gradient_sum_of_squares` `[N, C, H, W]` of rows that have it, in their order."""
    values = np.empty((len(rows), *attribution_shape(run, rows)), np.float64)
    for places, part in _portions(run, rows, column):
        values[places] = part
    return values


def attribution_shape(run: AnyRun, rows: pd.DataFrame) -> tuple[int, int, int]:
    """Return the shape `[C, H, W]` of these rows' attributions."""
    directory, name = opened(run).directory, str(rows["results_file"].iloc[0])
    with explained(directory.url, "read"):
        return _shape(_open(directory, name), name)


def load_images(run: AnyRun, rows: pd.DataFrame) -> Images:
    """Return the images `[H, W, C]` that the rows name, by `image_key`, without those that were not stored."""
    stored = rows[rows["image_key"].notna()].drop_duplicates("image_key")
    keys = [str(key) for key in stored["image_key"]]
    return dict(zip(keys, opened(run).images(keys, rows=stored), strict=True))


def method_names(rows: pd.DataFrame) -> pd.Series:
    """Return the method of each row, with its target where a method has several targets."""
    method, target = rows["method"].astype("str"), rows["target"].astype("str")
    several = target.groupby(method).transform("nunique") > 1
    return method.where(~several, method + " (" + target + ")")


def _all_rows(directory: RunDirectory) -> pd.DataFrame:
    with explained(directory.url, "read"), ThreadPoolExecutor(_NUM_READERS) as pool:
        names = sorted(entry.name for entry in directory.results())
        if not names:
            raise ValueError(f"{directory.url} is empty: no shard has been committed to its results/ yet")
        later = later_axes(directory)
        tables = list(pool.map(lambda name: _read_rows(directory, name, later), names))
    rows: pd.DataFrame = (
        pa.concat_tables(tables, promote_options="permissive").unify_dictionaries().to_pandas()
    )
    for column in rows.columns[rows.dtypes == "category"]:
        rows[column] = rows[column].cat.reorder_categories(sorted(rows[column].cat.categories))
    return AddedScores.of(directory).beside(rows)


def _read_rows(directory: RunDirectory, name: str, later: Mapping[str, str]) -> pa.Table:
    parquet = _open(directory, name)
    table = parquet.read(columns=[column for column in parquet.schema_arrow.names if column not in _VALUES])
    versions = set(table["schema_version"].to_pylist()) - {SCHEMA_VERSION}
    if versions:
        raise ValueError(
            f"schema_version of results file {name!r} is {', '.join(map(str, sorted(versions)))}: "
            f"this release reads {SCHEMA_VERSION}"
        )
    missing = {axis: value for axis, value in later.items() if axis not in table.column_names}
    table = with_constants(table, missing | {"results_file": name})
    return table.append_column("row_in_file", pa.array(np.arange(len(table))))


def _open(directory: RunDirectory, name: str) -> pq.ParquetFile:
    try:
        file = directory.files.open(f"results/{name}")
        metadata = pq.read_metadata(file)
        dictionary = [column for column in DICTIONARY_COLUMNS if column in metadata.schema.names]
        return pq.ParquetFile(file, metadata=metadata, read_dictionary=dictionary, pre_buffer=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{directory.url}/results/{name} cannot be read: {error}") from error


def _shape(parquet: pq.ParquetFile, name: str) -> tuple[int, int, int]:
    metadata = parquet.schema_arrow.field("attribution").metadata or {}
    if b"shape" not in metadata:
        raise ValueError(f"results file {name!r}: the field 'attribution' has no shape in its metadata")
    channels, height, width = map(int, metadata[b"shape"].split(b","))
    return channels, height, width


def _scales(rows: pd.DataFrame) -> NDArray[np.float32]:
    return rows["attribution_scale"].to_numpy(np.float32)[:, None, None, None]


def _portions(run: AnyRun, rows: pd.DataFrame, column: str) -> Iterator[tuple[NDArray[np.intp], NDArray]]:
    """Yield places in `rows` and the stored values `[N, C, H, W]` there, file by file."""
    directory, positions = opened(run).directory, rows["row_in_file"].to_numpy()
    files = rows["results_file"].astype("str")
    places_of = files.groupby(files, sort=False).indices
    for name in files.unique():
        places = places_of[name][np.argsort(positions[places_of[name]])]
        with explained(directory.url, "read"):
            parquet = _open(directory, name)
            for part, values in _batches(parquet, positions[places], column, _shape(parquet, name)):
                yield places[part], values


def _batches(
    parquet: pq.ParquetFile, positions: NDArray[np.int64], column: str, shape: tuple[int, int, int]
) -> Iterator[tuple[slice, NDArray]]:
    """Yield slices of the ascending `positions` and the values there, with one batch in memory at a time."""
    start, size = 0, max(1, _BATCH_BYTES // (8 * math.prod(shape)))
    for batch in parquet.iter_batches(size, columns=[column]):
        first, last = np.searchsorted(positions, [start, start + len(batch)])
        if first < last:
            taken = batch.column(0).take(pa.array(positions[first:last] - start))
            if taken.null_count:
                raise ValueError(f"{column} is null in {taken.null_count} of the rows that it is asked of")
            yield slice(first, last), taken.flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
        start += len(batch)
        if last == len(positions):
            return


def _select(rows: pd.DataFrame, column: str, values: Sequence[object]) -> pd.DataFrame:
    check_listed(column, values)
    known = sorted(rows[column].unique())
    for value in values:
        if value not in known:
            raise ValueError(f"{column} is {value!r}: choose from {_listed(known)}")
    return rows[rows[column].isin(values)]


def _listed(known: Sequence[object]) -> str:
    if len(known) <= _MOST_LISTED:
        return ", ".join(map(str, known))
    return f"{known[0]}, {known[1]}, {known[2]} … {known[-1]} ({len(known):,} in all)"
