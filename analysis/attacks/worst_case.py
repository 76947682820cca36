"""The worst case over attacks: which images any method of a run misleads within ε, and which method did.

python -m analysis.attacks.worst_case RUN --output DIR [--rounded] [--format text|markdown|latex|csv]

Methods are taken together whose ε is measured in the same norm, and only on images that all of them have at this
ε. An image is credited to the first method that misleads it, in the order in which the sweep names the methods.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.attacks import norm_panels
from analysis.attacks.asked import Ball, balls, lacking_notes
from analysis.attacks.norm_panels import WORST, NormPanel
from analysis.attacks.norms import NAMES
from analysis.attacks.outcomes import FAILED, NOT_ATTACKED, SUCCEEDED, ImageOutcomes, Panel, read_outcomes
from analysis.attacks.rows import failed_images
from analysis.attacks.success_rates import DENOMINATORS
from analysis.command_line import exit_status, figure_parser, save_pages, save_table
from analysis.drawing.pages import chunks
from analysis.intervals import wilson_interval
from analysis.naming import format_epsilon
from analysis.run import AnyRun, open_run, opened
from analysis.text_tables import FORMATS, text_table
from sweeps.store.terminal_text import terminal_text

# In the column `method`: whether any of them succeeds.
ANY = "any method"

AMONG = {"all": "all images", "initially_correct": "images right to begin with"}
NUM_PANELS = 6

BY = ("checkpoint", "aim", "norm", "epsilon")
_COLUMNS = (
    *BY,
    "denominator",
    "method",
    "rate",
    "low",
    "high",
    "count",
    "num_succeeded",
    "num_first",
    "num_only",
    "num_methods",
    "num_lacking",
    "robust_accuracy",
)


def worst_case_table(outcomes: ImageOutcomes, run: AnyRun) -> pd.DataFrame:
    """Return the success of any method, and of each, by `checkpoint`, `aim`, `norm`, `epsilon` and `denominator`.

    In the rows whose `method` is `ANY`, an image counts as a success if one of the `num_methods` methods
    misleads it. All rates of an ε are of the same `count` images, with their intervals (Wilson, 95 %);
    `num_lacking` images are left out, which lack a row of some method. `num_first`: images credited to the
    method; `num_only`: images that no other misleads. `robust_accuracy`: of all images the share that is right
    to begin with and that the method, or any, does not mislead; NaN for targeted attacks. A targeted attack
    counts for each target.
    """
    parts = [_ball_rows(outcomes, ball) for ball in balls(outcomes, run)]
    table = pd.DataFrame([row for part in parts for row in part], columns=list(_COLUMNS))
    table["low"], table["high"] = wilson_interval(table["num_succeeded"], table["count"])
    count = table["count"].where(table["count"] > 0).astype(float)
    return table.assign(rate=table["num_succeeded"] / count)


def image_tables(outcomes: ImageOutcomes, run: AnyRun) -> Iterator[pd.DataFrame]:
    """Yield for each ball a table with a row for each image that all methods have.

    Its columns: those of `BY`, `model`, `dataset`, `split`, `image_index`, `target`, `initially_correct`,
    `success` (whether any method succeeds), `method` (the first that does, None for none) and `num_methods` (how
    many do).
    """
    for ball in balls(outcomes, run):
        for panel in _panels(outcomes, ball):
            counted = _counted(panel)
            hits = _hits(panel)[:, counted]
            yield pd.DataFrame(
                {
                    **{name: getattr(ball, name) for name in BY},
                    "model": panel.images.model,
                    "dataset": panel.images.dataset,
                    "split": panel.images.split,
                    "image_index": panel.image_index[counted],
                    "target": pd.array([panel.target] * int(counted.sum()), dtype="Int32"),
                    "initially_correct": panel.right[counted],
                    "success": hits.any(0),
                    "method": np.where(hits.any(0), np.array(ball.methods, object)[hits.argmax(0)], None),
                    "num_methods": hits.sum(0),
                }
            )


def any_method(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a worst case, with a column `first`: who did it, in words."""
    firsts = {
        key: ", ".join(f"{row.method} {row.num_first:,}" for row in rows.itertuples() if row.num_first)
        for key, rows in table[table["method"] != ANY].groupby([*BY, "denominator"])
    }
    found = table[table["method"] == ANY]
    keys = found[[*BY, "denominator"]].itertuples(index=False, name=None)
    return found.assign(first=[firsts.get(key, "") for key in keys])


