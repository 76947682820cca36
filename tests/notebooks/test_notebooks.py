"""The notebooks run as they stand, and the outputs that are committed with them read well anywhere."""

import ast
import json
import re

import nbformat
import pytest
from nbformat import NotebookNode

from tests.notebooks.execution import METADATA, NOTEBOOKS, executed, outputs, pictures, printed

NAMES = ["my_model_under_attack", "what_does_a_class_look_like", "why_did_it_say_that"]
LARGEST = 400_000  # bytes, with pictures
# What a machine leaves in outputs: folders of its own, addresses of objects, colours of a terminal.
OF_A_MACHINE = re.compile(
    r"(?<![\w.:/<])/(?:home|root|tmp|work|usr|Users|opt|var|private)/| at 0x[0-9a-f]+|\x1b\["
)


def committed(name: str) -> NotebookNode:
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_folder_has_these_notebooks() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.iterdir() if path.suffix == ".ipynb") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_is_small_and_carries_its_outputs(name: str) -> None:
    notebook = committed(name)
    nbformat.validate(notebook)
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < LARGEST
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert len(pictures(notebook)) >= 2
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [
        output
        for output in outputs(notebook)
        if output.get("name") == "stderr" and "Traceback" in output.text
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_notebook_says_nothing_of_the_machine_that_ran_it(name: str) -> None:
    notebook = committed(name)
    assert notebook.metadata == METADATA
    assert not [cell.metadata for cell in notebook.cells if cell.metadata]
    assert not [output.metadata for output in outputs(notebook) if output.get("metadata")]
    for output in outputs(notebook):
        texts = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
        found = OF_A_MACHINE.search(f"{output.get('text', '')}\n{json.dumps(texts)}")
        assert found is None, found


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_explains_each_cell_and_imports_only_the_public_package(name: str) -> None:
    notebook = committed(name)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2) + ["markdown"]
    for source in code(notebook):
        if source.startswith("%%"):
            continue
        plain = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                # A submodule is not part of what stays as it is from one version to the next.
                assert not node.module.startswith(
                    ("attrib_sweeps.", "analysis", "attrib_core", "sweeps", "cluster")
                )
            elif isinstance(node, ast.Import):
                assert all(
                    not alias.name.startswith(("analysis", "attrib_core", "sweeps")) for alias in node.names
                )


@pytest.fixture(scope="module", params=NAMES)
def fresh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, NotebookNode]:
    """A notebook after a run in an empty folder."""
    name: str = request.param
    return name, executed(NOTEBOOKS / f"{name}.ipynb", tmp_path_factory.mktemp(name))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
def test_a_notebook_runs_and_shows_what_its_text_says(fresh: tuple[str, NotebookNode]) -> None:
    name, notebook = fresh
    assert len(pictures(notebook)) == len(pictures(committed(name)))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    CHECKS[name](printed(notebook), notebook)


def check_attack(text: str, notebook: NotebookNode) -> None:
    (accuracy,) = re.findall(r"([\d.]+)% of the test images are right", text)
    assert 85 < float(accuracy) < 95
    assert "18,000 rows" in text  # 1,000 images, 3 methods, 6 sizes
    rates = {
        (method, size): float(rate)
        for method, size, rate in re.findall(r"(fgsm|pgd|random_sign)\s+(0\.0\d+)\s+([\d.]+)", text)
    }
    assert len(rates) == 6
    for size in {size for _, size in rates}:
        assert rates["random_sign", size] < 0.5 * rates["fgsm", size]
        assert rates["fgsm", size] <= rates["pgd", size] + 0.02


def check_class(text: str, notebook: NotebookNode) -> None:
    assert "EfficientNet with 1000 classes" in text
    # Of twelve images, by the judge that is not the network itself.
    ((rate, low, high),) = re.findall(
        r"efficientnet_lite2 +True +fast +([\d.]+) +([\d.]+) +([\d.]+) +12", text
    )
    assert 0.5 < float(rate) <= 1
    assert float(low) < float(rate) <= float(high)


def check_why(text: str, notebook: NotebookNode) -> None:
    (accuracy,) = re.findall(r"([\d.]+)% of 200 images are right", text)
    assert float(accuracy) > 80
    verdicts = dict(re.findall(r"^\d+ +([\w.:]+) .* (\w+)$", text, re.MULTILINE))
    assert verdicts["edges.py:edges"] == "fails"
    assert verdicts["integrated_gradients"] != "fails"


CHECKS = {
    "my_model_under_attack": check_attack,
    "what_does_a_class_look_like": check_class,
    "why_did_it_say_that": check_why,
}
