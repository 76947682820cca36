"""The PNG figures of attribution and training show the numbers of the report: colours, order, digits and axes."""

import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from analysis.attribution.agreement import NUM_LEVELS, agreement, agreement_figure, agreement_html
from analysis.attribution.attributions import attribution_rows
from analysis.attribution.grids import attribution_grid, grid_figure, grid_html
from analysis.attribution.scores import attribution_scores, completeness_gaps, score_figure, score_html
from analysis.html.site import Site, open_site
from analysis.html.step_curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from analysis.training.recapitulation import recapitulation_html
from analysis.training.similarity import MEASURES

METHODS = ["occlusion", "gradient", "abs_gradient"]  # in the order in which they were asked for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A report that is being written."""
    site = open_site(str(tmp_path / "report"))
    with site.writing():
        yield site


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def cells(html: str) -> list[list[str]]:
    """The texts of the cells of each table row."""
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in row] for row in found]


def grid_rows() -> tuple[pd.DataFrame, NDArray[np.float64], dict[str, NDArray[np.uint8]]]:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            {
                "image_index": index,
                "image_key": f"image-{index}",
                "key": f"test/{index}",
                "method": method,
                "label": index,
                "prediction": 0,
                "confidence": 0.875 + index / 1000,
            }
            for index in range(3)
            for method in METHODS
        ]
    )
    values = generator.normal(size=(len(rows), 3, 6, 7)) * 1e-9
    values[rows["method"] == "abs_gradient"] = np.abs(values[rows["method"] == "abs_gradient"])
    images = {f"image-{index}": generator.integers(0, 256, (6, 7, 3), dtype=np.uint8) for index in range(3)}
    return rows, values, images


@pytest.mark.parametrize("overlay", [False, True])
def test_a_grid_has_the_same_colours_in_the_same_order(
    site: Site, monkeypatch: pytest.MonkeyPatch, overlay: bool
) -> None:
    written: dict[str, bytes] = {}
    monkeypatch.setattr(site, "put", lambda path, content: written.update({path: content}) or path)
    rows, values, images = grid_rows()
    grid = attribution_grid(rows, values, images, names={0: "0 zero"}, methods=METHODS)
    html = grid_html(grid, site, "run-0/maps", label="maps")
    figure = grid_figure(grid, title="title", overlay=overlay)
    drawn = [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]
    kind = "-overlay" if overlay else ""
    paths = [
        f"run-0/maps/{row:03d}-{part}.png"
        for row in range(3)
        for part in ("image", *(f"{column:02d}{kind}" for column in range(3)))
    ]
    assert len(drawn) == len(paths)
    for pixels, path in zip(drawn, paths, strict=True):
        assert np.array_equal(pixels, np.asarray(Image.open(BytesIO(written[path])).convert("RGB")))
    assert [text for text in texts(figure) if text in METHODS] == METHODS
    assert cells(html)[0] == ["Image", *METHODS]
    confidences = [f"{value:.1f}" for value in (87.5, 87.6, 87.7)]
    assert [re.findall(r"(\d+\.\d) %", row[0])[0] for row in cells(html)[1:]] == confidences
    assert [text[-5:-1] for text in texts(figure) if text.startswith("image ")] == confidences


