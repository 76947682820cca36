"""The recipes that a command names: those that this project has, and YAML files of the user's own."""

from attrib_core.generation import RECIPES, PyramidSettings, Recipe
from attrib_core.generation.recipe_files import SUFFIXES, custom_recipe, read_settings
from sweeps.ranges import parse_names
from sweeps.store.errors import explained
from sweeps.store.run_directory import open_files, resolve_url


def read_recipes(text: str) -> dict[str, Recipe]:
    """Return the recipes of `default,best_recipe.yaml` by the names under which their rows are stored.

    ValueError names the element, or the file and its field.
    """
    recipes: dict[str, Recipe] = {}
    for element in parse_names("recipes", text):
        recipes |= dict([_read_file(element)]) if is_file(element) else _named(element)
    return recipes


def read_settings_file(url: str) -> PyramidSettings:
    """Read the settings in a YAML file: a path, s3://, gs:// or az://."""
    return read_settings(_read_text(url), url)


def is_file(element: str) -> bool:
    """Return True if an element of a list of recipes is a file of the user's own."""
    return element.endswith(SUFFIXES)


def _read_file(url: str) -> tuple[str, Recipe]:
    return custom_recipe(_read_text(url), url)


def _named(element: str) -> dict[str, Recipe]:
    return {name: RECIPES[name] for name in parse_names("recipes", element, tuple(RECIPES))}


def _read_text(url: str) -> str:
    folder, _, name = url.rpartition("/")
    try:
        with explained(url, "read"):
            return open_files(resolve_url(folder or "."), quick=True).read(name).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{url} is not a text file: {error}") from None
