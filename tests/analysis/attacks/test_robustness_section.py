"""The report's sections over all attacks of a run and over several runs; none where there is nothing to show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.attacks.norms import NAMES
from analysis.attacks.robustness import sections
from analysis.html.site import Site, open_site
from analysis.run import open_runs

MakeRun = Callable[..., Path]
Report = Callable[..., Path]
ReadPage = Callable[[Path], Any]
DescribeRun = Callable[..., None]

IMAGES = {"dataset": "fashion_mnist", "split": "test", "data_digest": "d"}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Makes the sections of some runs alone, their PNG figures, which take most of the time, left empty."""
    monkeypatch.setattr(Site, "figure", lambda self, path, figure: self.put(path, b""))

    def make(*places: Path) -> Path:
        runs, site = open_runs(list(map(str, places))), open_site(str(tmp_path / "report"))
        with site.writing():
            site.finish("index.html", title="t", runs=runs, sections=sections(runs, site), origins=[])
        return tmp_path / "report"

    return make


@pytest.fixture
def runs(make_attack_run: MakeRun, describe_run: DescribeRun) -> tuple[Path, Path]:
    """Two finished runs of two checkpoints; fgsm misleads image 0 and pgd image 1 at 8/255, in the second more."""
    made = []
    for number, name in enumerate(("first", "second")):
        run = make_attack_run(
            name,
            methods=("fgsm", "pgd", "minimum_fgsm"),
            checkpoints=("early", "late"),
            predicted=lambda method, index, epsilon, clean, number=number: (
                (clean + 1) % 3
                if epsilon >= 8 / 255 and (index == (method == "pgd") or (number and index == 4))
                else clean
            ),
        )
        describe_run(run, settings=IMAGES)
        made.append(run)
    return made[0], made[1]


def add_victim(run: Path, name: str) -> None:
    """Write the columns of a victim that is misled on image 0 at every ε."""
    for path in (run / "results").glob("*.parquet"):
        table = pq.read_table(path)
        labels, images = table["label"].to_numpy(), table["image_index"].to_numpy()
        columns = {"prediction": np.where(images == 0, (labels + 1) % 3, labels), "clean_prediction": labels}
        for fact, values in columns.items():
            table = table.append_column(f"victim_{fact}.{name}", pa.array(values, pa.int32()))
        margin = pa.array(np.zeros(len(labels)), pa.float32())
        pq.write_table(table.append_column(f"victim_margin.{name}", margin), path)


def test_the_page_shows_the_worst_case_curves_medians_and_training(
    runs: tuple[Path, Path], report: Report, page: ReadPage
) -> None:
    folder = report(runs[0])
    found = page(folder / "index.html")
    assert {"run-0-robustness", "run-0-worst", "run-0-security", "run-0-medians", "run-0-training"} <= {
        held.get("id") for _, held in found.elements
    }
    # Six images are right; image 0 is misled by fgsm, and all have the minimum 1/255.
    rows = found.rows()
    assert [
        "8/255",
        "6",
        "100.0 %",
        "",
        "61.0 to 100.0 %",
        "6",
        "100.0 %",
        "0.0 %",
        "fgsm 1, minimum_fgsm 5",
    ] in rows
    assert any(row[-2:] == ["100.0 %", "6"] and "1.00/255" in row for row in rows)
    written = pd.read_csv(folder / "run-0" / "worst-case.csv")
    assert set(written["method"]) == {"any method", "fgsm", "pgd", "minimum_fgsm"}


def test_the_page_has_nothing_that_the_run_lacks(
    make_attack_run: MakeRun, report: Report, page: ReadPage
) -> None:
    found = page(report(make_attack_run(methods=("fgsm",))) / "index.html")
    ids = {held.get("id") for _, held in found.elements}
    assert "run-0-security" in ids
    assert not ids & {"run-0-worst", "run-0-medians", "run-0-training", "run-0-transfer", "transfer"}
    assert "Comparison" not in found.text


def test_two_runs_on_the_same_images_are_compared(
    runs: tuple[Path, Path], report: Report, page: ReadPage
) -> None:
    found = page(report(*runs) / "index.html")
    assert "Comparison: first and second" in found.text
    assert f"any method, {NAMES['linf']}" in found.text
    assert "Any method: an image counts as misled if" in found.text
    # At 8/255 fgsm misleads image 0 in both runs, and image 4 in the second alone.
    assert ["8/255", "6", "16.7 %", "33.3 %", "-16.7", "-53.7 to +26.2", "0 / 1", "0.5"] in [
        row[-8:] for row in found.rows()
    ]


def test_runs_on_other_images_are_not_compared(
    runs: tuple[Path, Path], report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    describe_run(runs[1], settings=IMAGES | {"split": "train"})
    assert "Comparison" not in page(report(*runs) / "index.html").text


def test_transfer_is_a_matrix_of_sources_by_victims(
    runs: tuple[Path, Path], report: Report, page: ReadPage
) -> None:
    for run in runs:
        add_victim(run, "other<b>")
    folder = report(*runs)
    found = page(folder / "index.html")
    assert "Transfer between models" in found.text
    assert "other<b>" in found.text
    # Six images are right for both; one of them misleads the victim.
    assert "173\N{EN DASH}56n 6" in found.path.read_text(encoding="utf-8").replace("<small>", "").replace(
        "</small>", ""
    )
    written = pd.read_csv(folder / "run-0" / "transfer-of-all-runs.csv")
    assert set(written["source"]) == {"fashion_deep (first)", "fashion_deep (second)"}
    assert (folder / "run-1" / "transfer.csv").exists()


def test_an_unfinished_run_says_what_it_lacks(
    runs: tuple[Path, Path], report: Report, page: ReadPage, describe_run: DescribeRun
) -> None:
    (runs[0] / "_SUCCESS").unlink()
    for path in (runs[0] / "results").glob("shard-00[45]-*.parquet"):
        path.unlink()
    axes = {"method": ["fgsm", "pgd", "minimum_fgsm", "bim"], "checkpoint": ["early", "late"]}
    axes |= {"target": ["untargeted"], "image_index": "0-5", "epsilon": [0.0, 2 / 255, 8 / 255]}
    describe_run(runs[0], finished=False, blocks=[{"axes": axes, "shard_size": 4}])
    text = " ".join(page(report(runs[0]) / "index.html").text.split())
    assert "Without any row yet, and so left out: bim." in text
