"""The PNG and the report of a view show the same numbers, in the same order, and the same pixels."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from analysis import load
from analysis.attacks import class_success, confusion, curves, minimum_epsilon, triptychs
from analysis.attacks.rows import in_asked_order, values_in_order
from analysis.attacks.stored_images import choose, load_images
from analysis.html.epsilon_charts import BOTTOM, HEIGHT, TOP, EpsilonChart
from analysis.html.pictures import Album
from analysis.html.site import open_site
from analysis.naming import class_names
from sweeps.schemas import SCHEMA_VERSION
from sweeps.store import RunDirectory

MakeRun = Callable[..., Path]

CONTENT: dict[str, Any] = {
    "methods": ("fgsm", "bim", "minimum_fgsm"),
    "checkpoints": ("untrained", "final"),
    "num_images": 12,
    "saved": (1, 2, 5),
    "clean": lambda index, label: (label + (index == 7)) % 3,
    "predicted": lambda method, index, epsilon, clean: (clean + int(epsilon * 255 > index)) % 3,
    "minimum": lambda index: None if index == 3 else (1 + index % 4) / 255,
}
# Neither sorted nor in the order of the shards.
ASKED = {"method": ["fgsm", "minimum_fgsm", "bim"], "checkpoint": ["untrained", "final"]}


@pytest.fixture
def run(make_attack_run: MakeRun) -> Path:
    """A run whose sweep.json names attacks and checkpoints in an order of its own."""
    made = make_attack_run(**CONTENT)
    RunDirectory(made).update_sweep(
        lambda existing: (
            {**(existing or {}), "schema_version": SCHEMA_VERSION} | {"blocks": [{"axes": ASKED}]}
        )
    )
    return made


def drawn_rates(axes: Axes) -> dict[str, list[float]]:
    """The rates of each line of a panel."""
    return {str(line.get_label()).split(":")[0]: list(line.get_ydata()) for line in axes.lines}


def reported_rates(chart: EpsilonChart) -> dict[str, list[float]]:
    """The rates that the points of an SVG stand for."""
    heights = {line.name: re.findall(r",(\S+)", line.points) for line in chart.lines}
    return {
        name: [1 - (float(height) - TOP) / (HEIGHT - TOP - BOTTOM) for height in found]
        for name, found in heights.items()
    }


def one_attack(table: pd.DataFrame, attack: str) -> pd.DataFrame:
    return table[(table["checkpoint"] == "final") & (table["attack"] == attack)]


def test_attacks_and_checkpoints_stand_in_the_order_of_the_sweep(run: Path) -> None:
    table = in_asked_order(curves.curve_table(load.results(run)), run)
    assert values_in_order(table["attack"]) == ["fgsm", "bim"]
    assert values_in_order(table["checkpoint"]) == ["untrained", "final"]


def test_curves(run: Path) -> None:
    table = in_asked_order(curves.curve_table(load.results(run)), run)
    success = table[table["measure"] == "success"]
    figure = curves.figure(success, panels="checkpoint", lines="attack", title="title")
    [by_attack, _] = curves.html(table, values_in_order(table["checkpoint"]))
    # Panels of a figure: all images, then those right to begin with; of a report the other way round.
    drawn = [figure.axes[place] for place in (1, 0, 3, 2)]
    assert len(by_attack.charts) == 4
    for axes, chart in zip(drawn, by_attack.charts, strict=True):
        assert axes.get_title(loc="left").split(",")[0] == chart.title.split(":")[0]
        ours, theirs = drawn_rates(axes), reported_rates(chart)
        assert list(ours) == list(theirs) == [entry.name for entry in by_attack.legend] == ["fgsm", "bim"]
        for name, rates in ours.items():
            # An SVG has one decimal place for the height.
            assert theirs[name] == pytest.approx(rates, abs=0.06 / (HEIGHT - TOP - BOTTOM))


def test_minimum_epsilon(run: Path) -> None:
    table = in_asked_order(minimum_epsilon.distribution(load.results(run)), run)
    figure = minimum_epsilon.figure(table, title="title")
    group = minimum_epsilon.html(table, values_in_order(table["checkpoint"]))
    assert [chart.title for chart in group.charts] == ["untrained", "final"]
    titled = [axes for axes in figure.axes if axes.get_title(loc="left")]
    for axes, chart in zip(titled, group.charts, strict=True):
        assert axes.get_title(loc="left") == chart.title
        [rates], [steps] = drawn_rates(axes).values(), reported_rates(chart).values()
        # A step of the SVG has two points; both go on to the right edge.
        assert steps[::2] == pytest.approx(rates[:-1], abs=0.06 / (HEIGHT - TOP - BOTTOM))
        assert chart.summary == f"minimum_fgsm reaches {100 * rates[-1]:.1f} %"


def test_class_success(run: Path) -> None:
    table = one_attack(class_success.class_table(load.results(run)), "fgsm")
    axes = class_success.figure(table, title="title").axes[0]
    report = class_success.html(table)
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.text for row, _ in report.rows]
    assert [label.get_text() for label in axes.get_xticklabels()] == [each.text for each in report.columns]
    percents = [cell.text for _, cells in report.rows for cell in cells]
    assert [text.get_text() for text in axes.texts] == percents
    assert len(set(percents)) > 2


def test_confusion(run: Path) -> None:
    frame = load.results(run)
    table = one_attack(confusion.confusion(frame), "bim").query("epsilon == 8 / 255")
    axes = confusion.figure(table, title="title").axes[0]
    report = confusion.html(table, class_names(frame))
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.text for row, _ in report.rows]
    counts = [cell.text for _, cells in report.rows for cell in cells if cell.text]
    assert [text.get_text() for text in axes.texts if text.get_text()] == counts
    shares = np.asarray(axes.images[0].get_array())
    levels = [[cell.level for cell in cells] for _, cells in report.rows]
    assert np.rint(10 * shares).astype(int).tolist() == levels


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 20)])
def test_triptychs(make_attack_run: MakeRun, tmp_path: Path, channels: int, size: int) -> None:
    run = make_attack_run(
        **CONTENT | {"methods": ("fgsm",), "checkpoints": ("final",)}, channels=channels, size=size
    )
    frame = load.results(run)
    rows, names = choose(frame, epsilons=[2 / 255]), class_names(frame)
    images = load_images(run, rows)
    figure = triptychs.figure(rows, images, names=names, title="title")
    drawn = [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]
    site = open_site(str(tmp_path / "report"))
    with site.writing():
        shown = triptychs.html(triptychs.table(rows, images, names), Album(site, "pictures"), names)
    pictures = [picture for triptych in shown for picture in triptych.pictures]
    assert len(drawn) == len(pictures) == 3 * 4
    for pixels, picture in zip(drawn, pictures, strict=True):
        with Image.open(BytesIO((tmp_path / "report" / picture.path).read_bytes())) as written:
            np.testing.assert_array_equal(np.asarray(written.convert("RGB")), pixels)
    texts = " ".join(text.get_text() for text in figure.axes[0].texts)
    for triptych in shown:
        assert triptych.title in texts
    confidences = [picture.caption.split(", ")[-1] for picture in pictures if picture.right is not None]
    for confidence in confidences:
        assert confidence.replace("\N{NO-BREAK SPACE}", "") in texts
    marks = [picture.right for picture in pictures if picture.right is not None]
    assert (texts.count("✓"), texts.count("✗")) == (marks.count(True) + 1, marks.count(False) + 1)
