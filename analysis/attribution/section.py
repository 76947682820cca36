"""Section of an attribution sweep in the report: maps beside their images, scores, agreement between methods."""

import numpy as np
import pandas as pd

from analysis.attribution.agreement import agreement, agreement_html
from analysis.attribution.attributions import attribution_rows, attribution_values, load_images, method_names
from analysis.attribution.choice import Choice, choose, method_order
from analysis.attribution.grids import Grid, attribution_grid, grid_html
from analysis.attribution.scores import attribution_scores, completeness_gaps, score_html
from analysis.html.site import Section, Site
from analysis.naming import class_names, describe, recorded_class_names
from analysis.run import Run

NUM_IMAGES = 8
# Images whose agreement is measured: more would narrow intervals that are narrow, and take minutes.
NUM_COMPARED = 200


def section(run: Run, site: Site) -> Section:
    """Return the section of an attribution sweep, and write its pictures, tables and figures."""
    title = f"Attributions: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    rows = attribution_rows(run)
    methods = method_order(run, method_names(rows).unique())
    scores, gaps = attribution_scores(rows), completeness_gaps(rows)
    grid = _grid(run)
    label = f"Attribution maps of {run.name}, a row for each image, a column for each method"
    html = site.render(
        "attribution.html",
        id=run.id,
        subject=describe(rows),
        num_methods=len(methods),
        targets=sorted(map(str, rows["target"].unique())),
        num_images=rows["image_index"].nunique(),
        grid=grid,
        maps=grid_html(grid, site, f"{run.id}/maps", label=label),
        scores=score_html(scores, gaps, site, run.id, methods=methods, subject=describe(rows)),
        agreement=agreement_html(_agreement(run, rows), site, run.id, methods=methods),
    )
    return Section(id=run.id, title=title, html=html)


def _grid(run: Run) -> Grid:
    """Return the grid of the first images that were stored; these may lack methods, as the run grows."""
    rows = choose(run, Choice(num_images=NUM_IMAGES))
    return attribution_grid(
        rows,
        attribution_values(run, rows),
        load_images(run, rows),
        names=class_names(rows) | recorded_class_names(run),
        methods=method_order(run, rows["method"].unique()),
    )


def _agreement(run: Run, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the agreement between the methods over some images, None if these have a single method."""
    images = _images_of_few_files(rows, NUM_COMPARED)
    if method_names(rows[rows["image_index"].isin(images)]).nunique() < 2:
        return None
    return agreement(run, images=images)


def _images_of_few_files(rows: pd.DataFrame, most: int) -> list[int]:
    """Return at most so many images, of files drawn by chance: a file is read whole for any of its images."""
    files = rows.groupby("results_file", observed=True)["image_index"].unique()
    chosen: dict[int, None] = {}
    for place in np.random.default_rng(0).permutation(len(files)):
        if len(chosen) >= most:
            break
        chosen |= dict.fromkeys(map(int, files.iloc[place]))
    return sorted(chosen)[:most]
