"""Section of an attribution sweep in the report: trust, maps, scores, sanity check, agreement of methods."""

import math

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.attribution.agreement import agreement, agreement_html
from analysis.attribution.attributions import (
    attribution_shape,
    attribution_values,
    load_images,
    named_rows,
)
from analysis.attribution.checkpoints import (
    checkpoint_order,
    num_redrawn,
    one_checkpoint,
    shown_checkpoint,
)
from analysis.attribution.choice import Choice, choose, method_order
from analysis.attribution.grid_rows import Grid, attribution_grid, checkpoint_grid
from analysis.attribution.grids import grid_html, in_strips
from analysis.attribution.measures import measures_of
from analysis.attribution.randomization import similarities
from analysis.attribution.sanity import sanity_html
from analysis.attribution.score_table import attribution_scores, completeness_gaps, path_steps
from analysis.attribution.scores import AREAS, score_html
from analysis.attribution.trust import trust_html
from analysis.attribution.verdicts import similarity_table
from analysis.html.site import Section, Site
from analysis.naming import class_names, describe, recorded_class_names
from analysis.run import Run

NUM_IMAGES = 8
# Images whose agreement is measured: more would narrow intervals that are narrow, and take minutes.
NUM_COMPARED = 200
# Values whose likeness between checkpoints is measured; of large maps, fewer images.
NUM_COMPARED_VALUES = 100_000_000


def section(run: Run, site: Site) -> Section:
    """Return the section of an attribution sweep, and write its pictures, tables and figures."""
    title = f"Attributions: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    every = named_rows(run)
    checkpoint = shown_checkpoint(run, every)
    rows = one_checkpoint(every, checkpoint)
    methods = method_order(run, rows["method"].unique())
    scores, gaps, steps = attribution_scores(every), completeness_gaps(every), path_steps(every)
    similarity = _similarity(run, every)
    grid = _grid(run, checkpoint)
    label = f"Attribution maps of {run.name}, a row for each image, a column for each method"
    html = site.render(
        "attribution.html",
        id=run.id,
        subject=describe(rows),
        num_methods=len(methods),
        targets=sorted(map(str, rows["target"].unique())),
        num_images=rows["image_index"].nunique(),
        checkpoint=checkpoint,
        checkpoints=checkpoint_order(run, map(str, every["checkpoint"].unique())),
        trust=_trust(scores[scores["checkpoint"] == checkpoint], similarity, site, run, methods),
        grid=grid,
        maps=grid_html(grid, site, f"{run.id}/maps", label=label),
        scores=score_html(
            scores,
            gaps,
            site,
            run.id,
            methods=methods,
            subject=describe(rows),
            checkpoint=checkpoint,
            steps=steps,
        ),
        sanity=_sanity(run, site, similarity, rows, methods),
        agreement=agreement_html(_agreement(run, rows, checkpoint), site, run.id, methods=methods),
    )
    return Section(id=run.id, title=title, html=html)


def _trust(
    scores: pd.DataFrame, similarity: pd.DataFrame | None, site: Site, run: Run, methods: list[str]
) -> Markup:
    """Return the table of all scores, empty for a run that has nothing besides deletion and insertion."""
    if similarity is None and set(measures_of(scores)) <= set(AREAS):
        return Markup("")
    return trust_html(scores, similarity, site, run.id, methods=methods)


def _similarity(run: Run, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return how alike the maps of some images are to the trained network's; None without re-drawn networks."""
    depths = rows["checkpoint"].astype(str).map(num_redrawn)
    trained, redrawn = rows[depths == 0], rows[depths > 0]
    # As a run grows, some images and methods have maps of one network alone.
    both = trained.merge(redrawn[["method", "image_index"]].drop_duplicates())
    if both.empty:
        return None
    maps_per_image = rows["checkpoint"].nunique() * rows["method"].nunique()
    values_per_image = maps_per_image * math.prod(attribution_shape(run, rows)[1:])
    most = max(2, min(NUM_COMPARED, NUM_COMPARED_VALUES // values_per_image))
    return similarity_table(similarities(run, images=_images_of_few_files(both, most)))


def _sanity(
    run: Run, site: Site, similarity: pd.DataFrame | None, rows: pd.DataFrame, methods: list[str]
) -> Markup:
    if similarity is None:
        return Markup("")
    label = f"Attribution maps of an image of {run.name}, a row for each method, a column for each checkpoint"
    grid = _grid_by_checkpoint(run)
    return sanity_html(
        similarity,
        site,
        run.id,
        methods=[name for name in methods if name in set(similarity["method"])],
        subject=describe(rows),
        maps=grid_html(grid, site, f"{run.id}/sanity-maps", label=label),
    )


def _grid(run: Run, checkpoint: str) -> Grid:
    """Return the grid of the first images that were stored; these may lack methods, as the run grows."""
    rows = choose(run, Choice(num_images=NUM_IMAGES, checkpoints=[checkpoint]))
    return attribution_grid(
        rows,
        attribution_values(run, rows),
        load_images(run, rows),
        names=class_names(rows) | recorded_class_names(run),
        methods=method_order(run, rows["method"].unique()),
    )


def _grid_by_checkpoint(run: Run) -> Grid:
    """Return the grid of the first image that was stored: methods by checkpoints."""
    rows = in_strips(run, choose(run, Choice(num_images=1, by="checkpoint")))
    return checkpoint_grid(
        rows,
        attribution_values(run, rows),
        load_images(run, rows),
        names=class_names(rows) | recorded_class_names(run),
        checkpoints=checkpoint_order(run, map(str, rows["checkpoint"].unique())),
    )


def _agreement(run: Run, rows: pd.DataFrame, checkpoint: str) -> pd.DataFrame | None:
    """Return the agreement between the methods over some images, None if these have a single method."""
    images = _images_of_few_files(rows, NUM_COMPARED)
    if rows.loc[rows["image_index"].isin(images), "method"].nunique() < 2:
        return None
    return agreement(run, checkpoint=checkpoint, images=images)


def _images_of_few_files(rows: pd.DataFrame, most: int) -> list[int]:
    """Return at most so many images, of files drawn by chance: a file is read whole for any of its images."""
    files = rows.groupby("results_file", observed=True)["image_index"].unique()
    chosen: dict[int, None] = {}
    for place in np.random.default_rng(0).permutation(len(files)):
        if len(chosen) >= most:
            break
        chosen |= dict.fromkeys(map(int, files.iloc[place]))
    return sorted(chosen)[:most]
