import csv
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from analysis.claims import UNTESTED, claims_table, to_csv, to_html, to_markdown
from analysis.claims.__main__ import main
from analysis.command_line import exit_status
from sweeps.store import RunDirectory

MakeRun = Callable[..., Path]

HOSTILE = "=1+1|<script>alert(1)</script>`*_[x](javascript:1)\n\x1b[2J\"'\u202eabc"


@pytest.fixture
def run(make_attack_run: MakeRun) -> Path:
    return make_attack_run(
        checkpoints=("trained",), methods=("fgsm", "max_norm"), epsilons=(0, 0.01, 8 / 255)
    )


@pytest.fixture
def hostile(run: Path) -> pd.DataFrame:
    table = claims_table([run])
    return table.assign(**dict.fromkeys(("subject", "differs", "needs"), HOSTILE), run=table["run"] + HOSTILE)


class Elements(HTMLParser):
    """Which elements and attributes a page has, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_holds_names_as_text_alone(hostile: pd.DataFrame) -> None:
    page = Elements(str(to_html(hostile)))
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    known = {"h3", "bdi", "p", "div", "table", "thead", "tbody", "tr", "th", "td", "br", "small"}
    assert page.names == known | {"strong", "code", "ul", "li"}
    assert page.attributes == {"class", "tabindex", "role", "aria-label", "scope"}


def test_markdown_keeps_its_columns_and_has_no_foreign_markup(hostile: pd.DataFrame) -> None:
    text = to_markdown(hostile)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) > len(hostile) / 2
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "<script" not in text
    assert "\x1b" not in text
    assert "[x](" not in text


def test_csv_is_the_table_and_no_spreadsheet_runs_it(hostile: pd.DataFrame) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(hostile))))
    assert len(rows) == len(hostile)
    assert {row["subject"][:2] for row in rows} == {"'="}
    # Numbers stay numbers, the negative ones too.
    read = pd.read_csv(StringIO(to_csv(hostile)))
    assert read["value"].tolist() == pytest.approx(hostile["value"].tolist(), nan_ok=True)


def test_each_rendering_has_each_claim_its_rule_and_what_was_left_out(run: Path) -> None:
    table = claims_table([run])
    page = Elements(str(to_html(table))).text
    plain = to_markdown(table).replace("\\", "").replace("&gt;", ">")
    for text in (page, plain):
        assert all(statement in text for statement in table["statement"])
        assert all(rule in text for rule in table["rule"])
        assert all(why in text for _, _, why in UNTESTED)
        assert "stand-in" in text
    assert set(re.findall(r"\d+ (reproduced|not reproduced|undecided|not measured)", plain)) >= {
        "not measured"
    }


def test_the_command_writes_three_files_or_prints_markdown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(run), "--output", str(tmp_path / "claims")])
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / "claims" / name) for name in ("claims.md", "claims.csv", "claims.html")]
    main([str(run)])
    assert capsys.readouterr().out == Path(written[0]).read_text(encoding="utf-8")


def test_no_run_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "RUN" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["missing", "unknown", "twice"])
def test_a_wrong_run_is_one_line(
    run: Path, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if wrong == "unknown":
        RunDirectory(run).update_sweep(lambda existing: {"sweep": "bake"})
    given = {"missing": [tmp_path / "nowhere"], "unknown": [run], "twice": [run, run]}[wrong]
    assert exit_status(lambda: main([str(each) for each in given])) == 2
    expected = {
        "missing": "nowhere",
        "unknown": "sweep of kind 'bake': accepted: activations, attack,",
        "twice": "2 times",
    }
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert expected[wrong] in error
