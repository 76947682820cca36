"""A report of a generation run with hostile names, opened from disk in a real browser."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from analysis.report.__main__ import main
from sweeps.schemas import SCHEMA_VERSION, generate_images, generate_results
from sweeps.store import RunDirectory, rows_table

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = {
    3: "<script>document.title = 'owned'</script>",
    4: "</script><img src=x onerror=\"document.title='owned'\">",
    5: "../../../etc/passwd",
    6: "\"' onmouseover='document.title=1'",
    7: "W" * 300,
    8: "\u202e\u05e9\u05dc\u05d5\u05dd",
}
NUM_CLASSES, SEEDS, RECIPES, JUDGES = 60, (0, 1, 2), ("default", "<b>plain</b>"), ("lite1", "lite2")
NUM_STEPS = 20

WIDE = {"width": 1280, "height": 900}
# A busy machine is slow; what hangs is slower.
PATIENCE = 60_000  # milliseconds


@dataclass
class Guest:
    """A page of a report in a browser, and all that must not happen there."""

    page: "Page"
    site: Path
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "index.html") -> None:
        self.page.goto((self.site / path).as_uri())

    def unfold(self) -> None:
        self.page.locator("details").evaluate_all("folds => folds.forEach(fold => { fold.open = true })")

    def grave_faults(self) -> list[tuple[str, list[str]]]:
        """What axe finds serious or worse, everything unfolded: rules, and the elements that break them."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
        self.unfold()
        # Not fetching style sheets, which pages from disk may not.
        violations = axe.Axe().run(self.page, options={"preload": False}).response["violations"]
        grave = [fault for fault in violations if fault["impact"] in ("serious", "critical")]
        return [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in grave]

    def watch(self) -> None:
        """From now on, notes what the page complains about, and what it asks for that is no file of the report."""
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self._note_failure(request.url, request.failure))
        self.page.on("request", lambda request: self._note_request(request.url))

    def _note_failure(self, url: str, failure: str | None) -> None:
        # Leaving a page stops what it was loading, and a download is a page that is not gone to.
        if failure != "net::ERR_ABORTED":
            self.complaints.append(f"{failure}: {url}")

    def _note_request(self, url: str) -> None:
        if not url.startswith(self.site.as_uri()):
            self.complaints.append(f"request: {url}")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:
        # The sandbox does not start for root, as in a container.
        opened = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def invite(browser: "Browser") -> Iterator[Callable[..., Guest]]:
    """Opens a browser for a report's folder; fails in the end if there were complaints."""
    guests: list[Guest] = []

    def enter(site: Path, **options: Any) -> Guest:
        context = browser.new_context(viewport=WIDE, **options)
        context.set_default_timeout(PATIENCE)
        guests.append(Guest(context.new_page(), site))
        guests[-1].watch()
        return guests[-1]

    yield enter
    for guest in guests:
        guest.page.context.close()
    assert [complaint for guest in guests for complaint in guest.complaints] == []


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a finished run and an unfinished one with a failure."""
    folder = tmp_path_factory.mktemp("report")
    finished, unfinished = RunDirectory(folder / "finished"), RunDirectory(folder / "unfinished")
    write_run(finished, NUM_CLASSES)
    finished.mark_success()
    write_run(unfinished, 2)
    unfinished.quarantine("shard-x", {"attempts": 3, "traceback": 'Traceback\n  File "a"\nRuntimeError: no'})
    main([finished.url, unfinished.url, "--output", str(folder / "site")])
    return folder / "site"


def write_run(run: RunDirectory, num_committed: int) -> None:
    """Commits the first classes of a run that was asked for all of them."""
    axes = {"recipe": list(RECIPES), "seed": "0-2", "class_index": f"0-{NUM_CLASSES - 1}"}
    invocation = {"started": "2026-01-02T03:04:05+00:00", "command": ["sweeps/generate_all.py", "<i>"]}
    run.update_sweep(
        lambda existing: {
            "sweep": "generate",
            "schema_version": SCHEMA_VERSION,
            "settings": {"model": "lite0", "image_size": 32},
            "definitions": {f"recipe {name}": "0123456789abcdef" for name in RECIPES},
            "blocks": [{"axes": axes, "shard_size": 16}],
            "invocations": [invocation],
        }
    )
    cells = list(product(RECIPES, range(num_committed), SEEDS))
    image_file = run.put_images(
        "shard-0", 1, rows_table([image_row(*cell) for cell in cells], generate_images(4))
    )
    rows = [result_row(image_file, *cell) for cell in cells]
    run.commit("shard-0", rows_table(rows, generate_results(JUDGES)), image_file)


def image_row(recipe: str, class_index: int, seed: int) -> dict[str, Any]:
    encoded = BytesIO()
    color = [40 * seed + 60, 3 * class_index + 40, 120 if recipe == "default" else 200]
    Image.fromarray(np.full((32, 32, 3), color, np.uint8)).save(encoded, "PNG")
    return {
        "key": f"{recipe}/{class_index}/{seed}",
        "image": {"bytes": encoded.getvalue(), "path": f"{class_index}.png"},
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "step": NUM_STEPS,
        "logits": [0.0] * 4,
    }


def result_row(image_file: str, recipe: str, class_index: int, seed: int) -> dict[str, Any]:
    """The first judge is wrong about every tenth class, and about all of the second recipe."""
    wrong = {"lite1": class_index % 10 == 0 or recipe != "default", "lite2": False}
    return {
        "sweep": "generate",
        "model": "lite0",
        "model_digest": "d1",
        "shard_id": "shard-0",
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "image_file": image_file,
        "image_key": f"{recipe}/{class_index}/{seed}",
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "wnid": f"n{class_index:08d}",
        "class_name": HOSTILE.get(class_index, f"animal {class_index}"),
        "num_steps": NUM_STEPS,
        "batch_size": 2,
        "logit": 9.5,
        "probability": 0.9,
        "top1": class_index,
        "top5_hit": True,
        "judge_top1": {judge: class_index + missed for judge, missed in wrong.items()},
        "judge_top5_hit": {judge: not missed for judge, missed in wrong.items()},
        "total_variation": 0.1,
        "clipped_share": 0.0,
        "ripple": 0.25,
        "sharpness": -2.0,
        "logit_by_step": [float(step) for step in range(NUM_STEPS)],
        "loss_by_step": [-float(step) for step in range(NUM_STEPS)],
        "argmax_by_step": [class_index] * NUM_STEPS,
        "seconds": 0.5,
    }
