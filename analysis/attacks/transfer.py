"""Transfer: how often images made for one model mislead another one, source by victim: table, PNG and HTML.

python -m analysis.attacks.transfer RUN [RUN...] --output DIR [--format text|markdown|latex|csv]

Each run brings the sources of a row: its model, at each checkpoint. Rates are of the images that source and victim
both classify rightly to begin with. An untargeted attack counts where the victim's prediction is no longer the
label, a targeted one where it is the target. Papernot et al. 2016 (arXiv:1605.07277).
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.attacks import transfer_matrix
from analysis.attacks.rows import COLUMNS, Sums, attack_names, initially_correct, is_minimum, row_portions
from analysis.command_line import exit_status, save_pages, save_table
from analysis.html.choices import asked_for, in_order
from analysis.intervals import wilson_interval
from analysis.naming import format_epsilon
from analysis.run import AnyRun, Run, open_runs, opened
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text

PREDICTION, CLEAN_PREDICTION = "victim_prediction.", "victim_clean_prediction."

BY = ["source", "checkpoint", "attack", "epsilon", "victim"]
KEYS = ["model", "model_digest", "checkpoint", "attack", "epsilon", "victim"]
_COUNTS = ["count", "successes"]


def victims(column_names: Sequence[str]) -> list[str]:
    """Return the names of the victims that columns of rows are of."""
    return [name.removeprefix(PREDICTION) for name in column_names if name.startswith(PREDICTION)]


def columns_of(run: Run) -> list[str]:
    """Return the columns that transfer needs besides those of every table; none for a run without victims."""
    names = victims(run.column_names)
    shown = [kind + name for name in names for kind in (PREDICTION, CLEAN_PREDICTION)]
    return ["model_digest", *shown] if names else []


def transfer_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the counts behind `transfer_table`, of the rows of one run. Counts of parts of them add up.

    The source itself is the victim None. A missing prediction of a victim, and -1, whose logits were no numbers,
    do not count. Nor does an image whose label is the target, nor one for which no minimum was found.
    """
    minimum = is_minimum(frame)
    rows = frame[initially_correct(frame) & ~(minimum & frame["epsilon"].isna())]
    rows = rows[(rows["target"] != rows["label"]) | rows["target"].isna()]
    keys = rows[["model", "model_digest", "checkpoint"]].assign(
        attack=attack_names(rows), epsilon=rows["epsilon"].mask(is_minimum(rows))
    )
    parts = [_counts(keys, rows, rows["adversarial_prediction"], rows["clean_prediction"], None)]
    parts += [
        _counts(keys, rows, rows[PREDICTION + name], rows[CLEAN_PREDICTION + name], name)
        for name in victims(list(frame))
    ]
    return pd.concat(parts, ignore_index=True)


def read_transfer(runs: Sequence[AnyRun]) -> pd.DataFrame:
    """Return the table of `transfer_table` of runs that hold victims; a run without any brings no row.

    Raises ValueError for a run of another sweep.
    """
    parts = []
    for run in map(opened, runs):
        extra = columns_of(run)
        if not extra:
            continue
        sums = Sums(KEYS)
        for portion in row_portions(run, [*COLUMNS, *extra]):
            sums.add(transfer_counts(portion))
        parts.append((run, sums.total()))
    return transfer_table(parts)


def transfer_table(parts: Sequence[tuple[Run, pd.DataFrame]]) -> pd.DataFrame:
    """Return rates with intervals (Wilson, 95 %) by the columns `BY`, from the counts of each run.

    `count` images are right to begin with for `source` and `victim`. `white_box`: the victim is the source. The
    epsilon of methods that seek the minimum is NaN: each image is at its own. Sources and victims stand in the
    order of the runs; a model that several runs attack under one name has the run's name too.
    """
    if not parts:
        return pd.DataFrame(columns=[*BY, "rate", "low", "high", "count", "white_box"])
    names = _victim_names([run for run, _ in parts])
    named = [_named(counts, names) for _, counts in parts]
    shared = _ambiguous(named)
    tables = []
    for (run, _), counts in zip(parts, named, strict=True):
        source = counts["source"].where(~counts["source"].isin(shared), counts["source"] + f" ({run.name})")
        victim = counts["victim"].where(counts["victim"].notna(), source)
        rows = counts.assign(source=source, victim=victim, white_box=source == victim)
        # Rows of counts are sorted by name; sources stand as the sweep names their checkpoints.
        places = {name: place for place, name in enumerate(asked_for(run, "checkpoint"))}
        tables.append(rows.iloc[rows["checkpoint"].map(places).fillna(len(places)).argsort(kind="stable")])
    table = pd.concat(tables, ignore_index=True)
    # A model that was also asked for as a victim of itself has its row already.
    table = table.drop_duplicates(BY, ignore_index=True)
    table["low"], table["high"] = wilson_interval(table["successes"], table["count"])
    table["rate"] = table["successes"] / table["count"].where(table["count"] > 0)
    return _ordered(table, [run for run, _ in parts])[[*BY, "rate", "low", "high", "count", "white_box"]]


