"""A table as text: for a terminal, for a page of Markdown and, with booktabs, for a paper in LaTeX."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import pandas as pd

from sweeps.store.terminal_text import terminal_text

Format = Literal["text", "markdown", "latex", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

# Letters of a prediction's ε or norm that LaTeX needs a macro for.
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "ε": r"$\varepsilon$",
    "\N{SCRIPT SMALL L}": r"$\ell$",
    "∞": r"$_\infty$",
    "₁": r"$_1$",
    "₂": r"$_2$",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~$"}


def text_table(table: pd.DataFrame, kind: Format) -> str:
    """Return a table of texts and numbers, under the names of its columns, without a line end.

    Numbers stand as they are, so format them before. `latex` is a `tabular` with the rules of booktabs. Raises
    ValueError for an unknown format.
    """
    if kind not in FORMATS:
        raise ValueError(f"format is {kind!r}: choose from {', '.join(FORMATS)}")
    writers: dict[Format, Callable[[pd.DataFrame], str]] = {
        "text": lambda rows: rows.to_string(index=False),
        "markdown": _markdown,
        "latex": _latex,
        "csv": _csv,
    }
    return terminal_text(writers[kind](table))


def _csv(table: pd.DataFrame) -> str:
    buffer = io.StringIO()
    table.to_csv(buffer, index=False)
    return buffer.getvalue().rstrip("\n")


def _markdown(table: pd.DataFrame) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    ruler = line(["---:" if numeric else "---" for numeric in _are_numbers(table)])
    rows = [line([_escaped(cell, _MARKDOWN) for cell in row]) for row in _cells(table)]
    return "\n".join([line([_escaped(name, _MARKDOWN) for name in table]), ruler, *rows])


def _latex(table: pd.DataFrame) -> str:
    def line(cells: Sequence[str]) -> str:
        # Two formulas side by side are one: `$$` would begin another kind of formula.
        return " & ".join(re.sub(r"(?<!\\)\$\$", "", _escaped(cell, _LATEX)) for cell in cells) + r" \\"

    columns = "".join("r" if numeric else "l" for numeric in _are_numbers(table))
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        line(list(table)),
        r"\midrule",
        *(line(row) for row in _cells(table)),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[" ".join(str(cell).split()) for cell in row] for row in table.itertuples(index=False)]


def _are_numbers(table: pd.DataFrame) -> list[bool]:
    """Return which columns stand on the right: those that begin with a digit in every row."""
    return [
        bool(table[name].astype(str).str.match("[-+<\N{MINUS SIGN}]?[0-9]|\N{EN DASH}").all())
        and len(table) > 0
        for name in table
    ]


def _escaped(text: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(character, character) for character in text)
