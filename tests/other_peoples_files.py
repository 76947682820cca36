"""The table of other people's files: what each of them gives, right values or one line that says what is accepted.

It is read from the tests' own tables, so that it says what is tested. `python -m tests.other_peoples_files` writes
`docs/reference/other-peoples-files.md`.
"""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "other-peoples-files.md"
RIGHT = "right values"
LONGEST = 110  # characters of a line that is quoted
INTRODUCTION = """\
# Other people's files

What sweeps make of files as people have them: the right values, or one line that names the file and says what
would be accepted. Nothing is guessed in silence. Each row is a test, which makes the file for itself; `python -m
tests.other_peoples_files` writes this page from the tests.
"""


@dataclass(frozen=True)
class Case:
    """A file, and what comes of it."""

    file: str
    verdict: str


@dataclass(frozen=True)
class Section:
    """Cases of one kind: the module of their tests, and which of its tables are of right and of refused ones."""

    title: str
    module: str
    right: tuple[str, ...] = ()
    refused: tuple[tuple[str, Callable[[Any], str]], ...] = ()  # tables, and the message in their values
    named: Callable[[Any], str] = str
    prefixes: Mapping[str, str] = field(default_factory=dict)  # by table, where its names say too little

    def cases(self) -> list[Case]:
        """Return the cases of the module's tables."""
        module = importlib.import_module(f"tests.attrib_core.{self.module}")
        found = [
            Case(self._name(table, each), RIGHT) for table in self.right for each in getattr(module, table)
        ]
        for table, message in self.refused:
            content = getattr(module, table)
            rows = content.items() if isinstance(content, dict) else ((each, each) for each in content)
            found += [
                Case(self._name(table, key), f"refused: …{quoted(message(value))}") for key, value in rows
            ]
        return found

    def _name(self, table: str, key: Any) -> str:
        return f"{self.prefixes.get(table, '')}{self.named(key)}".replace("|", "or")


def quoted(pattern: str) -> str:
    """Return a regular expression as the text that it is for, in one short line."""
    text = re.sub(r"\\d\+", "N", pattern).replace("^", "").replace("$", "").replace(".*", " … ")
    text = " ".join(re.sub(r"\\(.)", r"\1", text).split()).replace("|", " or ").replace("`", "'")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def first_names(row: Any) -> str:
    """Return the class names of a row of the label tables, in short."""
    names = [ascii(each)[1:-1] for each in row[0][:3]]
    more = f" and {len(row[0]) - 3} more" if len(row[0]) > 3 else ""
    return f"{', '.join(names)}{more}; classifier of {len(row[1].class_names)} classes"


SECTIONS = (
    Section(
        "Checkpoints",
        "test_checkpoint_files",
        ("READ", "NORMALIZED", "FACTORED", "HEADS"),
        (
            ("FORKS", lambda row: f"holds 2 sets of weights; accepted is FILE#{' or FILE#'.join(row[1])}"),
            ("UNCLEAR", lambda row: "give them as --mean and --std"),
            ("REFUSED", lambda row: row[2]),
        ),
        prefixes={
            "NORMALIZED": "mean and std: ",
            "HEADS": "head: ",
            "FORKS": "two sets: ",
            "UNCLEAR": "mean and std: ",
        },
    ),
    Section("Files of weights that are none", "test_weights_files", (), (("BAD_FILES", lambda row: row[1]),)),
    Section("Networks", "test_wrap", ("LOGITS",), (("WRONG_NETWORKS", lambda row: row[1]),)),
    Section(
        "Networks from a user's code",
        "test_models_by_reference_mistakes",
        (),
        (("MISTAKES", lambda row: row[2]),),
    ),
    Section("Parquet files", "test_parquet_columns", ("READ",), (("REFUSED", lambda row: row[1]),)),
    Section("Splits of files", "test_splits", ("LAYOUTS",), (), lambda row: ", ".join(row[0])),
    Section("Image folders", "test_datasets_folders", (), (("REFUSED", lambda row: row[1]),)),
    Section(
        "Class names of folders and files",
        "test_label_matching",
        ("RIGHT",),
        (("WRONG", lambda row: row[2]),),
        first_names,
    ),
    Section("Data sets from a user's code: labels", "test_datasets_by_reference", ("LABELS",)),
    Section("Data sets from a user's code: mistakes", "test_dataset_mistakes", (), (("MISTAKES", str),)),
)


def table() -> dict[str, list[Case]]:
    """Return all cases by the title of their section."""
    return {section.title: section.cases() for section in SECTIONS}


def page(cases_of: dict[str, list[Case]]) -> str:
    """Return the page's content."""
    return "\n".join([INTRODUCTION, summary(cases_of), *_lines(cases_of)]) + "\n"


def summary(cases_of: dict[str, list[Case]]) -> str:
    """Return the sentence that counts the cases."""
    cases = [case for each in cases_of.values() for case in each]
    num_right = sum(case.verdict == RIGHT for case in cases)
    return f"{len(cases)} files: {num_right} give right values, {len(cases) - num_right} one line."


def _lines(cases_of: dict[str, list[Case]]) -> Iterable[str]:
    for title, cases in cases_of.items():
        yield f"\n## {title}\n\n| file | what comes of it |\n|---|---|"
        for case in cases:
            verdict = (
                case.verdict
                if case.verdict == RIGHT
                else f"refused: `{case.verdict.removeprefix('refused: ')}`"
            )
            yield f"| {case.file} | {verdict} |"


if __name__ == "__main__":
    PAGE.write_text(page(table()), encoding="utf-8")
    print(summary(table()))
