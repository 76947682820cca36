"""How good are the recipes? The share of their images that judges classify correctly, on the same classes.

This is a sweep, so it is run as one: `sweeps/generate_all.py` into `--run`, which may be interrupted and
goes on when called again, then `analysis.generation.judge_accuracy`. Its images are there to be looked at:

    python -m analysis.generation.recipe_strips runs/recipe-table --output runs/recipe-table-figures
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
from reporting import Finding, Row, command_line, publish

from analysis import load
from analysis.generation.judge_accuracy import judge_accuracy
from sweeps.ranges import format_integers

SCRIPT = Path(__file__).parent.parent / "sweeps" / "generate_all.py"
CLASSES = format_integers(range(3, 1000, 10))
WANTED = 0.97  # the share of `default` that every judge should reach


def sweep(options: argparse.Namespace) -> None:
    """Complete the run directory; exit with the sweep's status if it fails."""
    command = [sys.executable, str(SCRIPT)]
    for name in ("classes", "seeds", "recipes", "judges", "num_steps", "image_size"):
        if (value := getattr(options, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    command += ["--output", options.run]
    print(" ".join(command), flush=True)
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


def rows(frame: pd.DataFrame) -> list[Row]:
    """Return a row for each recipe and judge, with Wilson's 95 % interval and seconds per image in its worker."""
    seconds = frame.groupby("recipe", observed=True)["seconds"].mean()
    steps = frame.groupby("recipe", observed=True)["num_steps"].first()
    return [
        {
            "recipe": row.recipe,
            "by": row.judge if row.is_judge else f"{row.judge} (made them)",
            "top-1": float(row.rate),
            "low": float(row.low),
            "high": float(row.high),
            "images": int(row.images),
            "steps": int(steps[row.recipe]),
            "seconds": float(seconds[row.recipe]),
        }
        for row in judge_accuracy(frame).rename(columns={"count": "images"}).itertuples()
    ]


def findings(table: list[Row]) -> list[Finding]:
    judged = [row for row in table if not row["by"].endswith("(made them)")]
    return [
        Finding(
            name=f"{row['recipe']} by {row['by']}",
            value=row["top-1"],
            target=WANTED if row["recipe"] == "default" else None,
        )
        for row in judged
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--run", default="runs/recipe-table", help="run directory: a path or URL")
    parser.add_argument("--classes", default=CLASSES, help="by default a hundred over the label space")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--recipes", default="all")
    parser.add_argument("--judges", default="efficientnet_lite1,efficientnet_lite2")
    parser.add_argument("--num-steps", type=int)
    parser.add_argument("--image-size", type=int)
    options = parser.parse_args()
    if options.quick:
        options.classes, options.recipes = "291,340,963,980", "plain,fast"
        options.num_steps, options.image_size = 8, 64
        options.run += "-quick"
    return options


def main() -> None:
    options = parse()
    sweep(options)
    table = rows(load.results(options.run))
    publish(options, table, findings(table))


if __name__ == "__main__":
    main()
