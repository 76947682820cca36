"""Tables as text: numbers on the right, and no sign of a name has a meaning of its own."""

import pandas as pd
import pytest

from analysis.attacks.norms import NAMES
from analysis.text_tables import FORMATS, text_table

LINF, L2 = NAMES["linf"], NAMES["l2"]
TABLE = pd.DataFrame(
    {
        "Attack": ["pgd_l2", "50% & {x}|y"],
        "ε": ["8/255", "\N{EN DASH}"],
        "Norm": [LINF, L2],
    }
)


def test_latex_is_a_tabular_with_the_rules_of_booktabs() -> None:
    assert text_table(TABLE, "latex").splitlines() == [
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"Attack & $\varepsilon$ & Norm \\",
        r"\midrule",
        r"pgd\_l2 & 8/255 & $\ell_\infty$ \\",
        r"50\% \& \{x\}\textbar{}y & -- & $\ell_2$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_dollars_side_by_side_are_not_taken_for_formulas() -> None:
    assert r"\$\$$\varepsilon$" in text_table(pd.DataFrame({"a": ["$$ε"]}), "latex")


def test_markdown_has_a_ruler_and_escaped_names() -> None:
    assert text_table(TABLE, "markdown").splitlines() == [
        "| Attack | ε | Norm |",
        "| --- | ---: | --- |",
        rf"| pgd\_l2 | 8/255 | {LINF} |",
        "| 50% & \\{x\\}\\|y | \N{EN DASH} | \N{SCRIPT SMALL L}₂ |",
    ]


def test_csv_quotes_what_has_a_comma() -> None:
    assert text_table(pd.DataFrame({"a": ["1, 2"], "b": [3]}), "csv") == 'a,b\n"1, 2",3'


@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_cannot_command_a_terminal_or_add_a_row(kind) -> None:
    table = pd.DataFrame({"a": ["x\x1b[2J\ny"]})
    text = text_table(table, kind)
    assert "\x1b" not in text


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format is 'html': choose from text, markdown, latex, csv"):
        text_table(TABLE, "html")