def related(method: str, index: int, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    values, other = np.random.default_rng(index).normal(size=(2, *shape))
    return {"occlusion": values, "gradient": -values, "abs_gradient": values + other}[method]


def test_agreement_has_the_same_digits_shades_and_order(
    site: Site, make_attribute_run: Callable[..., Path]
) -> None:
    table = agreement(make_attribute_run(methods=METHODS, values=related))
    figure = agreement_figure(table, title="title", methods=METHODS)
    html = agreement_html(table, site, "run-0", methods=METHODS)
    rows = cells(html)
    assert rows[0][1:] == METHODS
    assert [row[0] for row in rows[1:]] == METHODS
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == METHODS
    assert [label.get_text() for label in axes.get_xticklabels()] == METHODS
    drawn = np.array([text.get_text().replace("\n", "") for text in axes.texts]).reshape(3, 3)
    for row, column in zip(*np.nonzero(~np.eye(3, dtype=bool)), strict=True):
        assert drawn[row, column] == rows[1 + row][1 + column]
    levels = [
        int(number) * (-1 if sign == "n" else 1)
        for sign, number in re.findall(r'class="cell ([np])(\d+)"', html)
    ]
    [shares] = [np.asarray(image.get_array()) for image in axes.images]
    assert np.rint(NUM_LEVELS * shares[~np.eye(3, dtype=bool)]).astype(int).tolist() == levels
    assert len(set(levels)) == 3
    assert axes.images[0].get_clim() == (-1, 1)


def test_scores_have_the_same_means_intervals_and_axis(
    site: Site, make_attribute_run: Callable[..., Path]
) -> None:
    run = make_attribute_run(
        methods=METHODS,
        scores=lambda method, index: (0.2 + 0.1 * METHODS.index(method) + 0.01 * index, 0.7 - 0.02 * index),
        gap=lambda method, index: index / 7 if method != "occlusion" else None,
    )
    rows = attribution_rows(run)
    tables = attribution_scores(rows), completeness_gaps(rows)
    figure = score_figure(*tables, title="title", methods=METHODS)
    html = score_html(*tables, site, "run-0", methods=METHODS, subject="subject")
    table = cells(html)[1:]
    assert [row[0] for row in table] == METHODS
    ranges = re.findall(r'class="range" x1="([\d.]+)" x2="([\d.]+)"', html)
    for panel, column in ((0, 1), (1, 4)):
        axes = figure.axes[panel]
        assert [text.get_text() for text in axes.texts] == [row[column] for row in table]
        [bars] = axes.collections
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        assert [f"{low:.3f} to {high:.3f}" for low, high in ends] == [row[column + 2] for row in table]
        shown = np.array(ranges[panel::2], dtype=float)
        assert np.abs(100 * ends - shown).max() <= 0.05 + 1e-9
        # The picture in the table runs from 0 to 1 as well.
        assert axes.get_xlim() == (0, 1)
        lines = [line for line in axes.lines if line.get_marker() == "o"]
        assert lines[0].get_ydata().tolist() == [0, 1, 2]
        assert axes.yaxis_inverted()
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == METHODS[1:]
    medians = [line.get_xdata()[0] for line in figure.axes[2].lines if line.get_marker() == "o"]
    assert [row[7].startswith(f"{median:.3g}") for row, median in zip(table[1:], medians, strict=True)]


def test_recapitulation_has_the_same_curves_bands_levels_and_axis(
    site: Site, make_training_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: dict[str, Any] = {}
    monkeypatch.setattr(site, "figure", lambda path, figure: figures.update({path: figure}) or path)
    run = make_training_run(methods=("loss_gradient",), summed=())
    html = recapitulation_html(run, attribution_rows(run), site, "run-0")
    [figure] = figures.values()
    axes = figure.axes[0]
    low, high = axes.get_ylim()

    def places(steps: NDArray[np.float64], values: NDArray[np.float64]) -> list[str]:
        """Points of the report's chart, in units of its view box."""
        x = LEFT + (WIDTH - LEFT - RIGHT) * steps / 8
        y = TOP + (HEIGHT - TOP - BOTTOM) * (high - values) / (high - low)
        return [f"{across:.0f},{down:.0f}" for across, down in zip(x, y, strict=True)]

    curves = re.findall(r'<polyline class="c\d" points="([^"]+)"><title>([^<]+)', html)
    bands = re.findall(r'<polygon class="band c\d" points="([^"]+)"', html)
    levels = re.findall(r'<line class="level c\d" x1="44" x2="632" y1="([\d.]+)"', html)
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [line.get_label() for line in solid] == [name.replace("&#39;", "'") for _, name in curves]
    assert len(solid) == len(dashed) == len(bands) == len(levels) == len(MEASURES)
    for number, line in enumerate(solid):
        assert places(line.get_xdata(), line.get_ydata()) == curves[number][0].split()
        [outline] = axes.collections[number].get_paths()
        corners = set(places(*outline.vertices.T))
        assert corners == set(bands[number].split())
        level = float(places(np.zeros(1), np.array(dashed[number].get_ydata()[:1]))[0].partition(",")[2])
        assert abs(level - float(levels[number])) <= 0.56
