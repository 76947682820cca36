"""Recipes by reference: a name of ours with settings of its own, and users' recipes and objectives.

`default`, `default:num_steps=64`, `mine.py:my_recipe`, `mine.py:my_objective:margin=2`.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from attrib_core.generation.objectives import Objective
from attrib_core.generation.pyramid_recipe import PyramidSettings, pyramid_recipe
from attrib_core.generation.recipe import Recipe
from attrib_core.generation.recipe_files import checked_number
from attrib_core.generation.recipes import EARLIER_PYRAMIDS, PYRAMIDS, RECIPES
from attrib_core.references import Reference, parse_reference, typed_settings
from attrib_core.user_code import find_target, is_code
from attrib_core.user_code.functions import UserFunction

CONTRACT = "objective(logits, classes) -> losses [N], or objective(logits, classes, images)"
FORMS = f"a Recipe, an objective such as {CONTRACT}, or a function that returns one of them"


def find_recipe(text: str, field: str = "recipe") -> Recipe:
    """Return the recipe that a reference names. Raises ValueError for what is none, or has not such settings."""
    if not isinstance(text, str):
        raise ValueError(f"{field}: a {type(text).__name__}; accepted is a recipe, or the name of one")
    if text in RECIPES:
        return RECIPES[text]
    if ":" in text or text.endswith(".py"):
        reference = parse_reference(field, text)
        if reference.target in RECIPES:
            return _with_settings(field, reference)
        if is_code(reference):
            return user_recipe(field, reference)[0]
    near = difflib.get_close_matches(text.partition(":")[0], RECIPES, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(
        f"{field}: unknown recipe {text!r}{hint}; known recipes: {', '.join(RECIPES)}, FILE.py:NAME"
    )


def earlier_recipe(text: str) -> Recipe | None:
    """Return what a reference meant in the version before; None if it is not of a recipe that was another then."""
    if text in EARLIER_PYRAMIDS:
        return pyramid_recipe(EARLIER_PYRAMIDS[text])
    if text.partition(":")[0] in EARLIER_PYRAMIDS:
        return _with_settings("recipe", parse_reference("recipe", text), EARLIER_PYRAMIDS)
    return None


def user_recipe(field: str, reference: Reference) -> tuple[Recipe, str]:
    """Return the recipe of a user's code, and which code it is.

    An objective takes the place of that of `default`. Raises ValueError for what is neither.
    """
    where = f"{field}={str(reference)!r}"
    found = find_target(field, reference)
    value = found.value
    if callable(value) and not isinstance(value, Objective | Recipe):
        function = UserFunction(value, where, FORMS)
        required = [each for each in function.positional() if each.default is each.empty]
        if not isinstance(value, type) and len(required) >= 2:
            value = _objective(field, reference, value, [each.name for each in required[:3]])
        else:
            value = function(**typed_settings(field, reference, value))
    elif reference.settings:
        raise ValueError(
            f"{where}: it is no function, so that it has no settings; accepted is {reference.target}"
        )
    return _recipe(where, value), found.definition


@dataclass(frozen=True)
class UserObjective(Objective):
    """A user's loss, one number an image, which is made small; its shape is checked at every step."""

    function: UserFunction
    takes_images: bool
    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        given = (logits, targets, images) if self.takes_images else (logits, targets)
        values = self.function(*given, **dict(self.settings))
        if wrong := _wrong(values, len(targets)):
            raise ValueError(f"{self.function.place()} returns {wrong}; accepted is {CONTRACT}")
        assert isinstance(values, Tensor)
        return values

    def check(self, losses: Tensor) -> None:
        """Raise ValueError for losses that are no numbers. At each step a GPU would have to be waited for."""
        if not bool(torch.isfinite(losses).all()):
            raise ValueError(
                f"{self.function.place()} returns NaN or infinite values; accepted is {CONTRACT}"
            )


def _wrong(values: object, count: int) -> str | None:
    """Return in words what is wrong with losses, None if they are right."""
    if not isinstance(values, Tensor):
        return f"a {type(values).__name__}"
    if values.shape != (count,):
        return f"values {list(values.shape)} for {count} images"
    if not values.requires_grad:
        return "values that do not depend on the logits"
    return None


def _objective(
    field: str, reference: Reference, value: Callable[..., Any], given: list[str]
) -> UserObjective:
    """Return a function of logits, classes and perhaps images as an objective under its settings."""
    settings = typed_settings(field, reference, value, given)
    function = UserFunction(value, f"{field}={str(reference)!r}", CONTRACT)
    return UserObjective(function, len(given) == 3, tuple(sorted(settings.items())))


def _recipe(where: str, value: object) -> Recipe:
    if isinstance(value, Recipe):
        return value
    if isinstance(value, Objective):
        return replace(RECIPES["default"], objective=value)
    if callable(value) and not isinstance(value, type):
        function = UserFunction(value, where, CONTRACT)
        if len(function.positional()) >= 2 or function.takes_any_number:
            takes_images = len([each for each in function.positional() if each.default is each.empty]) >= 3
            return replace(RECIPES["default"], objective=UserObjective(function, takes_images))
    raise ValueError(f"{where}: it gives a {type(value).__name__}; accepted is {FORMS}")


def _with_settings(
    field: str, reference: Reference, pyramids: Mapping[str, PyramidSettings] = PYRAMIDS
) -> Recipe:
    """Return a recipe of ours under other numbers: a pyramid's own, or those that every recipe has."""
    where = f"{field}={str(reference)!r}"
    known = {each.name: each for each in fields(PyramidSettings)}
    if reference.target in pyramids:
        typed = typed_settings(field, reference, PyramidSettings)
        changes = {name: checked_number(value, known[name], where) for name, value in typed.items()}
        return pyramid_recipe(replace(pyramids[reference.target], **changes))
    typed = typed_settings(field, reference, _of_every_recipe)
    changes = {name: checked_number(value, known[name], where) for name, value in typed.items()}
    recipe = RECIPES[reference.target]
    num_steps = changes.pop("num_steps", recipe.num_steps)
    return replace(recipe, **changes).with_num_steps(num_steps)


def _of_every_recipe(
    *,
    num_steps: int = 1,
    residual_gradient: float = 1.0,
    rectifier_width: float = 0.0,
    num_candidates: int = 1,
    num_sketches: int = 1,
) -> None:
    """Say by its signature which numbers every recipe has."""