def subject(runs: Sequence[Run]) -> str:
    """Return the images that the runs attack, in words."""
    places = [f"{run.settings.get('dataset', '')} {run.settings.get('split', '')}".strip() for run in runs]
    return ", ".join(dict.fromkeys(places))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `transfer_table` as texts: a row per source, attack and ε, a column per victim."""
    cells = table.assign(
        cell=[
            f"{100 * row.rate:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}] of {row.count_:,}"
            if row.count_
            else "none"
            for row in table.rename(columns={"count": "count_"}).itertuples()
        ],
        epsilon=["minimum" if np.isnan(each) else format_epsilon(each) for each in table["epsilon"]],
    )
    keys = ["source", "checkpoint", "attack", "epsilon"]
    order = cells[keys].drop_duplicates()
    wide = cells.pivot(index=keys, columns="victim", values="cell")
    wide = wide.reindex(columns=list(table["victim"].cat.categories))
    found = (
        wide.loc[[tuple(row) for row in order.itertuples(index=False)]]
        .fillna("not shown to it")
        .reset_index()
    )
    names = {"source": "Source", "checkpoint": "Checkpoint", "attack": "Attack", "epsilon": "ε"}
    return found.rename(columns=names).rename_axis(columns=None)


def _counts(
    keys: pd.DataFrame, rows: pd.DataFrame, prediction: pd.Series, clean: pd.Series, victim: str | None
) -> pd.DataFrame:
    answered = prediction.ge(0).fillna(False).astype(bool)
    counted = answered & clean.eq(rows["label"]).fillna(False).astype(bool)
    misled = prediction.ne(rows["label"]) & (rows["target"].isna() | prediction.eq(rows["target"]))
    facts = keys.assign(
        victim=pd.Series([victim] * len(keys), index=keys.index, dtype=object),
        count=counted.astype(int),
        successes=(counted & misled.fillna(False).astype(bool)).astype(int),
    )
    return facts.groupby(KEYS, observed=True, dropna=False)[_COUNTS].sum().reset_index()


def _victim_names(runs: Sequence[Run]) -> dict[str, str]:
    """Return the names of all victims by the digest of their weights: a run's source is another run's victim."""
    names: dict[str, str] = {}
    for run in runs:
        for key, digest in run.sweep.get("definitions", {}).items():
            if key.startswith("victim "):
                names.setdefault(str(digest), key.removeprefix("victim "))
    return names


def _named(counts: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the counts with `source`: the name of the victim of the same weights, else the model's name.

    A model whose name is that of a victim of other weights, such as another checkpoint of it, is told apart.
    """
    taken = set(names.values())
    source = [
        names.get(str(digest), f"{model}, other weights" if model in taken else str(model))
        for model, digest in zip(counts["model"], counts["model_digest"], strict=True)
    ]
    text = {name: counts[name].astype(str) for name in ("checkpoint", "attack")}
    victim = counts["victim"].astype(object).where(counts["victim"].notna(), None)
    return counts.assign(source=source, victim=victim, **text).drop(columns=["model", "model_digest"])


def _ambiguous(named: Sequence[pd.DataFrame]) -> set[str]:
    """Return the sources that stand for the same checkpoint of several runs."""
    pairs = [pair for each in named for pair in set(zip(each["source"], each["checkpoint"], strict=True))]
    return {source for source, checkpoint in pairs if pairs.count((source, checkpoint)) > 1}


def _ordered(table: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Return the table with categories in order: sources first among the victims, as they stand in the matrix."""
    methods = [method for run in runs for method in asked_for(run, "method")]
    asked = {
        "source": list(dict.fromkeys(table["source"])),
        "checkpoint": [each for run in runs for each in asked_for(run, "checkpoint")],
        "attack": [each for name in methods for each in (name, f"{name}, targeted")],
    }
    asked["victim"] = [*asked["source"], *(name for run in runs for name in victims(run.column_names))]
    categories = {
        name: pd.Categorical(table[name], in_order(set(table[name]), list(dict.fromkeys(order))))
        for name, order in asked.items()
    }
    return table.assign(**categories).sort_values(BY, ignore_index=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.attacks.transfer",
        description="Success of attacks on other models than their own.",
    )
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run directories of attacks with --evaluate-on"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder for what is written"
    )
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    runs = open_runs(options.runs)
    table = read_transfer(runs)
    if table.empty:
        raise ValueError(
            f"{', '.join(map(str, runs))}: no row holds {PREDICTION}NAME; give runs of attack_all.py --evaluate-on"
        )
    print(text_table(summary(table), options.format))
    for line in _written(table, runs, options.output):
        print(terminal_text(line), file=sys.stdout if options.format == "text" else sys.stderr)


def _written(table: pd.DataFrame, runs: Sequence[Run], folder: Path) -> Iterator[str]:
    yield "In percent of the images that source and victim both have right, with 95 % intervals (Wilson)."
    yield from (f"{run}: {run.missing()}" for run in runs if not run.finished)
    yield from map(str, save_table(table, folder, "transfer"))
    yield from map(str, save_pages(transfer_matrix.figures(table, subject(runs)), folder))


if __name__ == "__main__":
    sys.exit(exit_status(main))
