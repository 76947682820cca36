"""What a part finds, as lines of JSON while it runs, and as the tables at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something that is right or wrong."""

    name: str
    passed: bool
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Work a second by our code, beside the same work in a bare loop and in that loop's CUDA graph.

    `beside` names another rate, whose bare loop and graph these results are compared with.
    """

    name: str
    unit: str
    ours: float
    bare: float | None = None
    graph: float | None = None
    beside: str | None = None


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number without a limit. `places` says where in the code it comes from."""

    name: str
    value: float
    unit: str = ""
    places: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A part, or a piece of one, that did not come to its end."""

    name: str
    error: str


Result = Check | Rate | Number | Failure
KINDS: dict[str, type[Result]] = {each.__name__: each for each in (Check, Rate, Number, Failure)}


def to_record(result: Result) -> dict[str, Any]:
    """Return the result as JSON holds it."""
    return {"kind": type(result).__name__} | asdict(result)


def from_record(record: dict[str, Any]) -> Result:
    """Return the result of a record."""
    return KINDS[record["kind"]](**{name: value for name, value in record.items() if name != "kind"})


def in_one_line(result: Result) -> str:
    """Return what a person who watches the run reads."""
    match result:
        case Check():
            return f"{'ok  ' if result.passed else 'FAIL'} {result.name}: {result.note}"
        case Rate():
            return f"     {result.name}: {_significant(result.ours)} {result.unit}, {_compared(result, {})}"
        case Number():
            return f"     {result.name}: {_significant(result.value)} {result.unit}"
        case Failure():
            return f"FAIL {result.name}: {result.error.strip().splitlines()[-1]}"


def markdown(title: str, results: Sequence[Result]) -> str:
    """Return the tables that go into benchmarks/README.md."""
    rates = {each.name: each for each in results if isinstance(each, Rate)}
    sections = (
        ("speed", "unit", "ours", "/ bare loop", "/ its CUDA graph"),
        [(each.name, each.unit, _significant(each.ours), *_ratios(each, rates)) for each in rates.values()],
    )
    numbers = [
        (each.name, f"{_significant(each.value)} {each.unit}".rstrip())
        for each in results
        if isinstance(each, Number)
    ]
    checks = [
        (each.name, "yes" if each.passed else "**no**", each.note)
        for each in results
        if isinstance(each, Check)
    ]
    failures = [
        (each.name, each.error.strip().splitlines()[-1]) for each in results if isinstance(each, Failure)
    ]
    tables = [
        _table(*sections),
        _table(("number", "measured"), numbers),
        _table(("check", "passed", "measured"), checks),
        _table(("did not end", "error"), failures),
    ]
    return "\n".join([f"### {title}\n", *filter(None, tables)])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *lines, ""]) if lines else ""


def _ratios(rate: Rate, rates: dict[str, Rate]) -> tuple[str, str]:
    against = rates.get(rate.beside or "", rate)
    return tuple(f"{rate.ours / each:.2f}" if each else "" for each in (against.bare, against.graph))  # type: ignore[return-value]


def _compared(rate: Rate, rates: dict[str, Rate]) -> str:
    bare, graph = _ratios(rate, rates)
    return f"{bare or '-'} of the bare loop, {graph or '-'} of its CUDA graph"


def _significant(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