def side_by_side(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a record for each ball: its worst case under both denominators, `all` and `right`."""
    found = any_method(table)
    every, right = (found[found["denominator"] == name].to_dict("records") for name in DENOMINATORS)
    return [{**both, "all": both, "right": other} for both, other in zip(every, right, strict=True)]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the worst cases of `worst_case_table` as texts, a row for each ball."""
    rows = [
        {
            "Checkpoint": each["checkpoint"],
            "Attacks": f"{each['num_methods']} {each['aim']}",
            "Norm": NAMES[each["norm"]],
            "ε": epsilon_text(each["epsilon"], each["norm"]),
            "Images": f"{each['all']['count']:,}",
            "Success": percent(each["all"]),
            "Right at first": f"{each['right']['count']:,}",
            "Success of those": percent(each["right"]),
            "Robust accuracy": "\N{EN DASH}"
            if np.isnan(each["robust_accuracy"])
            else f"{100 * each['robust_accuracy']:.1f} %",
            "Credited to": each["all"]["first"] or "\N{EN DASH}",
        }
        for each in side_by_side(table)
    ]
    return pd.DataFrame(rows)


def panels(table: pd.DataFrame, checkpoints: Sequence[str] | None = None) -> list[NormPanel]:
    """Return a panel for each norm, checkpoint, aim and denominator: the success of any method, and of each."""
    shown = table[table["count"] > 0]
    if checkpoints is not None:
        shown = shown[shown["checkpoint"].isin(checkpoints)]
    several = table["checkpoint"].nunique() > 1
    found = []
    for (checkpoint, aim, norm), rows in shown.groupby(["checkpoint", "aim", "norm"], sort=False):
        for denominator in reversed(DENOMINATORS):
            among = rows[rows["denominator"] == denominator]
            name = f"{NAMES[norm]}, {aim}, {checkpoint}" if several else f"{NAMES[norm]}, {aim}"
            curves = {
                WORST if method == ANY else str(method): curve
                for method, curve in among.groupby("method", sort=False)
            }
            found.append(NormPanel(title=f"{name}: {AMONG[denominator]}", norm=norm, curves=curves))
    return found


def figures(table: pd.DataFrame, subject: str) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of a table of `worst_case_table`."""
    pages = list(chunks(panels(table), NUM_PANELS))
    notes = ["of images that all methods of the norm have at ε; bands: 95 % intervals (Wilson)"]
    for number, chosen in enumerate(pages, start=1):
        ending = f"-{number:03d}" if len(pages) > 1 else ""
        title = f"{subject}: success of any attack"
        yield f"worst-case{ending}", norm_panels.figure(chosen, title=title, y="success", notes=notes)


def percent(row: dict[str, Any]) -> str:
    """Return a rate with its interval in percent; a dash where no image counts."""
    if not row["count"]:
        return "\N{EN DASH}"
    return f"{100 * row['rate']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def epsilon_text(epsilon: float, norm: str) -> str:
    """Return ε as steps of 8-bit images (8/255) in l∞, and as it is in the other norms."""
    return format_epsilon(epsilon) if norm == "linf" else f"{epsilon:.4g}"


def notes(table: pd.DataFrame, outcomes: ImageOutcomes, run: AnyRun) -> list[str]:
    """Return in sentences what the worst case leaves out."""
    found = table[(table["method"] == ANY) & (table["denominator"] == "all")]
    lines = lacking_notes(outcomes, run)
    lacking = found[found["num_lacking"] > 0]
    if len(lacking):
        most = lacking.loc[lacking["num_lacking"].idxmax()]
        lines.append(
            f"At {len(lacking)} of {len(found)} ε, images lack a row of some method and are left out; most at "
            f"ε = {epsilon_text(most['epsilon'], most['norm'])} in {NAMES[most['norm']]} on {most['checkpoint']}: "
            f"{most['num_lacking']:,} of {most['num_lacking'] + most['count']:,}."
        )
    return [*lines, *(line for line in (failed_images(run), opened(run).missing()) if line)]


def _ball_rows(outcomes: ImageOutcomes, ball: Ball) -> Iterator[dict[str, Any]]:
    panels = list(_panels(outcomes, ball))
    counted = [_counted(panel) for panel in panels]
    chosen = list(zip(panels, counted, strict=True))
    hits = np.concatenate([_hits(panel)[:, each] for panel, each in chosen], axis=1)
    right = np.concatenate([panel.right[each] for panel, each in chosen])
    common = {
        **{name: getattr(ball, name) for name in BY},
        "num_methods": len(ball.methods),
        "num_lacking": sum(_num_lacking(panel) for panel in panels),
    }
    for denominator in DENOMINATORS:
        among = hits[:, right] if denominator == "initially_correct" else hits
        for method, facts in _facts(ball.methods, among):
            robust = np.nan
            if not ball.targeted and len(right):
                hit = hits.any(0) if method == ANY else hits[ball.methods.index(method)]
                robust = float((right & ~hit).mean())
            yield {
                **common,
                **facts,
                "method": method,
                "denominator": denominator,
                "count": among.shape[1],
                "robust_accuracy": robust,
            }


def _facts(methods: Sequence[str], hits: NDArray[np.bool_]) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the numbers of images of a table of successes `[M, N]`: of any method, then of each."""
    some = hits.any(0)
    first = np.bincount(hits.argmax(0)[some], minlength=len(methods))
    only = (hits & (hits.sum(0) == 1)).sum(1)
    total = int(some.sum())
    yield ANY, {"num_succeeded": total, "num_first": total, "num_only": total}
    for method, hit, credited, alone in zip(methods, hits, first, only, strict=True):
        yield method, {"num_succeeded": int(hit.sum()), "num_first": int(credited), "num_only": int(alone)}


def _panels(outcomes: ImageOutcomes, ball: Ball) -> Iterator[Panel]:
    return outcomes.panels(ball.epsilon, ball.methods, ball.checkpoint, targeted=ball.targeted)


def _hits(panel: Panel) -> NDArray[np.bool_]:
    return panel.outcomes == SUCCEEDED


def _counted(panel: Panel) -> NDArray[np.bool_]:
    """Return which images all methods have; an image whose label is the target counts for none."""
    return ((panel.outcomes == SUCCEEDED) | (panel.outcomes == FAILED)).all(0)


def _num_lacking(panel: Panel) -> int:
    return int((panel.outcomes == NOT_ATTACKED).any(0).sum())


def write_images(tables: Iterator[pd.DataFrame], path: Path) -> Path:
    """Write the tables of `image_tables` one after the other as CSV: together they may exceed memory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(tables):
            table.to_csv(file, index=False, header=number == 0)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = figure_parser(
        "python -m analysis.attacks.worst_case", "The worst case over all attacks of a run."
    )
    parser.add_argument("--rounded", action="store_true", help="predictions after rounding to 8 bits")
    parser.add_argument("--format", default="text", choices=FORMATS, help="of the table that is printed")
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    outcomes = read_outcomes(run, rounded=options.rounded)
    table = worst_case_table(outcomes, run)
    if table.empty:
        raise ValueError(f"{run} has no attack at a given ε with a norm, so there is no worst case")
    print(text_table(summary(table), options.format))
    paths = save_table(table, options.output, "worst-case")
    paths.append(write_images(image_tables(outcomes, run), options.output / "worst-case-images.csv"))
    paths += save_pages(figures(table, outcomes.describe()), options.output)
    for line in [*notes(table, outcomes, run), *map(str, paths)]:
        print(terminal_text(line), file=sys.stdout if options.format == "text" else sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status(main))
