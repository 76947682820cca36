"""Methods called by references: rows that hold a minimum, names with signs that files do not like."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analysis import load
from analysis.attacks import curves, minimum_epsilon
from analysis.attacks.rows import is_minimum
from analysis.attacks.success_rates import success_rate
from sweeps.store import RunDirectory
from sweeps.store.webdataset import export_webdataset

MakeRun = Callable[..., Path]
STEP, NAMED_LIKE_ONE = "folder/mine.py:step", "minimum_norm.py:attack"
ON_GRID = ("pgd:num_steps=10", "pgd:num_steps=40", "bim:step_size=1/255", NAMED_LIKE_ONE)
LATER = ["l1", "l0", "num_forwards", "num_backwards", "seeks_minimum"]


@pytest.fixture
def run(make_attack_run: MakeRun) -> Path:
    """Misled: no image by 10 steps, all by 40 from ε = 2/255."""
    return make_attack_run(
        methods=[*ON_GRID, STEP],
        seeks_minimum=lambda method: method == STEP,
        minimum=lambda index: None if index == 0 else index / 255,
        predicted=lambda method, index, epsilon, clean: (
            (clean + 1) % 3 if method == "pgd:num_steps=40" and epsilon > 0 else clean
        ),
        saved=(0, 1),
    )


def test_a_minimum_is_told_by_its_rows_and_not_by_a_name(run) -> None:
    frame = load.results(run)
    assert set(frame[is_minimum(frame)]["method"]) == {STEP}
    minima = minimum_epsilon.quartiles(minimum_epsilon.load_minimum_rows(run))
    assert minima["attack"].tolist() == [STEP]
    assert minima["found"].tolist() == [5 / 6]


def test_two_settings_of_a_method_are_two_curves(run) -> None:
    table = success_rate(load.results(run), by=["method", "epsilon"]).set_index(["method", "epsilon"])
    assert table.loc[("pgd:num_steps=10", 2 / 255), "rate"] == 0
    assert table.loc[("pgd:num_steps=40", 2 / 255), "rate"] == 1
    assert set(curves.curve_table(load.results(run))["attack"]) == set(ON_GRID)


def test_figures_of_all_methods_are_files_of_different_names(run, tmp_path) -> None:
    minimum_epsilon.main([str(run), "--output", str(tmp_path / "out")])
    curves.main([str(run), "--output", str(tmp_path / "out")])
    names = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(names) > 4
    assert not any(sign in name for name in names for sign in ":=/")


def test_a_report_names_them(run, section_page) -> None:
    text = section_page(run).text
    for method in (*ON_GRID, STEP):
        assert method in text


def test_an_export_has_a_file_for_each_image(run, tmp_path) -> None:
    frame = load.results(run)
    assert export_webdataset(RunDirectory(run), str(tmp_path / "tar")) == frame["image_key"].nunique()


def test_directories_without_the_columns_are_read_as_before(make_attack_run) -> None:
    run = make_attack_run(methods=["fgsm", "minimum_fgsm"])
    for path in (run / "results").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(LATER), path)
    frame = load.results(run)
    assert set(frame[is_minimum(frame)]["method"]) == {"minimum_fgsm"}
    assert len(minimum_epsilon.load_minimum_rows(run)) == 6
    assert set(success_rate(frame)["method"]) == {"fgsm"}
