"""Sections of real attacks and modifications as a person meets them: read, unfolded, downloaded, on a phone."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.attacks.success_rates import DENOMINATORS, success_rate
from analysis.report.__main__ import main

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}

Visit = Any  # a guest, see conftest.py

NUM_IMAGES, NUM_EPSILONS, METHODS = 200, 12, ("fgsm", "bim", "minimum_fgsm")
ATTACK = f"sweeps/attack_all.py --images 0-{NUM_IMAGES - 1} --methods {','.join(METHODS)} --save-images 0-31"
MODIFY = "sweeps/modify_all.py --images 0-11"


@dataclass
class Made:
    """The folder of a report, and the runs that it is of."""

    site: Path
    attack: Path
    modify: Path


@pytest.fixture(scope="session")
def attack_report(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The report of an attack and of a modification of Fashion-MNIST, just run."""
    folder = tmp_path_factory.mktemp("attacks")
    environment = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for command, name in ((ATTACK, "attack"), (MODIFY, "modify")):
        words = [*command.split(), "--output", str(folder / name), "--address", "local", "--num-workers", "1"]
        made = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stderr
    main([str(folder / "attack"), str(folder / "modify"), "--output", str(folder / "site")])
    return Made(folder / "site", folder / "attack", folder / "modify")


@pytest.fixture
def visit(invite: Callable[..., Visit], attack_report: Made) -> Visit:
    """The index page in a browser."""
    visit = invite(attack_report.site, accept_downloads=True)
    visit.open()
    return visit


def attacks(visit: Visit) -> Any:
    return visit.page.locator("#run-0")


def modified(visit: Visit) -> Any:
    return visit.page.locator("#run-1")


def test_the_downloaded_table_is_what_pandas_gives(visit: Visit, attack_report: Made, tmp_path: Path) -> None:
    with visit.page.expect_download() as download:
        attacks(visit).get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "rates.csv")
    rows = pd.read_parquet(attack_report.attack / "results")
    expected = pd.concat(
        success_rate(rows, ["method", "epsilon"], denominator).assign(denominator=denominator)
        for denominator in DENOMINATORS
    )
    by = ["denominator", "method", "epsilon"]
    written = pd.read_csv(tmp_path / "rates.csv").sort_values(by, ignore_index=True)
    assert len(written) == 2 * 2 * NUM_EPSILONS
    pd.testing.assert_frame_equal(
        written, expected.sort_values(by, ignore_index=True)[written.columns], check_dtype=False
    )


def test_the_downloaded_targets_are_what_pandas_counts(
    visit: Visit, attack_report: Made, tmp_path: Path
) -> None:
    with visit.page.expect_download() as download:
        modified(visit).get_by_role("link", name="targets as CSV", exact=True).click()
    download.value.save_as(tmp_path / "targets.csv")
    rows = pd.read_parquet(attack_report.modify / "results")
    others = rows[rows["target"] != rows["label"]]
    expected = (others["prediction"] == others["target"]).groupby(others["target"]).agg(["size", "mean"])
    written = pd.read_csv(tmp_path / "targets.csv").set_index("target")
    assert written["count"].to_list() == expected["size"].to_list()
    assert written["rate"].to_list() == pytest.approx(expected["mean"].to_list())


def test_charts_and_tables_show_the_rates(visit: Visit, attack_report: Made) -> None:
    row = attacks(visit).get_by_role("row").filter(has_text="64/255").first
    rows = pd.read_parquet(attack_report.attack / "results")
    [rate] = success_rate(
        rows[(rows["method"] == "fgsm") & (rows["epsilon"] == 64 / 255)], denominator="initially_correct"
    )["rate"]
    assert f"{100 * rate:.1f} %" in row.inner_text()
    chart = attacks(visit).get_by_role("img", name="Success against ε, trained: images right").first
    assert f"fgsm from 0.0 % at 0/255 to {100 * rate:.1f} % at 64/255" in chart.get_attribute("aria-label")
    assert chart.locator("polyline").count() == 2
    assert chart.locator("polyline").first.evaluate("line => getComputedStyle(line).fill") == "none"


def test_images_load_when_an_attack_is_unfolded_by_keyboard(visit: Visit) -> None:
    folds = attacks(visit).locator("details.fold")
    assert folds.count() == len(METHODS)
    second = folds.nth(1)
    pictures = second.locator("img")
    assert pictures.count() == 8 * 3, "an iterated attack stores no direction, and the page says so"
    assert not pictures.first.is_visible()
    second.locator("summary").focus()
    visit.page.keyboard.press("Enter")
    pictures.first.scroll_into_view_if_needed()
    visit.page.wait_for_function("image => image.naturalWidth === 28", arg=pictures.first.element_handle())
    # Dots as they are: a quarter of a shirt is not smoothed away.
    assert pictures.first.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(visit: Visit, scheme: Any) -> None:
    visit.page.emulate_media(color_scheme=scheme)
    assert visit.grave_faults() == []


def test_letters_on_every_colour_of_a_share_can_be_read(visit: Visit) -> None:
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        contrasts = visit.page.evaluate(CONTRASTS)
        assert len(contrasts) == 11
        assert min(contrasts) >= 4.5, (scheme, contrasts)


# Contrast (WCAG 2) of the letters of each level; colours that the browser mixed are read back from a canvas.
CONTRASTS = """() => {
  const table = document.createElement("table");
  table.className = "heat";
  document.querySelector("main").append(table);
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const luminance = (color) => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (let level = 0; level <= 10; level += 1) {
    const cell = table.insertRow().insertCell();
    cell.className = `cell h${level}`;
    const style = getComputedStyle(cell);
    const [low, high] = [luminance(style.color), luminance(style.backgroundColor)].sort((a, b) => a - b);
    found.push((high + 0.05) / (low + 0.05));
  }
  table.remove();
  return found;
}"""


def test_nothing_scrolls_sideways_on_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size(PHONE)
    visit.unfold()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    wide = visit.page.locator("#run-0 .scroll, #run-1 .scroll")
    assert wide.count() > 5
    for region in wide.all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("role") == "region"


def test_printed_tables_are_whole(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    tall = visit.page.locator("#run-0 .scroll.tall")
    assert tall.evaluate("region => region.scrollHeight <= region.clientHeight")
