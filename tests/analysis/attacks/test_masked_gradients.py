"""Signs of masked gradients: vanished gradients above one in a hundred, steps that do not help."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import load
from analysis.attacks import curves, masked_gradients, minimum_epsilon
from analysis.attacks.masked_gradients import (
    Outcomes,
    Signs,
    gradient_table,
    more_steps_help,
    vanished_warnings,
)
from analysis.attacks.rows import load_rows
from analysis.attacks.tables import AttackTables
from analysis.run import open_run
from analysis.success_rates import main as success_rates_main
from sweeps.schemas import attack_results
from sweeps.store import ImageFailure, RunDirectory, rows_table

MakeRun = Callable[..., Path]
EPSILON = 8 / 255


def counted(run: Path) -> Signs:
    signs = Signs()
    signs.add(load_rows(run))
    return signs


class TestVanishedGradients:
    def test_images_that_were_right_to_begin_with_are_counted(self, make_attack_run: MakeRun) -> None:
        """Image 5 is wrong already, so that its zero gradient masks nothing."""
        run = make_attack_run(
            methods=("fgsm", "minimum_fgsm"),
            clean=lambda index, label: (label + (index == 5)) % 3,
            zero_gradient=lambda index: index in (1, 2, 5),
            gradient_fallback=lambda index: index == 2,
        )
        table = gradient_table(load_rows(run)).set_index("attack")
        for attack in ("fgsm", "minimum_fgsm"):
            row = table.loc[attack]
            assert row[["images", "vanished", "zero_gradient", "gradient_fallback"]].tolist() == [5, 2, 2, 1]
            assert row["share"] == 2 / 5

    @pytest.mark.parametrize(("num_zero", "warned"), [(0, False), (1, False), (2, True)])
    def test_more_than_one_in_a_hundred_is_a_warning(
        self, make_attack_run: MakeRun, num_zero: int, warned: bool
    ) -> None:
        run = make_attack_run(num_images=100, shard_size=100, zero_gradient=lambda index: index < num_zero)
        assert bool(counted(run).warnings()) == warned

    def test_the_warning_says_how_many_and_of_which_attacks(self, make_attack_run: MakeRun) -> None:
        run = make_attack_run(
            methods=("fgsm", "max_norm"),
            num_images=4,
            zero_gradient=lambda index: index < 3,
            gradient_fallback=lambda index: index < 2,
        )
        (line,) = counted(run).warnings()
        assert line.startswith(
            "Masked gradients, final: the gradient of cross-entropy is exactly zero for up to 75.0% of the images "
            "that were right to begin with (fgsm, max_norm)."
        )
        assert "was followed instead for up to 50.0%" in line

    def test_report_figure_and_command_say_the_same(
        self, make_attack_run: MakeRun, section_page: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = make_attack_run(methods=("fgsm", "minimum_fgsm"), zero_gradient=lambda index: index < 3)
        (line,) = AttackTables(open_run(run)).warnings
        assert line in " ".join(section_page(run).text.split())
        masked_gradients.main([str(run), "--output", str(tmp_path / "tables")])
        assert line in capsys.readouterr().out
        written = pd.read_csv(tmp_path / "tables" / "vanished-gradients.csv")
        pd.testing.assert_frame_equal(
            written,
            gradient_table(load_rows(run)).astype({"checkpoint": str, "attack": str}),
            check_dtype=False,
        )

    @pytest.mark.parametrize("module", [curves, minimum_epsilon])
    def test_figures_carry_the_warning_in_short_lines(
        self, make_attack_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any
    ) -> None:
        run = make_attack_run(methods=("fgsm", "minimum_fgsm"), zero_gradient=lambda index: index < 3)
        drawn: list[str] = []
        monkeypatch.setattr(
            module,
            "save_pages",
            lambda figures, folder: (
                [drawn.extend(text.get_text() for text in figure.texts) for _, figure in figures] and []
            ),
        )
        module.main([str(run), "--output", str(tmp_path / "figures")])
        assert "Masked gradients, final: the gradient of cross-entropy" in " ".join(drawn)
        assert max(map(len, drawn)) < 130


class TestSteps:
    @pytest.mark.parametrize(
        ("row", "helps"),
        [
            ({"images": 1000, "one_step": 400, "gained": 200, "lost": 5}, True),
            (
                {"images": 1000, "one_step": 400, "gained": 0, "lost": 0},
                False,
            ),  # no more, though 600 are left
            ({"images": 1000, "one_step": 20, "gained": 0, "lost": 0}, True),  # ε so small that all is linear
            ({"images": 1000, "one_step": 20, "gained": 2, "lost": 5}, True),  # noise
            ({"images": 1000, "one_step": 150, "gained": 1, "lost": 40}, False),  # fewer, by more than noise
            ({"images": 1000, "one_step": 1000, "gained": 0, "lost": 0}, True),  # nothing is left to gain
            ({"images": 20, "one_step": 10, "gained": 0, "lost": 3}, True),  # too few to say
            ({"images": 0, "one_step": 0, "gained": 0, "lost": 0}, True),
        ],
    )
    def test_paired_counts_decide(self, row: dict[str, int], helps: bool) -> None:
        assert more_steps_help(row) == helps

    def test_images_are_paired_and_targets_left_out(self, make_attack_run: MakeRun) -> None:
        misled = {"fgsm": {0, 1, 2}, "bim": {1, 2, 3, 4}, "pgd": set()}
        run = make_attack_run(
            methods=tuple(misled),
            targets=(None, 1),
            num_images=8,
            clean=lambda index, label: (label + (index == 2)) % 3,
            predicted=lambda method, index, epsilon, clean: (
                (clean + (index in misled[method] and epsilon > 0)) % 3
            ),
        )
        table = Outcomes()
        frame = load_rows(run)
        for start in range(0, len(frame), 7):  # portion by portion
            table.add(frame.iloc[start : start + 7])
        found = table.table()
        assert found["attack"].tolist() == ["bim", "bim", "pgd", "pgd"]
        columns = ["images", "one_step", "many_steps", "gained", "lost"]
        # Image 2 is wrong to begin with.
        assert found[columns].drop_duplicates().to_numpy().tolist() == [[7, 2, 3, 2, 1], [7, 2, 0, 0, 2]]
        assert found["helps"].all()

    def test_steps_that_lose_images_are_a_warning(self, make_attack_run: MakeRun) -> None:
        run = make_attack_run(
            methods=("fgsm", "bim", "pgd"),
            num_images=30,
            shard_size=30,
            predicted=lambda method, index, epsilon, clean: (
                (clean + int(epsilon > 0 and method != "pgd")) % 3
            ),
        )
        (line,) = counted(run).warnings()
        assert line.startswith(
            "Masked gradients, final: the steps of pgd mislead no more images than the one step of fgsm at ε = "
            "2/255, 8/255, though it leaves some."
        )


class TestOlderRuns:
    def without_column(self, run: Path, paths: list[Path]) -> None:
        for path in paths:
            pq.write_table(pq.read_table(path).drop_columns(["gradient_fallback"]), path)

    @pytest.mark.parametrize("every", [1, 2])
    def test_a_run_without_the_column_in_all_or_some_rows_is_read(
        self, make_attack_run: MakeRun, every: int, section_page: Any
    ) -> None:
        run = make_attack_run(methods=("fgsm", "bim", "minimum_fgsm"), zero_gradient=lambda index: index == 1)
        self.without_column(run, sorted((run / "results").iterdir())[::every])
        assert gradient_table(load_rows(run))["zero_gradient"].tolist() == [1, 1, 1]
        assert gradient_table(load.results(run))["gradient_fallback"].tolist() == [0, 0, 0]
        assert "Masked gradients" in section_page(run).text


class TestSuccessRatesCommand:
    @pytest.mark.parametrize(
        ("by", "said"), [((), True), (("--by", "method"), False), (("--by", "label"), True)]
    )
    def test_methods_that_are_left_out_are_named(
        self, make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str], by: tuple[str, ...], said: bool
    ) -> None:
        run = make_attack_run(methods=("fgsm", "minimum_fgsm"))
        success_rates_main([str(run), *by])
        assert ("Left out: minimum_fgsm, whose ε is a result; see " in capsys.readouterr().out) == said

    def test_nothing_is_said_where_nothing_is_left_out(
        self, make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str]
    ) -> None:
        success_rates_main([str(make_attack_run())])
        assert "Left out" not in capsys.readouterr().out


def test_images_that_failed_are_in_no_rate_and_said(
    make_attack_run: MakeRun, capsys: pytest.CaptureFixture[str], section_page: Any
) -> None:
    run = make_attack_run(num_images=4)
    failure = ImageFailure(
        image_index=7, key="test/7", reason="its gradient holds NaN", sha256="0" * 64, readable=True
    )
    RunDirectory(run).commit("shard-a", rows_table([], attack_results()), None, [failure])
    success_rates_main([str(run)])
    line = "1 image failed under some attack and is not among the images of its rates: test/7: its gradient"
    assert line in capsys.readouterr().out
    assert line in " ".join(section_page(run).text.split())


def test_a_share_of_no_image_is_zero(make_attack_run: MakeRun) -> None:
    frame = load_rows(make_attack_run(clean=lambda index, label: (label + 1) % 3))
    table = gradient_table(frame)
    assert table["share"].tolist() == [0]
    assert not np.isnan(table["share"]).any()
    assert vanished_warnings(table) == []
