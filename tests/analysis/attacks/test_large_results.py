"""Attack runs larger than memory: counted some rows at a time, they give what they give as a whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import result_files
from analysis.attacks import class_success, confusion, minimum_epsilon, success_rates
from analysis.attacks import curves as attack_curves
from analysis.attacks import rows as attack_rows
from analysis.attacks.rows import COLUMNS, add_up, count_rows, load_rows, row_portions
from analysis.naming import describe
from analysis.result_files import concat_rows

MakeRun = Callable[..., Path]


@pytest.fixture
def run(make_attack_run: MakeRun) -> Path:
    """Shards of 3 to 9 rows: targeted and untargeted attacks, minima that are not always found."""
    common = {
        "checkpoints": ("untrained", "trained"),
        "num_images": 6,
        "shard_size": 3,
        "clean": lambda index, label: (label + (index == 5)) % 3,
        "predicted": lambda method, index, epsilon, clean: (clean + int(epsilon * 255 > index)) % 3,
        "predicted_u8": lambda method, index, epsilon, clean: (clean + int(epsilon * 255 > index + 2)) % 3,
        "zero_gradient": lambda index: index == 4,
        "minimum": lambda index: None if index == 3 else (1 + index % 4) / 255,
    }
    return make_attack_run(methods=("fgsm", "minimum_fgsm", "pgd"), targets=(None, 1), **common)


@pytest.fixture(params=[40])
def small_portions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many rows at a time; shards are opened one by one."""
    monkeypatch.setattr(result_files, "_PORTION_ROWS", request.param)
    monkeypatch.setattr(result_files, "_NUM_RESULT_READERS", 1)
    monkeypatch.setattr(attack_rows, "_FEW", 20)
    return int(request.param)


def test_portions_are_all_rows_in_order(run: Path, small_portions: int) -> None:
    portions = list(row_portions(run))
    assert len(portions) > 2
    assert max(map(len, portions)) <= small_portions
    pd.testing.assert_frame_equal(concat_rows(portions), load_rows(run))


@pytest.mark.parametrize("others", [["b", "a"], [None]])
def test_a_column_may_lack_any_value_in_some_of_the_rows(others: list[str | None]) -> None:
    with_none = pd.DataFrame({"image_file": pd.Categorical([None, None])})
    frame = concat_rows([with_none, pd.DataFrame({"image_file": pd.Categorical(others)}), with_none])
    values = frame["image_file"].astype(object)
    assert values.where(values.notna(), None).tolist() == [None, None, *others, None, None]


TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "attack_curves": attack_curves.curve_table,
    "class_success": class_success.class_table,
    "confusion": confusion.confusion,
}
MODULES = {"attack_curves": attack_curves, "class_success": class_success, "confusion": confusion}
FILES = {"attack_curves": "attack-curves", "class_success": "class-success", "confusion": "confusion"}


@pytest.mark.parametrize("name", TABLES)
def test_a_command_writes_the_table_that_its_function_makes_of_all_rows(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_portions: int, name: str
) -> None:
    # What is drawn of the table does not depend on how it was counted.
    monkeypatch.setattr(MODULES[name], "save_pages", lambda figures, folder: iter(()))
    MODULES[name].main([str(run), "--output", str(tmp_path / "figures")])
    written = pd.read_parquet(tmp_path / "figures" / f"{FILES[name]}.parquet")
    expected = TABLES[name](load_rows(run))
    assert len(expected) > 20
    pd.testing.assert_frame_equal(written, expected)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--by", "method,target,epsilon,label"),
        ("--by", "shard_id,target"),
        ("--by", "checkpoint,method,target", "--rounded", "--denominator", "initially_correct"),
    ],
)
def test_success_rates_are_those_of_all_rows(
    run: Path, tmp_path: Path, small_portions: int, options: Sequence[str]
) -> None:
    success_rates.main([str(run), "--output", str(tmp_path / "rates.parquet"), *options])
    frame = load_rows(run, [*COLUMNS, "shard_id"])
    by = ["checkpoint", "method", "target", "epsilon"] if not options else options[1].split(",")
    written = pd.read_parquet(tmp_path / "rates.parquet")
    rounded = "--rounded" in options
    denominator = "initially_correct" if rounded else "all"
    expected = success_rates.success_rate(frame, by, denominator, rounded=rounded)
    pd.testing.assert_frame_equal(written[expected.columns], expected, check_dtype=False)


def test_targeted_and_untargeted_attacks_in_different_portions_are_not_pooled(
    run: Path, small_portions: int
) -> None:
    with pytest.raises(ValueError, match="pools targeted and untargeted attacks: add target to it"):
        success_rates.main([str(run), "--by", "checkpoint"])


def test_minima_are_those_of_all_rows(run: Path, small_portions: int) -> None:
    kept, whole = minimum_epsilon.load_minimum_rows(run), load_rows(run)
    assert set(kept["method"]) == {"minimum_fgsm"}
    for table in (minimum_epsilon.distribution, minimum_epsilon.quartiles):
        pd.testing.assert_frame_equal(table(kept), table(whole), check_categorical=False)


def test_a_run_without_minima_is_refused_by_the_names_of_all_its_methods(
    make_attack_run: MakeRun, small_portions: int
) -> None:
    run = make_attack_run(methods=("fgsm", "pgd", "bim"))
    rows = minimum_epsilon.load_minimum_rows(run)
    with pytest.raises(ValueError, match="method of the rows is bim, fgsm, pgd: a minimum ε needs"):
        minimum_epsilon.distribution(rows)


def test_what_the_rows_are_of_is_said_of_all_of_them(run: Path, small_portions: int) -> None:
    _, subject = count_rows(run, attack_curves.curve_counts, attack_curves.BY)
    assert subject == describe(load_rows(run)) == "fashion_deep on fashion_mnist test, 6 images"


def test_counts_add_up_by_columns_whose_values_may_be_missing() -> None:
    parts = [
        pd.DataFrame({"name": pd.Categorical(["b", "a"]), "target": [1.0, np.nan], "count": [1, 2]}),
        pd.DataFrame({"name": pd.Categorical(["c", "a"]), "target": [1.0, np.nan], "count": [3, 4]}),
    ]
    total = add_up(parts, ["name", "target"])
    assert total["name"].cat.categories.to_list() == ["a", "b", "c"]
    assert total["count"].to_list() == [6, 1, 3]


def test_memory_is_bounded_however_many_files_there_are(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No file is opened before its turn: a consumer that stops has caused few reads.
    opened: list[str] = []
    read = result_files.read_rows

    def counting(directory: object, name: str, columns: Sequence[str], later: Mapping[str, str]) -> object:
        opened.append(name)
        return read(directory, name, columns, later)

    monkeypatch.setattr(result_files, "read_rows", counting)
    monkeypatch.setattr(result_files, "_PORTION_ROWS", 1)
    monkeypatch.setattr(result_files, "_NUM_RESULT_READERS", 2)
    portions: Iterator[pd.DataFrame] = row_portions(run)
    next(portions)
    assert len(opened) == 2
