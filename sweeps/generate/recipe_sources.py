"""The recipes that a command names: of this project, with settings; YAML files; and users' own code."""

from collections.abc import Mapping

from attrib_core.generation import RECIPES, PyramidSettings, Recipe, find_recipe
from attrib_core.generation.recipe_files import SUFFIXES, custom_recipe, read_settings, recipe_digest
from attrib_core.generation.recipe_references import earlier_recipe, user_recipe
from attrib_core.references import parse_reference
from attrib_core.user_code import canonical
from sweeps.ranges import parse_names
from sweeps.store.errors import explained
from sweeps.store.run_directory import open_files, resolve_url

# A recipe, or the reference of one in a user's code: a worker cannot unpickle what is made of that code before it
# has the code.
RecipeSource = Recipe | str


def read_recipes(text: str, recorded: Mapping[str, str] | None = None) -> dict[str, RecipeSource]:
    """Return the recipes of `default,best_recipe.yaml,mine.py:my_recipe` by the names that their rows have.

    `recorded` are the definitions in the run directory: one that was begun with a recipe of the version before
    goes on with it. ValueError names the element, or the file and its field.
    """
    recipes: dict[str, RecipeSource] = {}
    for element in parse_names("recipes", text):
        found = dict([_read_file(element)]) if is_file(element) else _named(element)
        if twice := recipes.keys() & found.keys():
            raise ValueError(f"recipes: {min(twice)!r} is listed twice; list each recipe once")
        recipes |= found
    return {name: _as_recorded(name, source, recorded or {}) for name, source in recipes.items()}


def _as_recorded(name: str, source: RecipeSource, recorded: Mapping[str, str]) -> RecipeSource:
    digest = recorded.get(f"recipe {name}")
    earlier = None if digest is None else earlier_recipe(name)
    return earlier if earlier is not None and recipe_digest(earlier) == digest else source


def definitions_of_recipes(recipes: Mapping[str, RecipeSource]) -> dict[str, str]:
    """Return what each recipe is, in words that change with its content or its code."""
    return {f"recipe {name}": _definition(source) for name, source in recipes.items()}


def built(source: RecipeSource) -> Recipe:
    """Return the recipe itself; that of a user's code is made here."""
    return source if isinstance(source, Recipe) else find_recipe(source, "recipes")


def read_settings_file(url: str) -> PyramidSettings:
    """Read the settings in a YAML file: a path, s3://, gs:// or az://."""
    return read_settings(_read_text(url), url)


def is_file(element: str) -> bool:
    """Return True if an element of a list of recipes is a file of the user's own settings."""
    return element.endswith(SUFFIXES)


def _read_file(url: str) -> tuple[str, Recipe]:
    return custom_recipe(_read_text(url), url)


def _named(element: str) -> dict[str, RecipeSource]:
    if ":" not in element and not element.endswith(".py"):
        return {name: RECIPES[name] for name in parse_names("recipes", element, tuple(RECIPES))}
    reference = parse_reference("recipes", element)
    recipe = find_recipe(element, "recipes")
    name = str(canonical(reference))
    return {name: recipe if reference.target in RECIPES else name}


def _definition(source: RecipeSource) -> str:
    if isinstance(source, Recipe):
        return recipe_digest(source)
    return user_recipe("recipes", parse_reference("recipes", source))[1]


def _read_text(url: str) -> str:
    folder, _, name = url.rpartition("/")
    try:
        with explained(url, "read"):
            return open_files(resolve_url(folder or "."), quick=True).read(name).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{url} is not a text file: {error}") from None
