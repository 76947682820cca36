"""How long does the question take from the shell, everything included, against a script that uses foolbox?

Ours starts Ray and its actors, attacks 10,000 images at twelve ε, looks at rounded images too, and writes rows and
sign maps; theirs prints a table and writes a CSV of who was fooled. The two take turns.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from reporting import Finding, command_line, publish

REPOSITORY = Path(__file__).parents[1]


def seconds(command: Sequence[str]) -> float:
    """Return the wall time of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    ours, theirs = [], []
    for _ in range(1 if options.quick else options.turns):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(seconds(["sweeps/attack_all.py", "--address", "local", "--output", f"{folder}/run"]))
            theirs.append(seconds(["benchmarks/peer_attacks.py", f"{folder}/fooled.csv"]))
    rows = [
        {"command": name, "median s": statistics.median(times), "fastest": min(times), "slowest": max(times)}
        for name, times in (("python sweeps/attack_all.py", ours), ("a script with foolbox", theirs))
    ]
    ratio = statistics.median(theirs) / statistics.median(ours)
    publish(options, rows, [Finding(name="the whole command", value=ratio, unit="x", target=2)])


if __name__ == "__main__":
    main()
