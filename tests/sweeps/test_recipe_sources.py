"""What --recipes names: recipes travel as they are, users' code as text, and definitions change with both."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from attrib_core.generation import RECIPES, Cell, PyramidSettings
from attrib_core.generation.recipe_files import recipe_digest, write_settings
from attrib_core.user_code import forget, install, taken
from sweeps.generate.recipe_sources import built, definitions_of_recipes, read_recipes
from sweeps.generate.rows import image_key

MINE = """
from attrib_core.generation import PyramidSettings, pyramid_recipe


class Margin:
    def __call__(self, logits, classes):
        return -logits.gather(1, classes[:, None])[:, 0]


def make(num_steps: int = 6):
    return pyramid_recipe(PyramidSettings(num_steps=num_steps))


objective = Margin()
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    forget()
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    yield path
    forget()


def test_names_settings_files_and_code_stand_side_by_side(file: Path, tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text(write_settings(PyramidSettings(num_steps=9)))
    text = f"default,fast:num_steps=8,{tmp_path}/best.yaml,{file}:make:num_steps=4,{file}:objective"
    recipes = read_recipes(text)
    best = next(name for name in recipes if name.startswith("best-"))
    assert list(recipes) == [
        "default",
        "fast:num_steps=8",
        best,
        "mine.py:make:num_steps=4",
        "mine.py:objective",
    ]
    steps = [built(source).num_steps for source in recipes.values()]
    assert steps == [RECIPES["default"].num_steps, 8, 9, 4, RECIPES["default"].num_steps]


def test_what_a_worker_unpickles_before_it_has_the_code_is_text(file: Path) -> None:
    recipes = read_recipes(f"{file}:objective")
    codes, sent = taken(), pickle.dumps(recipes)
    forget()
    received = pickle.loads(sent)
    assert received == {"mine.py:objective": "mine.py:objective"}
    install(codes)
    assert built(received["mine.py:objective"]).num_steps == RECIPES["default"].num_steps


def test_definitions_change_with_the_recipe_or_its_code(file: Path) -> None:
    def definitions() -> dict[str, str]:
        forget()
        return definitions_of_recipes(read_recipes(f"default,{file}:make"))

    before = definitions()
    assert before["recipe default"] == recipe_digest(RECIPES["default"])
    assert before["recipe mine.py:make"].startswith("SHA-256 ")
    file.write_text(MINE.replace("6", "7"))
    after = definitions()
    assert after["recipe default"] == before["recipe default"]
    assert after["recipe mine.py:make"] != before["recipe mine.py:make"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast:num_steps=8,fast:num_steps=8", "'fast:num_steps=8' is listed twice"),
        ("fast:num_step=8", "recipes='fast:num_step=8': no setting 'num_step'; near matches are num_steps"),
        ("fsat:num_steps=8", r"recipes: unknown recipe 'fsat:num_steps=8' \(did you mean 'fast'\?\)"),
        ("mine.pi:make", "recipes='mine.pi:make': no module 'mine.pi' is installed"),
    ],
)
def test_a_mistake_names_the_element(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipes(text)


def test_a_recipe_that_two_paths_name_is_listed_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(ValueError, match=r"'mine.py:make' is listed twice"):
        read_recipes(f"{file}:make,mine.py:make")


def test_keys_of_images_are_words() -> None:
    """Exports name files after them."""
    cell = Cell(291, 3)
    assert image_key("default", cell, 64) == "default-c0291-s0003-t00064"
    keys = {
        image_key(name, cell, 64) for name in ("mine.py:make:k=1", "mine.py:make:k_1", "mine_py:make_k=1")
    }
    assert len(keys) == 3
    assert all(key.replace("-", "_").isidentifier() for key in keys)
