"""What a report says of the original's claims: a few words, a page, and its files."""

import csv
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from analysis.claims import CLAIMS, claims_table, to_csv, to_markdown
from analysis.claims.table import verdicts

MakeRun = Callable[..., Path]
Report = Callable[..., Path]
ReadPage = Callable[[Path], Any]

# An attack that claims are about.
MEASURED: dict[str, Any] = {
    "checkpoints": ("trained",),
    "methods": ("fgsm", "max_norm"),
    "epsilons": (0, 0.01, 8 / 255),
}
HOSTILE = "<b>&'\" onload=alert(1)"


def words(found: Any) -> str:
    return re.sub(r"\s+", " ", found.text)


def test_all_runs_together_have_one_section_and_one_page(
    make_run: MakeRun, make_attack_run: MakeRun, report: Report, page: ReadPage
) -> None:
    runs = make_run("generated"), make_attack_run("attacked", **MEASURED)
    folder = report(*runs)
    index, claims = page(folder / "index.html"), page(folder / "claims.html")
    assert [held["href"] for held in index.classes("home")] == ["#top"]
    assert [held for tag, held in index.elements if tag == "section" and held.get("id") == "claims"]
    assert "index.html#claims" in claims.links()
    table = claims_table([str(run) for run in runs])
    measured = verdicts(table[table["verdict"] != "not measured"])
    assert set(measured["run"]) == {"attacked"}
    assert f"The original document makes {len(CLAIMS)} claims" in words(index)
    assert f"These runs measure {measured['claim'].nunique()} of them" in words(index)
    for verdict, count in measured["verdict"].value_counts().items():
        assert f"{count} {verdict}" in words(index)
    for statement in table["statement"]:
        assert " ".join(statement.split()) in words(claims)


def test_the_files_are_those_of_the_command_for_claims(
    make_run: MakeRun, report: Report, page: ReadPage
) -> None:
    run = make_run()
    folder, table = report(run), claims_table([str(run)])
    assert (folder / "claims.csv").read_text() == to_csv(table)
    assert (folder / "claims.md").read_text() == to_markdown(table)
    assert len(list(csv.reader(StringIO((folder / "claims.csv").read_text())))) == len(table) + 1
    for path in ("index.html", "claims.html"):
        assert {"claims.csv", "claims.md"} <= set(page(folder / path).links())


def test_a_run_that_measures_nothing_has_a_sentence_and_no_list(
    make_run: MakeRun, report: Report, page: ReadPage, describe_run: Callable[..., None]
) -> None:
    run = make_run()
    describe_run(run, sweep="distill")
    index = page(report(run) / "index.html")
    assert "This run measures none of them" in words(index)
    assert not index.classes("claim-list")


def test_hostile_names_stay_text(make_attack_run: MakeRun, report: Report, page: ReadPage) -> None:
    found = page(report(make_attack_run(HOSTILE, **MEASURED)) / "claims.html")
    assert f"run {HOSTILE}" in words(found)
    assert [tag for tag, _ in found.elements].count("b") == 0
