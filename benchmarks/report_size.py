"""Does the report hold 1,000 classes? Seconds to build it, and the bytes of its pages.

A run of 1,000 classes × 4 seeds × recipes is committed through the store as a sweep commits it, in shards of
16; its pictures are those of a real run (`--pictures`), repeated, or noise of the same size without one, which
no codec can make small: the worst case. The report is then built by its own command, in a process of its
own, and opened in Chromium where there is one.
"""

import argparse
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from reporting import Finding, Row, command_line, publish

from analysis import load
from sweeps.schemas import SCHEMA_VERSION, generate_images, generate_results
from sweeps.store import RunDirectory, rows_table

JUDGES = ("judge_a", "judge_b")
SHARD_SIZE, NUM_STEPS, NUM_LOGITS = 16, 128, 1000
NUM_PICTURES = 48
NUM_TIMES = 5
MEGABYTE = 1_000_000


def main() -> None:
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="report-size-"))
    try:
        rows = [measure(options, folder)]
    finally:
        shutil.rmtree(folder)
    publish(options, rows, findings(rows[0]))


def parse() -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--pictures", metavar="RUN", help="a generation run whose images are repeated")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--recipes", type=int, default=1)
    options = parser.parse_args()
    if options.quick:
        options.classes = min(options.classes, 20)
    return options


def measure(options: argparse.Namespace, folder: Path) -> Row:
    """Write the run, build the report and measure its size."""
    run, site = folder / "run", folder / "report"
    write_run(RunDirectory(run), options, pictures(options.pictures))
    command = [sys.executable, "-m", "analysis.report", str(run), "--output", str(site)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    files = [file for file in site.rglob("*") if file.is_file()]
    return {
        "classes": options.classes,
        "seeds": options.seeds,
        "recipes": options.recipes,
        "seconds": round(took, 1),
        "usable after": usable_after(site / "index.html"),
        "index MB": round((site / "index.html").stat().st_size / MEGABYTE, 3),
        "class page KB": round(next(site.glob("run-0/class-*.html")).stat().st_size / 1000, 1),
        "thumbnails MB": megabytes(file for file in files if file.suffix == ".webp"),
        "all MB": megabytes(files),
        "files": len(files),
    }


def usable_after(index: Path) -> float:
    """Return the median seconds from opening the page in Chromium to a gallery that answers.

    NaN where there is no Chromium.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        return math.nan
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        took = [_opened(browser.new_page(), index) for _ in range(NUM_TIMES)]
        browser.close()
    return round(statistics.median(took), 2)


def _opened(page: Page, index: Path) -> float:
    page.goto("about:blank")  # a reader's browser runs already
    start = time.perf_counter()
    page.goto(index.as_uri(), wait_until="domcontentloaded")
    page.get_by_label("Find a class").fill("0")
    page.get_by_text(re.compile(r"\d+ of [\d,]+ classes")).wait_for()
    return time.perf_counter() - start


def megabytes(files: Iterable[Path]) -> float:
    return round(sum(file.stat().st_size for file in files) / MEGABYTE, 1)


def findings(row: Row) -> list[Finding]:
    return [
        Finding(name="report is built in", value=row["seconds"], unit="s", target=120, at_most=True),
        Finding(
            name="index page is usable after", value=row["usable after"], unit="s", target=1, at_most=True
        ),
        Finding(name="index page", value=row["index MB"], unit="MB", target=1, at_most=True),
    ]


def pictures(run: str | None) -> list[bytes]:
    """Return PNG files: those of a run, or noise."""
    if run is not None:
        rows = load.results(run, ["image_file", "image_key"]).head(NUM_PICTURES)
        return load.encoded_images(run, rows["image_key"], rows=rows)
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (NUM_PICTURES, 224, 224, 3), dtype=np.uint8)
    return [png(image) for image in noise]


def png(pixels: Any) -> bytes:
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def write_run(run: RunDirectory, options: argparse.Namespace, images: Sequence[bytes]) -> None:
    """Commit the run, shard by shard, with its sweep.json and _SUCCESS."""
    recipes = [f"recipe_{number}" for number in range(options.recipes)]
    axes = {"recipe": recipes, "seed": f"0-{options.seeds - 1}", "class_index": f"0-{options.classes - 1}"}
    run.update_sweep(
        lambda existing: {
            "sweep": "generate",
            "schema_version": SCHEMA_VERSION,
            "settings": {"model": "generator"},
            "blocks": [{"axes": axes, "shard_size": SHARD_SIZE}],
            "invocations": [],
        }
    )
    taken = cycle(images)
    for recipe in recipes:
        cells = list(product([recipe], range(options.seeds), range(options.classes)))
        for start in range(0, len(cells), SHARD_SIZE):
            shard = cells[start : start + SHARD_SIZE]
            write_shard(run, f"{recipe}-{start:06d}", shard, list(islice(taken, len(shard))))
    run.mark_success()


def write_shard(run: RunDirectory, shard_id: str, cells: Sequence[Any], images: Sequence[bytes]) -> None:
    stored = [image_row(cell, image) for cell, image in zip(cells, images, strict=True)]
    image_file = run.put_images(shard_id, 1, rows_table(stored, generate_images(NUM_LOGITS)))
    rows = [result_row(shard_id, image_file, cell) for cell in cells]
    run.commit(shard_id, rows_table(rows, generate_results(JUDGES)), image_file)


def key_of(cell: tuple[str, int, int]) -> str:
    recipe, seed, class_index = cell
    return f"{recipe}-c{class_index:04d}-s{seed:04d}"


def image_row(cell: tuple[str, int, int], image: bytes) -> Row:
    recipe, seed, class_index = cell
    return {
        "key": key_of(cell),
        "image": {"bytes": image, "path": f"{key_of(cell)}.png"},
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "step": NUM_STEPS,
        "logits": [0.0] * NUM_LOGITS,
    }


def result_row(shard_id: str, image_file: str, cell: tuple[str, int, int]) -> Row:
    recipe, seed, class_index = cell
    random = np.random.default_rng((seed, class_index))
    logits = np.cumsum(random.normal(0.3, 1.5, NUM_STEPS))
    right = {judge: bool(random.random() < 0.7) for judge in JUDGES}
    return {
        "sweep": "generate",
        "model": "generator",
        "model_digest": "0" * 64,
        "shard_id": shard_id,
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "image_file": image_file,
        "image_key": key_of(cell),
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "wnid": f"n{class_index:08d}",
        "class_name": f"a class of a usual name {class_index}",
        "num_steps": NUM_STEPS,
        "batch_size": 8,
        "logit": float(logits[-1]),
        "probability": 0.99,
        "top1": class_index,
        "top5_hit": True,
        "judge_top1": {judge: class_index + (not hit) for judge, hit in right.items()},
        "judge_top5_hit": dict.fromkeys(JUDGES, True),
        "total_variation": 4000.0,
        "clipped_share": 0.0,
        "logit_by_step": logits.tolist(),
        "loss_by_step": (-logits).tolist(),
        "argmax_by_step": [class_index] * NUM_STEPS,
        "seconds": 2.0,
    }


if __name__ == "__main__":
    main()
