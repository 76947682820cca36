"""The section of an attribution sweep: maps beside their images, agreement between methods, their scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.attacks.rows import class_names, describe, recorded_class_names
from analysis.attribution.agreement import agreement, agreement_figure
from analysis.attribution.attributions import attribution_rows, attribution_values, method_names
from analysis.attribution.colors import channel_sum
from analysis.attribution.grids import Choice, choose, load_images
from analysis.attribution.scores import SCORES, attribution_scores, completeness_gaps, score_figure
from analysis.attribution.tiles import TileTable, write_tiles
from analysis.html.choices import asked_for, in_order
from analysis.html.site import Section, Site
from analysis.run import Source

NUM_IMAGES = 8
# Of which the agreement is taken: more would narrow intervals that are narrow, and take minutes.
NUM_COMPARED = 200
# As many as the style sheet has colours, in each direction.
NUM_LEVELS = 10


def section(source: Source, site: Site) -> Section:
    """The section of an attribution sweep; also writes its pictures, tables and figures."""
    title = f"Attributions: {source.name}"
    if source.status.num_rows == 0:
        return Section(id=source.id, title=title, html=site.render("no_rows.html", source=source))
    rows = attribution_rows(source.url)
    methods = in_order(method_names(rows).unique(), asked_for(source, "method"))
    scores, gaps = attribution_scores(rows), completeness_gaps(rows)
    compared = _agreement(source, rows)
    html = site.render(
        "attribution.html",
        source=source,
        subject=describe(rows),
        methods=methods,
        targets=sorted(map(str, rows["target"].unique())),
        num_images=rows["image_index"].nunique(),
        table=_tiles(source, site, methods),
        scores=_score_rows(scores, gaps, methods),
        has_gaps=len(gaps) > 0,
        matrix=None
        if compared is None
        else _matrix(compared, in_order(compared["method"].unique(), methods)),
        num_compared=0 if compared is None else int(compared["count"].max()),
        files=_downloads(source, site, scores, gaps, compared, describe(rows)),
    )
    return Section(id=source.id, title=title, html=html)


def _tiles(source: Source, site: Site, methods: Sequence[str]) -> TileTable:
    rows = choose(source.url, Choice(num_images=NUM_IMAGES))
    names = class_names(rows) | recorded_class_names(source.url)
    return write_tiles(
        site,
        f"{source.id}/maps",
        rows.assign(column=rows["method"]),
        channel_sum(attribution_values(source.url, rows)),
        load_images(source.url, rows),
        names,
        # Of these images the run may lack methods, as it grows.
        columns=in_order(rows["method"].unique(), methods),
    )


def _score_rows(scores: pd.DataFrame, gaps: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """A row per method: mean and interval of both scores, whether it is the best, and the gap where it has one."""
    means = scores.pivot(index="method", columns="measure", values="mean")
    best = {
        "deletion_score": means["deletion_score"].min(),
        "insertion_score": means["insertion_score"].max(),
    }
    by = scores.set_index(["method", "measure"])
    table = []
    for method in methods:
        of = {measure: dict(by.loc[(method, measure)]) for measure in SCORES}
        for measure, held in of.items():
            held["best"] = len(methods) > 1 and held["mean"] == best[measure]
        gap = gaps[gaps["method"] == method].set_index("quantile")["gap"]
        table.append({"method": method, **of, "gap": gap.to_dict() if len(gap) else None})
    return table


def _agreement(source: Source, rows: pd.DataFrame) -> pd.DataFrame | None:
    """The agreement between the methods over some images; None where these have a single method."""
    images = _of_few_files(rows, NUM_COMPARED)
    if method_names(rows[rows["image_index"].isin(images)]).nunique() < 2:
        return None
    return agreement(source.url, images=images)


def _of_few_files(rows: pd.DataFrame, most: int) -> list[int]:
    """So many images of as few files as can be, drawn by chance: a file is read whole for any of its images."""
    files = rows.groupby("results_file", observed=True)["image_index"].unique()
    chosen: dict[int, None] = {}
    for place in np.random.default_rng(0).permutation(len(files)):
        if len(chosen) >= most:
            break
        chosen |= dict.fromkeys(map(int, files.iloc[place]))
    return sorted(chosen)[:most]


def _matrix(table: pd.DataFrame, methods: Sequence[str]) -> list[dict[str, Any]]:
    """A row per method with a cell per method: the mean, half of its interval, and the name of its colour."""
    by = table.set_index(["method", "other"])
    return [
        {"method": method, "cells": [_cell(by.loc[(method, other)]) for other in methods]}
        for method in methods
    ]


def _cell(held: Mapping[str, float]) -> dict[str, Any]:
    mean = held["mean"]
    if np.isnan(mean):
        return {"mean": None, "half": None, "color": ""}
    half = None if np.isnan(held["low"]) else mean - held["low"]
    level = round(NUM_LEVELS * min(abs(mean), 1))
    # Without the sum, what rounds to 0 from below would be -0.00.
    return {"mean": round(mean, 2) + 0.0, "half": half, "color": f"{'n' if mean < 0 else 'p'}{level}"}


def _downloads(
    source: Source,
    site: Site,
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    compared: pd.DataFrame | None,
    subject: str,
) -> dict[str, list[tuple[str, str]]]:
    """Names and paths of the files beside each part: tables as CSV, figures for a paper as PNG."""
    figure = score_figure(scores, gaps, title=f"{subject}: attribution scores")
    files = {
        "scores": [
            ("scores as CSV", site.table(f"{source.id}/attribution-scores.csv", scores)),
            ("figure as PNG", site.figure(f"{source.id}/attribution-scores.png", figure)),
        ],
        "agreement": [],
    }
    if len(gaps):
        gap_file = ("completeness gaps as CSV", site.table(f"{source.id}/completeness-gaps.csv", gaps))
        files["scores"].insert(1, gap_file)
    if compared is not None:
        drawn = agreement_figure(compared, title="Agreement between attribution methods")
        files["agreement"] = [
            ("CSV", site.table(f"{source.id}/agreement.csv", compared)),
            ("figure as PNG", site.figure(f"{source.id}/agreement.png", drawn)),
        ]
    return files
