"""Is every page of `report --serve` there within a second, over ten million attack rows?

The run is that of `analysis_scale.py`. The viewer runs as a user starts it, in a process of its own, and answers
over HTTP; each address is asked for several times. The first time counts too: it is what a person waits for.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis_scale import ROOT, ROWS_PER_IMAGE, write_run
from reporting import Finding, Row, command_line, publish

# What is asked, and by which address of a run's page.
QUESTIONS = {
    "all rows": "",
    "a method": "?method=pgd",
    "two methods, three ε": "?method=pgd&method=fgsm&epsilon=8/255&epsilon=4/255&epsilon=2/255",
    "a class": "?label=3",
    "only successes": "?success=true",
    "successes of a class by an attack": "?success=true&label=3&method=pgd&checkpoint=trained",
    "a range of a measurement": "?from.loss=0.5&to.loss=0.6",
    "a part of a name": "?has.key=test/4321",
    "largest loss first": "?sort=-loss",
    "largest loss of a class first": "?label=3&sort=-loss",
    "sorted by key": "?sort=key",
    "the page in the middle": "?page=MIDDLE",
    "the middle of a sorted table": "?sort=loss&page=MIDDLE",
    "success by class": "?by=label&by=method",
    "mean loss": "?measure=loss&by=checkpoint&by=method&by=label",
    "a histogram": "?histogram=loss&success=true",
    "an image's own page": "/image/test%2F4321",
    "no such image": "/image/test%2Fx",
}


@contextmanager
def served(run: Path) -> Iterator[tuple[str, float]]:
    """Start the viewer; give its address and the seconds until it had one."""
    command = [sys.executable, "-m", "analysis.report", str(run), "--serve", "--port", "0"]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the viewer ended before it had an address"
            yield f"{url}run/0", time.perf_counter() - start
        finally:
            process.terminate()


def seconds(url: str) -> float:
    """Return how long an address takes to its last byte."""
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(url) as response:
            response.read()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
    return time.perf_counter() - start


def ask_all(address: str, num_rows: int, repeats: int) -> list[Row]:
    """Ask every question, in turns, so that none is answered from what the one before it warmed."""
    middle = str(num_rows // 100)
    urls = {name: address + query.replace("MIDDLE", middle) for name, query in QUESTIONS.items()}
    taken: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(repeats):
        for name, url in urls.items():
            taken[name].append(seconds(url))
    return [
        {
            "question": name,
            "rows": num_rows,
            "first s": times[0],
            "median s": statistics.median(times),
            "worst s": max(times),
        }
        for name, times in taken.items()
    ]


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=50_000, help=f"each has {ROWS_PER_IMAGE} rows")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="how often each address is asked for")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="kept here, and used again if it is there")
    options = parser.parse_args()
    if options.quick:
        options.images, options.repeats = 5000, 2
    return options


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or Path(folder) / "run"
        if not (run / "sweep.json").exists():
            write_run(run, options.images, options.classes)
        num_rows = options.images * ROWS_PER_IMAGE
        with served(run) as (address, to_start):
            rows = ask_all(address, num_rows, options.repeats)
    # The viewer keeps answers: only the first time shows what a question costs.
    first, worst = ([row[f"{name} s"] for row in rows] for name in ("first", "worst"))
    findings = [
        Finding(name="until the viewer has an address", value=to_start, unit="s"),
        Finding(name="slowest first answer", value=max(first), unit="s", target=1.0, at_most=True),
        Finding(name="median first answer", value=statistics.median(first), unit="s"),
        Finding(name="worst answer", value=max(worst), unit="s", target=1.0, at_most=True),
    ]
    publish(options, rows, findings)


if __name__ == "__main__":
    main()
