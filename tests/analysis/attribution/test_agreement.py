from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.attribution import agreement as module
from analysis.attribution.agreement import agreement, agreement_figure, main
from analysis.attribution.rank_correlation import average_ranks

MakeRun = Callable[..., Path]

METHODS = ("gradient", "negative", "cubed", "absolute")


def related(method: str, index: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Maps whose ranks are the same, opposite, or those of the sizes."""
    values = np.random.default_rng(index).normal(size=shape)
    return {"gradient": values, "negative": -values, "cubed": values**3, "absolute": np.abs(values)}[method]


def mean_of(table: pd.DataFrame, method: str, other: str) -> float:
    return float(table.set_index(["method", "other"]).loc[(method, other), "mean"])


def test_ranks_of_ties_are_their_mean() -> None:
    values = np.array([[0.0, 5.0, 0.0, -1.0, 5.0, 0.0], [1, 2, 3, 4, 5, 6]])
    assert average_ranks(values).tolist() == [[2, 4.5, 2, 0, 4.5, 2], [0, 1, 2, 3, 4, 5]]
    draws = np.random.default_rng(0).integers(0, 9, (20, 100)).astype(float)
    assert np.array_equal(average_ranks(draws) + 1, pd.DataFrame(draws).rank(axis=1))


def test_same_ranks_agree_and_opposite_ones_disagree(make_attribute_run: MakeRun) -> None:
    table = agreement(make_attribute_run(methods=METHODS, values=related))
    assert mean_of(table, "gradient", "cubed") == pytest.approx(1, abs=1e-3)
    assert mean_of(table, "gradient", "negative") == pytest.approx(-1, abs=1e-3)
    assert abs(mean_of(table, "gradient", "absolute")) < 0.3
    assert (table["count"] == 6).all()
    assert len(table) == len(METHODS) ** 2


def test_of_absolute_values_opposite_signs_agree(make_attribute_run: MakeRun) -> None:
    table = agreement(make_attribute_run(methods=METHODS, values=related), absolute=True)
    assert mean_of(table, "gradient", "negative") == pytest.approx(1, abs=1e-3)
    assert mean_of(table, "gradient", "absolute") == pytest.approx(1, abs=1e-3)


def test_mean_and_interval_are_those_of_pandas_image_by_image(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(images=range(10), shape=(3, 6, 6))
    table = agreement(run).set_index(["method", "other"]).loc[("gradient", "occlusion")]
    correlations = []
    frame = pd.read_parquet(run / "results")
    for _, rows in frame.groupby("image_index"):
        maps = [np.stack(rows.loc[rows["method"] == m, "attribution"]).reshape(3, 36).astype(float).sum(0)
                for m in ("gradient", "occlusion")]  # fmt: skip
        correlations.append(pd.Series(maps[0]).rank().corr(pd.Series(maps[1]).rank()))
    assert table["mean"] == pytest.approx(np.mean(correlations), abs=1e-3)
    half_width = 2.262 * np.std(correlations, ddof=1) / np.sqrt(10)
    assert table["high"] - table["mean"] == pytest.approx(half_width, rel=0.01)


def test_portions_change_nothing_even_where_an_images_methods_lie_in_several_files(
    make_attribute_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_attribute_run(methods=METHODS[:2], values=related, shard_size=4, images=range(11))
    run = make_attribute_run(methods=METHODS[2:], values=related, shard_size=3, images=range(11))
    whole = agreement(run)
    monkeypatch.setattr(module, "_PORTION_VALUES", 2 * 4 * 64)
    pd.testing.assert_frame_equal(agreement(run), whole)
    assert (whole["count"] == 11).all()


def test_a_constant_attribution_and_a_missing_one_are_left_out(make_attribute_run: MakeRun) -> None:
    def values(method: str, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        return np.zeros(shape) if method == "cubed" and index == 2 else related(method, index, shape)

    make_attribute_run(methods=("gradient", "cubed"), values=values)
    run = make_attribute_run(methods=("negative",), values=values, images=range(4))
    counts = agreement(run).set_index(["method", "other"])["count"]
    assert counts[("gradient", "cubed")] == 5
    assert counts[("gradient", "negative")] == 4
    assert counts[("negative", "cubed")] == 3
    assert counts[("gradient", "gradient")] == 6


def test_a_sample_is_reproducible_and_follows_the_seed(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(images=range(30))
    first, again, other = (agreement(run, sample=5, seed=seed) for seed in (0, 0, 1))
    assert (first["count"] == 5).all()
    pd.testing.assert_frame_equal(first, again)
    assert not first["mean"].equals(other["mean"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sample": 1}, "sample is 1: give 2 images or more"),
        ({"methods": ["gradient"]}, "'gradient' alone"),
        ({"methods": ["gradient", "lime"]}, "method is 'lime': choose from gradient, occlusion"),
    ],
)
def test_a_mistake_names_what_would_be_accepted(
    make_attribute_run: MakeRun, asked: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(make_attribute_run(), **asked)


def test_the_figure_has_the_numbers_of_the_table(make_attribute_run: MakeRun) -> None:
    table = agreement(make_attribute_run(methods=METHODS, values=related))
    figure = agreement_figure(table, title="title")
    texts = [text.get_text().split("\n")[0] for text in figure.axes[0].texts]
    means = table.pivot(index="method", columns="other", values="mean").to_numpy().ravel()
    assert texts == [f"{round(mean, 2) + 0.0:.2f}" for mean in means]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == sorted(METHODS)


def test_command_line_writes_table_and_figure(
    make_attribute_run: MakeRun,
    make_training_run: MakeRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([str(make_attribute_run()), "--output", str(tmp_path / "out"), "--sample", "4"])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["agreement.csv", "agreement.parquet", "agreement.png"]
    assert pd.read_csv(tmp_path / "out" / "agreement.csv")["count"].tolist() == [4] * 4
    with pytest.raises(ValueError, match="kind 'attribute_training': accepted: 'attribute'"):
        main([str(make_training_run()), "--output", str(tmp_path / "out")])
