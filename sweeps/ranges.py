"""Lists and ranges as one string without spaces or quotes, so that they survive `ray submit`.

`0-31,291` for integers, `0,0.25/255,1/255,0.01` for numbers, `fgsm,max_norm` for names, and `all`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrib_core.references import parse_reference
from attrib_core.user_code import canonical

MOST_VALUES = 10_000_000  # a typo such as 0-99999999999 must not fill the memory
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_integers(field: str, text: str, *, limit: int | None = None) -> tuple[int, ...]:
    """Return the sorted integers of `0-31,291`; `all` needs a limit, below which every element must lie.

    Raises ValueError that names the field, the element and what would be accepted.
    """
    accepted = "integers and ranges such as 0-31,291" + (
        f", or all; the last is {limit - 1}" if limit else ""
    )
    if text == "all" and limit is not None:
        return tuple(range(limit))
    values: list[int] = []
    for element in _elements(field, text, accepted):
        match = _RANGE.fullmatch(element)
        if match is None:
            raise ValueError(f"{field}: {element!r} is not an integer or a range; accepted: {accepted}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{field}: the range {element!r} runs backwards; accepted: {accepted}")
        if limit is not None and last >= limit:
            raise ValueError(f"{field}: {element!r} is past the last, {limit - 1}; accepted: {accepted}")
        if last - first >= MOST_VALUES:
            raise ValueError(f"{field}: the range {element!r} has more than {MOST_VALUES:,} values")
        values.extend(range(first, last + 1))
    _refuse_duplicates(field, values)
    return tuple(sorted(values))


def parse_numbers(field: str, text: str, *, low: float, high: float) -> tuple[float, ...]:
    """Return the numbers of `0,0.25/255,0.01` in [low, high], in the order given; a fraction is divided.

    Raises ValueError that names the field, the element and what would be accepted.
    """
    accepted = f"numbers and fractions such as 0.01,2/255 in [{low:g}, {high:g}]"
    values = [_number(field, element, accepted) for element in _elements(field, text, accepted)]
    for element, value in zip(text.split(","), values, strict=True):
        if not low <= value <= high:
            raise ValueError(f"{field}: {element.strip()!r} is out of range; accepted: {accepted}")
    _refuse_duplicates(field, values)
    return tuple(values)


def parse_names(field: str, text: str, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return names in the order given; `all` means every known one."""
    if text == "all" and known is not None:
        return tuple(known)
    accepted = "names separated by commas" + (f", of {', '.join(known)}, or all" if known else "")
    names = _elements(field, text, accepted)
    for name in names:
        if known is not None and name not in known:
            raise ValueError(f"{field}: unknown name {name!r}; accepted: {accepted}")
    _refuse_duplicates(field, names)
    return tuple(names)


def parse_references(field: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return references in the order given, in their canonical text; `all` means every known name."""
    if text == "all":
        return tuple(known)
    accepted = f"references separated by commas, such as {', '.join(known)}, or all"
    elements = _elements(field, text, accepted)
    references = [str(canonical(parse_reference(field, element))) for element in elements]
    _refuse_duplicates(field, references)
    return tuple(references)


def refuse_same(field: str, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError for two references, with their typed settings, that only look different: 10 and 010."""
    seen: list[tuple[str, str, Mapping[str, Any]]] = []
    for text, typed in settings.items():
        target = parse_reference(field, text).target
        for other, *same in seen:
            if same == [target, typed]:
                raise ValueError(f"{field}: {other!r}, as {text!r}, is listed twice; list each value once")
        seen.append((text, target, typed))


def format_integers(values: Iterable[int]) -> str:
    """Return the shortest string of sorted values that `parse_integers` takes: 0-31,291."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _number(field: str, element: str, accepted: str) -> float:
    numerator, slash, denominator = element.partition("/")
    try:
        return float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{field}: {element!r} is not a number; accepted: {accepted}") from None


def _elements(field: str, text: str, accepted: str) -> list[str]:
    elements = [element.strip() for element in text.split(",")]
    if not all(elements):
        raise ValueError(f"{field}: {text!r} has an empty element; accepted: {accepted}")
    return elements


def _refuse_duplicates(field: str, values: Sequence[object]) -> None:
    if len(set(values)) != len(values):
        seen: set[object] = set()
        twice = next(value for value in values if value in seen or seen.add(value))  # type: ignore[func-returns-value]
        raise ValueError(f"{field}: {twice!r} is listed twice; list each value once")
