"""Section of attribution along training in the report: curves of all trainings, and some trainings in detail."""

import pandas as pd

from analysis.attribution.attributions import attribution_rows
from analysis.html.choices import asked_for, evenly, in_order
from analysis.html.site import Section, Site
from analysis.run import Run
from analysis.training.curves import curves_html, training_curve
from analysis.training.trials import trial_html

# Each has a video; more would be most of the report.
MOST_TRIALS = 3


def section(run: Run, site: Site) -> Section:
    """Return the section of a run along training, and write its videos, pictures and tables."""
    title = f"Attribution along training: {run.name}"
    if run.status.num_rows == 0:
        return Section(id=run.id, title=title, html=site.render("no_rows.html", run=run))
    rows = attribution_rows(run)
    # A state has a row per method: its loss and the panel's predictions are the same in all of them.
    curve = training_curve(rows.drop_duplicates(["trial", "step", "image_index"]))
    trials = in_order(rows["trial"].unique(), asked_for(run, "trial"))
    html = site.render(
        "training.html",
        models=_listed(rows, "model"),
        datasets=_listed(rows, "dataset"),
        num_images=rows["image_index"].nunique(),
        num_methods=rows["method"].nunique(),
        num_states=curve["step"].nunique(),
        last_step=int(curve["step"].max()),
        num_trials=len(trials),
        curves=curves_html(curve, rows, site, run.id, trials=trials),
        details=[
            (trial, trial_html(run, site, f"{run.id}/training-{number}", rows[rows["trial"] == trial]))
            for number, trial in enumerate(evenly(trials, MOST_TRIALS))
        ],
    )
    return Section(id=run.id, title=title, html=html)


def _listed(rows: pd.DataFrame, column: str) -> list[str]:
    return sorted(map(str, rows[column].unique()))
