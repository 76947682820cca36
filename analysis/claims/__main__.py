"""Each claim of the original document beside what was measured here, with a verdict.

python -m analysis.claims RUN... [--output DIR]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.claims.rendering import to_csv, to_html, to_markdown
from analysis.claims.table import claims_table
from analysis.command_line import exit_status


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.claims",
        description="Each claim of the original document beside what was measured here, with a verdict.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory: path or URL")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="folder for claims.md, claims.csv and claims.html; else Markdown",
    )
    options = parser.parse_args(arguments)
    table = claims_table(options.runs)
    if options.output is None:
        print(to_markdown(table), end="")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for name, render in {"claims.md": to_markdown, "claims.csv": to_csv, "claims.html": to_html}.items():
        (options.output / name).write_text(render(table), encoding="utf-8")
        print(options.output / name)


if __name__ == "__main__":
    sys.exit(exit_status(main))
