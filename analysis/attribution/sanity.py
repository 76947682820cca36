"""Sanity check: do maps change when the network's layers are drawn anew? Tables, PNG and HTML.

python -m analysis.attribution.sanity RUN --output DIR [--methods NAME,NAME] [--sample N] [--seed N]
                                          [--format text|markdown|latex|csv]

RUN is of `attribute_all.py --checkpoints trained,untrained,randomized:1,...`. `analysis.attribution.randomization`
says what is compared, `analysis.attribution.verdicts` holds the rule of the verdicts. Adebayo et al. 2018
(arXiv:1810.03292). Against the test as such: Yona and Greenfeld 2021 (arXiv:2110.14297).
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.attribution.attributions import STATIC
from analysis.attribution.choice import method_order
from analysis.attribution.map_similarity import MEASURES
from analysis.attribution.randomization import similarities
from analysis.attribution.sanity_curves import method_curves, sanity_figure, svg_chart
from analysis.attribution.verdicts import (
    BADGES,
    KEPT,
    MOST_BY_CHANCE,
    UNTOUCHED,
    redrawn_checkpoints,
    similarity_table,
    verdicts,
)
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.html.site import Site
from analysis.run import Run, open_sweep
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text


def sanity_html(
    table: pd.DataFrame,
    site: Site,
    folder: str,
    *,
    methods: Sequence[str],
    subject: str,
    maps: Markup | None = None,
) -> Markup:
    """Write a table of `similarity_table` and its figure to a folder of the report, and return the HTML.

    `folder` also begins the anchors; `methods` is the order of the methods; `subject` begins the figure's title;
    `maps` are shown below.
    """
    figure = sanity_figure(table, title=f"{subject}: sanity check", methods=methods)
    files = [
        ("similarities as CSV", site.table(f"{folder}/sanity.csv", table)),
        ("verdicts as CSV", site.table(f"{folder}/sanity-verdicts.csv", verdict_table(table, methods))),
        ("figure as PNG", site.figure(f"{folder}/sanity.png", figure)),
    ]
    curves = method_curves(table, methods)
    charts = [{"curve": curve, "chart": svg_chart(curve)} for curve in curves]
    return site.render(
        "sanity.html",
        id=folder,
        measures=MEASURES,
        rows=list(_shown(table, methods)),
        charts=charts,
        num_images=int(table["count"].max()),
        kept=KEPT,
        most_by_chance=MOST_BY_CHANCE,
        untouched=UNTOUCHED,
        badges=BADGES,
        maps=maps or "",
        files=files,
    )


def verdict_table(table: pd.DataFrame, methods: Sequence[str] | None = None) -> pd.DataFrame:
    """Return `method`, `verdict` and `reason` of each method of a table of `similarity_table`."""
    found = verdicts(table, methods)
    return pd.DataFrame(
        [(each.method, each.verdict, each.reason) for each in found], columns=["method", "verdict", "reason"]
    )


def summary(table: pd.DataFrame, methods: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the verdicts with the numbers at the deepest checkpoint as texts, those by chance in brackets."""
    rows = [
        {
            "Method": row["verdict"].method,
            "Sanity check": row["verdict"].text,
            **{name: f"{cell['mean']} [{cell['chance']}]" for name, cell in row["cells"].items()},
            "Images": f"{row['count']:,}",
            "Undefined": f"{row['undefined']:,}",
        }
        for row in _shown(table, methods)
    ]
    return pd.DataFrame(rows)


def _shown(table: pd.DataFrame, methods: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    """Yield the verdict on each method with its numbers at the checkpoint with the most layers re-drawn."""
    for verdict in verdicts(table, methods):
        rows = table[table["method"] == verdict.method]
        checkpoints = redrawn_checkpoints(rows)
        deepest = rows[rows["checkpoint"] == checkpoints[-1]].set_index("measure") if checkpoints else None
        cells = {
            name: _cell(None if deepest is None else deepest.loc[measure])
            for measure, name in MEASURES.items()
        }
        yield {
            "verdict": verdict,
            "checkpoint": checkpoints[-1] if checkpoints else "",
            "cells": cells,
            "count": 0 if deepest is None else int(deepest["count"].max()),
            "undefined": 0 if deepest is None else int(deepest["undefined"].max()),
        }


def _cell(row: pd.Series | None) -> dict[str, str]:
    if row is None or np.isnan(row["mean"]):
        return {"mean": "\N{EN DASH}", "chance": "\N{EN DASH}", "half_width": ""}
    # Adding 0 turns the -0.00 of a mean that rounds to 0 from below into 0.00.
    mean, chance = (f"{round(row[name], 2) + 0.0:.2f}" for name in ("mean", "chance"))
    half_width = "" if np.isnan(row["low"]) else f"{row['mean'] - row['low']:.2f}"
    return {"mean": mean, "chance": chance, "half_width": half_width}


def sanity_table(run: Run, methods: Sequence[str] | None, sample: int | None, seed: int) -> pd.DataFrame:
    """Return the table of `similarity_table` of a run."""
    return similarity_table(similarities(run, methods=methods, sample=sample, seed=seed))


def explained_figure(table: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """Return the figure of a `similarity_table` with notes on how to read it; `methods` is their order."""
    notes = [
        f"means over up to {table['count'].max():,} images, similarity to the trained network's map",
        "bands: 95 % intervals; dotted: by chance, of another image's map or the map in random order",
    ]
    return sanity_figure(table, title="Sanity check: maps by layers re-drawn", methods=methods, notes=notes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.attribution.sanity", "Do maps change when layers are drawn anew?"
    )
    parser.add_argument("--methods", metavar="NAMES", help="these alone, such as gradient,occlusion")
    parser.add_argument("--sample", metavar="N", type=int, help="this many images; all unless given")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="draws the sample (%(default)s)")
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    run = open_sweep(options.run, STATIC)
    table = sanity_table(
        run, options.methods.split(",") if options.methods else None, options.sample, options.seed
    )
    methods = method_order(run, table["method"].unique())
    print(text_table(summary(table, methods), options.format))
    paths = [
        *save_table(table, options.output, "sanity"),
        *save_table(verdict_table(table, methods), options.output, "sanity-verdicts"),
    ]
    if redrawn_checkpoints(table):
        paths += save_pages([("sanity", explained_figure(table, methods))], options.output)
    for path in paths:
        print(terminal_text(str(path)), file=sys.stdout if options.format == "text" else sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main))
