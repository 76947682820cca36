"""The CSV of guesses: written empty, filled in by a person or a spreadsheet, read with whatever came of it."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("number", "guess", "second", "certainty")
# What people call the columns when they write the file by hand.
_OTHER_NAMES = {"second_guess": "second", "first": "guess", "first_guess": "guess"}


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a person wrote of one picture; empty texts where nothing."""

    guess: str = ""
    second: str = ""
    certainty: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a CSV with anything in it: its number in the file and its cells by column."""

    number: int
    cells: Mapping[str, str]


def write_empty(numbers: Iterable[int], folder: Path) -> Path:
    """Write `guesses.csv` with a line for each number and nothing in it, and return its path."""
    path = folder / "guesses.csv"
    commas = "," * (len(COLUMNS) - 1)
    lines = [",".join(COLUMNS), *(f"{number}{commas}" for number in numbers)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_guesses(path: Path, known: Iterable[int]) -> dict[int, Guess]:
    """Return the guesses by number. Raise ValueError, with the line, for what cannot be meant.

    `known` are the numbers of the key. A number without a line, or with an empty one, has no guess.
    """
    numbers, known = {}, set(known)
    guesses: dict[int, Guess] = {}
    for line in read_lines(path, ("number", "guess"), _OTHER_NAMES):
        number = _number(path, line, known)
        if number in numbers:
            raise ValueError(
                f"{path}: number {number} stands in lines {numbers[number]} and {line.number}: keep one"
            )
        numbers[number] = line.number
        guesses[number] = Guess(**{name: line.cells.get(name, "") for name in COLUMNS[1:]})
    if not any(each.guess or each.second for each in guesses.values()):
        raise ValueError(f"{path} has no guess: fill in the column 'guess'")
    return guesses


def read_lines(path: Path, needed: Iterable[str], other_names: Mapping[str, str] | None = None) -> list[Line]:
    """Return the lines of a CSV that have anything in them, by the names of its columns in small letters.

    Spreadsheets write commas, semicolons or tabs, UTF-8 with a mark in front, UTF-16 or their country's code page:
    each is read. Raise ValueError for a missing column, and for a line with more cells than the header.
    """
    rows = [(number, cells) for number, cells in _rows(path) if any(cells)]
    if not rows:
        raise ValueError(f"{path} is empty: its first line names the columns {', '.join(needed)}")
    header = _header(path, rows[0][1], needed, other_names or {})
    for number, cells in rows[1:]:
        if any(cells[len(header) :]):
            raise ValueError(
                f"{path}: line {number} has {len(cells)} cells, the header {len(header)}: put a text with "
                "commas into double quotes"
            )
    return [Line(number=number, cells=dict(zip(header, cells, strict=False))) for number, cells in rows[1:]]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line and its cells."""
    content = path.read_bytes()
    if content.startswith(b"PK"):
        raise ValueError(f"{path} is a workbook of a spreadsheet: save it as CSV")
    text = _decoded(content)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        for row in rows:
            # A quote that is never closed would swallow the lines after it.
            if any("\n" in cell for cell in row):
                raise ValueError(
                    f"{path}: a double quote stays open up to line {rows.line_num}: close it in its own line"
                )
            yield rows.line_num, [" ".join(cell.split()) for cell in row]
    except csv.Error as error:
        raise ValueError(f"{path}: line {rows.line_num} cannot be read as CSV: {error}") from error


def _header(path: Path, cells: list[str], needed: Iterable[str], other_names: Mapping[str, str]) -> list[str]:
    names = [re.sub(r"[\s-]+", "_", cell.lower()) for cell in cells]
    names = [other_names.get(name, name) for name in names]
    for name in needed:
        if names.count(name) != 1:
            raise ValueError(
                f"{path} has {names.count(name)} columns {name!r}, its first line is {', '.join(cells)[:80]}: "
                f"accepted is one of each of {', '.join(needed)}"
            )
    return names


def _number(path: Path, line: Line, known: set[int]) -> int:
    written = line.cells["number"]
    # A spreadsheet may make 7.0 of it, a person #7 or 7.
    match = re.fullmatch(r"#?\s*(\d{1,9})(?:[.,]0*)?", written)
    if match is None or int(match[1]) not in known:
        raise ValueError(
            f"{path}: line {line.number} has the number {written!r}; accepted: {min(known)} to {max(known)}, "
            "as in the key"
        )
    return int(match[1])


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _delimiter(text: str) -> str:
    """Return what divides the cells of the first line that has anything."""
    first = next((line for line in text.splitlines() if line.strip(" ,;\t")), "")
    return max(",;\t", key=first.count)
