"""References: how everything is written that a user chooses by name, and what settings mean.

    name[:part…][:key=value…]

`pgd:num_steps=40`, `timm:resnet50.a1_in1k`, `foolbox:L2DeepFoolAttack:steps=50`, `my_model.py:make_net:depth=20`,
`my_package.attacks:square`. A reference has no spaces, quotes, commas or brackets, so that it survives shells and
`ray submit`. Its settings belong to it: `pgd:num_steps=10` and `pgd:num_steps=40` are two methods. A setting may
be a URL, colons and all: `mlflow:tracking_uri=http://host:5000:run_name=first`.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

FORM = "name[:part][:key=value], without spaces, quotes, commas and brackets"
_FORBIDDEN = re.compile(r"[\s'\"`,()\[\]{}<>|;&$!*?\\]")
_FRACTION = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)/(\d[\d.]*)")
_WORDS = {"true": True, "false": False, "none": None}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


@dataclass(frozen=True)
class Reference:
    """A name, its further parts and its settings, which are still text, in the order of their keys."""

    parts: tuple[str, ...]  # at least the name
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The first part: a name of ours, a family such as `timm`, a file or a module."""
        return self.parts[0]

    @property
    def rest(self) -> tuple[str, ...]:
        """The parts after the name."""
        return self.parts[1:]

    @property
    def target(self) -> str:
        """The reference without its settings."""
        return ":".join(self.parts)

    def __str__(self) -> str:
        """Return the canonical text, which is what a row's column holds."""
        return ":".join([*self.parts, *(f"{key}={value}" for key, value in self.settings)])


def parse_reference(field: str, text: str) -> Reference:
    """Return the reference that a text spells; ValueError names the field, the text and what is wrong."""
    if not isinstance(text, str):
        raise ValueError(f"{field}: a {type(text).__name__}; accepted is text: {FORM}")
    if found := _FORBIDDEN.search(text):
        raise ValueError(f"{field}={text!r}: {found[0]!r} cannot be in it; accepted: {FORM}")
    elements = _elements(text)
    parts = tuple(element for element in elements if "=" not in element)
    if not all(parts) or not parts or "=" in elements[0]:
        raise ValueError(f"{field}={text!r}: it has an empty part; accepted: {FORM}")
    if any("=" in element for element in elements[: len(parts)]):
        raise ValueError(f"{field}={text!r}: a part follows a setting; accepted: {FORM}")
    settings: dict[str, str] = {}
    for element in elements[len(parts) :]:
        key, _, value = element.partition("=")
        if not key.isidentifier() or not value:
            raise ValueError(f"{field}={text!r}: {element!r} is no setting; accepted: key=value")
        if key in settings:
            raise ValueError(f"{field}={text!r}: {key} is given twice; give it once")
        settings[key] = value
    return Reference(parts, tuple(sorted(settings.items())))


def reference_text(use: Mapping[str, Any]) -> str:
    """Return the text of YAML's `{use: pgd, num_steps: 40}`. Raises ValueError for a mapping without `use`."""
    if not isinstance(use.get("use"), str):
        raise ValueError(f"{dict(use)}: accepted is a mapping such as {{use: pgd, num_steps: 40}}")
    settings = [f"{key}={_yaml_value(value)}" for key, value in use.items() if key != "use"]
    return ":".join([use["use"], *settings])


def typed_settings(
    field: str, reference: Reference, target: Callable[..., Any], given: Collection[str] = ()
) -> dict[str, Any]:
    """Return the reference's settings with the types that the target's signature says.

    `given` are the parameters that the caller fills. A parameter without a type has that of its default, or else
    that of a number, `true`, `false`, `none` or a word. Numbers may be fractions: `2/255`. Raises ValueError
    naming a setting that the target does not have, a value that it cannot take, or one that it needs and lacks.
    """
    parameters = _parameters(target)
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    free = {
        name: each
        for name, each in parameters.items()
        if name not in given and each.kind not in (*_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }
    typed: dict[str, Any] = {}
    for key, text in reference.settings:
        if key not in free and (key in given or not takes_any):
            raise ValueError(f"{field}={str(reference)!r}: {unknown('setting', key, free)}")
        parameter = free.get(key)
        typed[key] = _guess(text) if parameter is None else _typed(field, reference, key, text, parameter)
    missing = [name for name, each in free.items() if each.default is each.empty and name not in typed]
    if missing:
        raise ValueError(
            f"{field}={str(reference)!r}: it needs {missing[0]}; accepted is {reference}:{missing[0]}=VALUE"
        )
    return typed


def typed_fields(field: str, reference: Reference, kind: type, names: Collection[str]) -> dict[str, Any]:
    """Return the reference's settings, which are some of the fields of a dataclass: those called `names`.

    Raises ValueError for another setting, and for a value that the dataclass refuses.
    """
    others = {each.name for each in dataclasses.fields(kind)} - set(names)
    typed = typed_settings(field, reference, kind, given=others)
    try:
        kind(**typed)
    except ValueError as error:
        raise ValueError(f"{field}={str(reference)!r}: {error}") from None
    return typed


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the words for a name that is not known: near matches, or all that there are if they are few."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=4)
    if near:
        return f"no {what} {name!r}; near matches are {', '.join(near)}"
    if not names:
        return f"no {what} {name!r}; it has none"
    rest = f" and {len(names) - 40} more" if len(names) > 40 else ""
    return f"no {what} {name!r}; accepted are {', '.join(sorted(names)[:40])}{rest}"


def _elements(text: str) -> list[str]:
    """Return what stands between the colons. A URL in a setting keeps its own colons."""
    elements: list[str] = []
    for element in text.split(":"):
        begins_url = bool(elements) and "=" in elements[-1] and element.startswith("//")
        in_url = bool(elements) and "://" in elements[-1] and "=" not in element
        if begins_url or in_url:
            elements[-1] += f":{element}"
        else:
            elements.append(element)
    return elements


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target, eval_str=True).parameters
    except Exception:  # annotations that name what is not imported; signatures that are hidden
        try:
            return inspect.signature(target).parameters
        except (TypeError, ValueError):
            return {"settings": inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)}


def _typed(field: str, reference: Reference, key: str, text: str, parameter: inspect.Parameter) -> Any:
    kind = parameter.annotation
    if kind is parameter.empty or isinstance(kind, str):
        kind = type(parameter.default)
        if parameter.default in (None, parameter.empty) or kind not in (bool, int, float, str):
            return _guess(text)
        if kind is int:  # `eps=1` may stand for a number of any kind
            kind = int | float
    try:
        # A number is tried before its text, so that 2/255 and `none` mean what they say.
        return TypeAdapter(kind).validate_python(_guess(text), strict=True)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return _guess(text)
    except ValidationError:
        try:
            return TypeAdapter(kind).validate_strings(text)
        except ValidationError as error:
            raise ValueError(
                f"{field}={str(reference)!r}: {key}={text}: {error.errors()[0]['msg']}"
            ) from None


def _guess(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if fraction := _FRACTION.fullmatch(text):
        try:
            return float(fraction[1]) / float(fraction[2])
        except (ValueError, ZeroDivisionError):
            return text
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _yaml_value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
