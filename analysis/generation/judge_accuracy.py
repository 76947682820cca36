"""Share of the generated images that each judge takes for the intended class.

python -m analysis.generation.judge_accuracy RUN [--by recipe] [--rank top1] [--output FILE.csv]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis.command_line import exit_status
from analysis.generation.families import family_notes
from analysis.generation.judges import RANKS, judge_names, verdicts
from analysis.generation.rows import GeneratedImages
from analysis.html.site import Site
from analysis.intervals import wilson_interval
from analysis.run import open_run
from sweeps.store.terminal_text import terminal_text


def judge_accuracy(frame: pd.DataFrame, by: Sequence[str] = ("recipe",), rank: str = "top1") -> pd.DataFrame:
    """Return the rates by judge: `judge`, `is_judge`, `by`, `rate`, `low`, `high` (Wilson, 95 %), `count`.

    `frame` has the columns of a generation run's results. The model that the images were made on has rows of its
    own, with `is_judge` False: it took part in the optimisation, so its rate says how far the ascent came, not how
    good the images are. Raise ValueError for an unknown column or rank.
    """
    _refuse_unknown(frame, by, rank)
    hits = pd.concat(_hits(frame, list(by), rank), ignore_index=True)
    groups = hits.groupby([*by, "is_judge", "judge"], observed=True)["hit"]
    table = groups.agg(rate="mean", successes="sum", count="size").reset_index()
    table["low"], table["high"] = wilson_interval(table["successes"], table["count"])
    # Judges first: the model's own verdict is the footnote of each group.
    table = table.sort_values([*by, "is_judge", "judge"], ascending=[True] * len(by) + [False, True])
    return table[["judge", "is_judge", *by, "rate", "low", "high", "count"]].reset_index(drop=True)


def html(images: GeneratedImages, site: Site) -> Markup:
    """Render the rates of each recipe and judge as a table; write it as CSV too."""
    table = judge_accuracy(images.rows)
    return site.render(
        "judge_accuracy.html",
        run=images.run,
        comparison=list(_comparison(table, judge_accuracy(images.rows, rank="top5"), images.recipes)),
        csv=site.table(f"{images.run.id}/judge-accuracy.csv", table),
        notes=family_notes(images.rows),
    )


def text(table: pd.DataFrame) -> str:
    """Return a table of `judge_accuracy` as it is printed: shares with three decimal places."""
    return terminal_text(table.to_string(index=False, float_format="{:.3f}".format))


def _hits(frame: pd.DataFrame, by: list[str], rank: str) -> list[pd.DataFrame]:
    """Return a row per image and judge that gave a verdict on it, and one for the model's own."""
    model = frame["model"].astype("str")
    own = frame["top5_hit"] if rank == "top5" else frame["top1"] == frame["class_index"]
    parts = [frame[by].assign(judge=model, is_judge=False, hit=own.astype("boolean"))]
    for judge in judge_names(frame, rank):
        # A judge that is the model itself took part in the optimisation; the model's own row says the same.
        part = frame[by].assign(judge=judge, is_judge=True, hit=verdicts(frame, judge, rank))
        parts.append(part[part["hit"].notna() & (model != judge)])
    return parts


def _comparison(top1: pd.DataFrame, top5: pd.DataFrame, recipes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of each recipe, the judges first."""
    both = top1.merge(top5[["judge", "is_judge", "recipe", "rate"]], on=["judge", "is_judge", "recipe"])
    both = both.rename(columns={"rate_x": "rate", "rate_y": "top5"})
    for recipe in recipes:
        yield {"recipe": recipe, "rows": both[both["recipe"] == recipe].to_dict("records")}


def _refuse_unknown(frame: pd.DataFrame, by: Sequence[str], rank: str) -> None:
    if rank not in RANKS:
        raise ValueError(f"rank is {rank!r}: choose from {', '.join(RANKS)}")
    for column in by:
        if column not in frame:
            raise ValueError(f"by names {column!r}: choose from {', '.join(frame.columns)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a run, and write it as CSV where the command line says so."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.generation.judge_accuracy",
        description="Share of the generated images that each judge takes for the intended class.",
    )
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument("--by", default="recipe", help="columns to group by, such as recipe,class_index")
    parser.add_argument(
        "--rank", default="top1", choices=RANKS, help="where a judge must have the class (%(default)s)"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the table as CSV too")
    options = parser.parse_args(arguments)
    by = [column for column in options.by.split(",") if column]
    rows = open_run(options.run).results()
    table = judge_accuracy(rows, by, options.rank)
    print(text(table))
    for note in family_notes(rows):
        print(terminal_text(note))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.output, index=False)


if __name__ == "__main__":
    sys.exit(exit_status(main))
