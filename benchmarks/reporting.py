"""What every benchmark shares: its options, its table, and its JSON."""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

NARROWEST = 110  # characters; a log file has no width, and a table must not be cut off

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number that answers the benchmark's question. `target` is the least, or the most, that is wanted."""

    name: str
    value: float
    unit: str = ""
    target: float | None = None
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing without a target."""
        if self.target is None:
            return ""
        met = self.value <= self.target if self.at_most else self.value >= self.target
        return "met" if met else "missed"

    @property
    def wanted(self) -> str:
        """Target in words."""
        if self.target is None:
            return ""
        return f"{'at most' if self.at_most else 'at least'} {show(self.target)} {self.unit}".rstrip()


def command_line(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write rows and findings as JSON")
    return parser


def publish(
    options: argparse.Namespace, rows: Sequence[Row], findings: Sequence[Finding], note: str = ""
) -> None:
    """Print both tables, and write them with the options and the machine to `--output`."""
    console = Console()
    console.width = max(console.width, NARROWEST)
    console.print(_table(rows))
    console.print(_table([_finding_row(finding, judged=not options.quick) for finding in findings]))
    if note:
        console.print(note)
    if options.quick:
        console.print("--quick: these sizes are too small for the numbers to mean anything.")
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "options": {name: _plain(value) for name, value in vars(options).items()},
            "machine": machine(),
            "rows": [dict(row) for row in rows],
            "findings": [asdict(each) | {"verdict": each.verdict} for each in findings],
            "note": note,
        }
        options.output.write_text(json.dumps(content, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """Describe what numbers depend on: cores, how busy they are, and the versions of what is measured."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "ray", "timm", "obstore")},
    }


def show(value: Any) -> str:
    """Return a table cell: three significant digits of a fraction."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _finding_row(finding: Finding, *, judged: bool) -> Row:
    return {
        "finding": finding.name,
        "value": f"{show(finding.value)} {finding.unit}".rstrip(),
        "target": finding.wanted,
        "verdict": finding.verdict if judged else "",
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(show(value) for value in row.values()))
    return table


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)
