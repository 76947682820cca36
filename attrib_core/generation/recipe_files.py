"""Users' own recipes: the settings of a pyramid recipe as YAML, and digests that identify recipes."""

import dataclasses
import hashlib
import json
import math
import re
from pathlib import PurePosixPath
from typing import Any

import yaml

from attrib_core.generation.pyramid_recipe import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe import Recipe

SUFFIXES = (".yaml", ".yml")
DIGEST_LENGTH = 8

# What files mean that were written before these fields existed. Where a field has this value the digest leaves it
# out, so that the recipes of such files keep their names.
LATER_FIELDS: dict[str, Any] = {
    "cross_entropy": 0.0,
    "total_variation": 0.0,
    "rectifier_width": 0.0,
    "sketch_share": 0.0,
    "sketch_size": 5 / 14,
    "saturation": 1.0,
    "num_candidates": 1,
    "num_sketches": 1,
}

# With 0, these would give a ratio of 0, an empty crop or a view without pixels.
_ABOVE_ZERO = (
    *("coarse_weight", "fine_weight", "sketch_size", "coarse_size", "fine_size"),
    *("smallest_crop", "largest_crop"),
)
_AT_MOST_ONE = ("sketch_share", "coarse_share", "cross_entropy")
_BELOW_ONE = ("momentum",)


def write_settings(settings: PyramidSettings, comment: str = "") -> str:
    """Return the settings as YAML, below the comment's lines; `read_settings` reads them back."""
    lines = [f"# {line}".rstrip() + "\n" for line in comment.splitlines()]
    return "".join(lines) + yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)


def read_settings(text: str, source: str) -> PyramidSettings:
    """Return the settings in a YAML text, which must have every field once; `LATER_FIELDS` may be missing.

    ValueError names `source` (the file), the field, its value and what is accepted.
    """
    content = _parse(text, source)
    fields = {field.name: field for field in dataclasses.fields(PyramidSettings)}
    for name in content:
        if name not in fields:
            raise ValueError(f"{source}: unknown field {name!r}; accepted: {', '.join(fields)}")
    content = LATER_FIELDS | content
    if missing := [name for name in fields if name not in content]:
        raise ValueError(f"{source}: missing fields; `default` has {_defaults(missing)}")
    return PyramidSettings(**{name: checked_number(content[name], fields[name], source) for name in fields})


def settings_digest(settings: PyramidSettings) -> str:
    """Return eight hexadecimal digits that identify the settings."""
    identity = json.dumps(identity_of_settings(settings), sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:DIGEST_LENGTH]


def identity_of_settings(settings: PyramidSettings) -> dict[str, float]:
    """Return the settings by field, without later fields that have the value that older files mean."""
    values = dataclasses.asdict(settings)
    return {name: value for name, value in values.items() if LATER_FIELDS.get(name) != value}


def recipe_digest(recipe: Recipe) -> str:
    """Return sixteen hexadecimal digits that identify a recipe's content, the same in every process."""
    definition = repr(recipe)
    if recipe.rectifier_width:
        definition += f" with rectifiers of width {recipe.rectifier_width!r}"
    if recipe.num_candidates > 1:
        definition += f" of {recipe.num_candidates} candidates"
    if recipe.num_sketches > 1:
        definition += f" of {recipe.num_sketches} sketches"
    assert " at 0x" not in definition, f"a part of the recipe is known by its address alone: {definition}"
    return hashlib.sha256(definition.encode()).hexdigest()[:16]


def custom_recipe(text: str, source: str) -> tuple[str, Recipe]:
    """Return a name and a recipe from the text of a YAML file; the name is `<stem of source>-<settings' digest>`.

    Changing the content changes the name, and so the recipe's identity.
    """
    settings = read_settings(text, source)
    stem = re.sub(r"[^A-Za-z0-9_]+", "_", PurePosixPath(source).stem).strip("_") or "recipe"
    return f"{stem}-{settings_digest(settings)}", pyramid_recipe(settings)


def _parse(text: str, source: str) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{source} holds a {type(content).__name__}; accepted: `field: number` lines")
    return content


def checked_number(value: Any, field: "dataclasses.Field[Any]", source: str) -> Any:
    """Return the value of a field of `PyramidSettings` in the field's type, so that 20 and 20.0 are the same.

    ValueError names `source`, the field, its value and what is accepted.
    """
    whole = field.type in (int, "int")
    accepted, fits = _accepted(field.name, whole)
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not fits(value):
        hint = " (YAML reads 1e-3 as text: write 0.001)" if isinstance(value, str) else ""
        raise ValueError(f"{source}: {field.name}: {value!r} is not accepted{hint}; accepted: {accepted}")
    return int(value) if whole else float(value)


def _accepted(name: str, whole: bool) -> tuple[str, Any]:
    if whole:
        return "a whole number from 1", lambda value: value >= 1
    if name in _AT_MOST_ONE:
        return "a number from 0 to 1", lambda value: 0 <= value <= 1
    if name in _BELOW_ONE:
        return "a number from 0 to below 1", lambda value: 0 <= value < 1
    if name in _ABOVE_ZERO:
        return "a number above 0", lambda value: value > 0
    return "a number from 0", lambda value: value >= 0


def _defaults(names: list[str]) -> str:
    default = PyramidSettings()
    return ", ".join(f"{name}: {getattr(default, name)}" for name in names)
