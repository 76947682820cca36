"""Share of the generated images that each judge takes for the intended class.

python -m analysis.generation.judge_accuracy RUN [--by recipe] [--rank top1] [--output FILE.csv]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis import load
from analysis.command_line import exit_status
from analysis.intervals import wilson_interval
from sweeps.store.terminal_text import terminal_text

RANKS = {"top1": "judge_top1.", "top5": "judge_top5_hit."}


def judge_accuracy(frame: pd.DataFrame, by: Sequence[str] = ("recipe",), rank: str = "top1") -> pd.DataFrame:
    """Table of `judge`, `is_judge`, the columns of `by`, `rate`, `low`, `high` (Wilson, 95 %) and `count`.

    `frame` comes from `analysis.load.results`. The model that the images were made on has rows of its own,
    with `is_judge` False: it took part in the optimisation, so its rate says how far the ascent came, not how
    good the images are. Raises ValueError for an unknown column or rank.
    """
    _refuse_unknown(frame, by, rank)
    hits = pd.concat(_hits(frame, list(by), rank), ignore_index=True)
    groups = hits.groupby([*by, "is_judge", "judge"], observed=True)["hit"]
    table = groups.agg(rate="mean", successes="sum", count="size").reset_index()
    table["low"], table["high"] = wilson_interval(table["successes"], table["count"])
    # Judges first: the model's own verdict is the footnote of each group.
    table = table.sort_values([*by, "is_judge", "judge"], ascending=[True] * len(by) + [False, True])
    return table[["judge", "is_judge", *by, "rate", "low", "high", "count"]].reset_index(drop=True)


def verdicts(frame: pd.DataFrame, judge: str, rank: str = "top1") -> pd.Series:
    """Whether `judge` takes each image for its class, as dtype `boolean`: null where it gave no verdict."""
    answer = frame[f"{RANKS[rank]}{judge}"]
    if rank == "top5":
        return answer.astype("boolean")
    return (answer == frame["class_index"]).astype("boolean").mask(answer.isna())


def judges(frame: pd.DataFrame, rank: str = "top1") -> list[str]:
    """Names of the judges that a frame has verdicts of."""
    prefix = RANKS[rank]
    return sorted(name.removeprefix(prefix) for name in frame.columns if name.startswith(prefix))


def _hits(frame: pd.DataFrame, by: list[str], rank: str) -> list[pd.DataFrame]:
    model = frame["model"].astype("str")
    own = frame["top5_hit"] if rank == "top5" else frame["top1"] == frame["class_index"]
    parts = [frame[by].assign(judge=model, is_judge=False, hit=own.astype("boolean"))]
    for judge in judges(frame, rank):
        # A judge that is the model itself took part in the optimisation; the model's own row says the same.
        part = frame[by].assign(judge=judge, is_judge=True, hit=verdicts(frame, judge, rank))
        parts.append(part[part["hit"].notna() & (model != judge)])
    return parts


def _refuse_unknown(frame: pd.DataFrame, by: Sequence[str], rank: str) -> None:
    if rank not in RANKS:
        raise ValueError(f"rank is {rank!r}: choose from {', '.join(RANKS)}")
    for column in by:
        if column not in frame:
            raise ValueError(f"by names {column!r}: choose from {', '.join(frame.columns)}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.generation.judge_accuracy",
        description="Share of the generated images that each judge takes for the intended class.",
    )
    parser.add_argument("run", metavar="RUN", help="run directory: path or URL")
    parser.add_argument("--by", default="recipe", help="columns to group by, such as recipe,class_index")
    parser.add_argument("--rank", default="top1", choices=RANKS)
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the table as CSV too")
    options = parser.parse_args(arguments)
    by = [column for column in options.by.split(",") if column]
    table = judge_accuracy(load.results(options.run), by, options.rank)
    print(terminal_text(table.to_string(index=False, float_format="{:.3f}".format)))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.output, index=False)


if __name__ == "__main__":
    sys.exit(exit_status(main))
