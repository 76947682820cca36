"""Run directories of generation and attack sweeps, with drawn shapes for images; pages of their reports."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from analysis.html.site import Site, open_site
from analysis.report.__main__ import main
from analysis.report.pages import section_of
from analysis.run import open_runs
from sweeps.schemas import (
    SCHEMA_VERSION,
    attack_images,
    attack_results,
    generate_images,
    generate_results,
)
from sweeps.store import RunDirectory, rows_table

NUM_CLASSES = 4
NUM_STEPS = 3

Cell = tuple[str, int, int]


def default_name(class_index: int) -> str:
    return f"class {class_index}"


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """What a run holds; a judge names the class itself unless `wrong(judge, class, seed)`.

    Classes of `frames` are stored at each step of `frame_steps` too, with the `logits` of class, seed and step.
    """

    num_classes: int = 3
    seeds: Sequence[int] = (0, 1)
    recipes: Sequence[str] = ("plain", "default")
    judges: Sequence[str] = ("lite1", "lite2")
    channels: int = 3
    size: int = 32
    shard_size: int = 4
    schema_version: int = SCHEMA_VERSION
    name: Callable[[int], str] = default_name
    wrong: Callable[[str, int, int], bool] = field(default=lambda judge, class_index, seed: False)
    frames: Sequence[int] = ()
    frame_steps: Sequence[int] = (0, 1, 2)
    logits: Callable[[int, int, int], Sequence[float]] = field(
        default=lambda class_index, seed, step: [0.0] * NUM_CLASSES
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path | str]:
    """Writes a run with the given fields of `RunContent` to a folder or a URL and returns where it is."""

    def make(folder: str = "run", **fields: Any) -> Path | str:
        place = folder if "://" in folder else tmp_path / folder
        write_run(RunDirectory(place), RunContent(**fields))
        return place

    return make


def write_run(run: RunDirectory, content: RunContent) -> None:
    run.update_sweep(lambda existing: {"sweep": "generate", "seed": 0})
    cells = list(product(content.recipes, range(content.num_classes), content.seeds))
    for start in range(0, len(cells), content.shard_size):
        write_shard(run, f"shard-{start:06d}", cells[start : start + content.shard_size], content)


def write_shard(run: RunDirectory, shard_id: str, cells: Sequence[Cell], content: RunContent) -> None:
    # As the sweep does: finished images first, then the frames of all cells step by step.
    images = [image_row(*cell, content) for cell in cells]
    for step in content.frame_steps:
        images += [image_row(*cell, content, step) for cell in cells if cell[1] in content.frames]
    image_file = run.put_images(shard_id, 1, rows_table(images, generate_images(NUM_CLASSES)))
    schema = generate_results(content.judges)
    rows = [result_row(shard_id, image_file, *cell, content) for cell in cells]
    # Without judges there are no columns of theirs.
    table = rows_table([{name: row.get(name) for name in schema.names} for row in rows], schema)
    run.commit(shard_id, table, image_file)


def image_row(
    recipe: str, class_index: int, seed: int, content: RunContent, step: int = NUM_STEPS
) -> dict[str, Any]:
    encoded = BytesIO()
    image = draw(recipe, class_index, seed, content)
    image.save(encoded, "PNG")
    return {
        "key": f"{recipe}/{class_index}/{seed}" + ("" if step == NUM_STEPS else f"/{step}"),
        "image": {"bytes": encoded.getvalue(), "path": f"{class_index}.png"},
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "step": step,
        "logits": content.logits(class_index, seed, step),
    }


def draw(recipe: str, class_index: int, seed: int, content: RunContent) -> Image.Image:
    """A dim polygon with as many corners as the class, turned by the seed, coloured by the recipe."""
    fill = [90 + 30 * (len(recipe) % 3), 110, 60 + 20 * (seed % 4)]
    image = Image.new("RGB", (content.size, content.size), (70, 75, 80))
    circle = (content.size / 2, content.size / 2, content.size / 3)
    ImageDraw.Draw(image).regular_polygon(circle, 3 + class_index % 7, rotation=20 * seed, fill=tuple(fill))
    return image.convert("L") if content.channels == 1 else image


def result_row(
    shard_id: str, image_file: str, recipe: str, class_index: int, seed: int, content: RunContent
) -> dict[str, Any]:
    wrong = {judge: content.wrong(judge, class_index, seed) for judge in content.judges}
    return {
        "sweep": "generate",
        "model": "lite0",
        "model_digest": "d1",
        "shard_id": shard_id,
        "attempt": 1,
        "schema_version": content.schema_version,
        "image_file": image_file,
        "image_key": f"{recipe}/{class_index}/{seed}",
        "class_index": class_index,
        "seed": seed,
        "recipe": recipe,
        "wnid": f"n{class_index:08d}",
        "class_name": content.name(class_index),
        "num_steps": NUM_STEPS,
        "batch_size": 2,
        "logit": 9.5,
        "probability": 0.9,
        "top1": class_index,
        "top5_hit": True,
        "judge_top1": {judge: class_index + missed for judge, missed in wrong.items()},
        "judge_top5_hit": {judge: not missed for judge, missed in wrong.items()},
        "total_variation": 0.1,
        "clipped_share": 0.0,
        "logit_by_step": [1.0, 2.0, 3.0],
        "loss_by_step": [3.0, 2.0, 1.0],
        "argmax_by_step": [class_index] * NUM_STEPS,
        "seconds": 0.5,
    }


@dataclass(frozen=True, kw_only=True)
class AttackContent:
    """What an attack's run holds; image i has the label i mod `num_classes`, `saved` are stored with images.

    `predicted` gives the adversarial prediction, `minimum` the ε of the rows of methods that seek it.
    """

    num_images: int = 6
    num_classes: int = 3
    checkpoints: Sequence[str] = ("final",)
    methods: Sequence[str] = ("fgsm",)
    targets: Sequence[int | None] = (None,)
    epsilons: Sequence[float] = (0.0, 2 / 255, 8 / 255)
    saved: Sequence[int] = ()
    channels: int = 1
    size: int = 28
    shard_size: int = 4
    name: Callable[[int], str] = default_name
    clean: Callable[[int, int], int] = field(default=lambda index, label: label)
    predicted: Callable[[str, int, float, int], int] = field(
        default=lambda method, index, epsilon, clean: clean
    )
    predicted_u8: Callable[[str, int, float, int], int] | None = None
    minimum: Callable[[int], float | None] = field(default=lambda index: 1 / 255)
    seeks_minimum: Callable[[str], bool] = field(default=lambda method: method.startswith("minimum_"))
    zero_gradient: Callable[[int], bool] = field(default=lambda index: False)
    gradient_fallback: Callable[[int], bool | None] = field(default=lambda index: False)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row of an attack's run, before it is attacked."""

    checkpoint: str
    method: str
    target: int | None
    index: int
    epsilon: float | None

    def key(self, kind: str) -> str:
        ending = f"-{self.epsilon}" if kind == "adversarial" else ""
        return f"{self.checkpoint}-{self.method}-{self.target}-{self.index}-{kind}{ending}"


@pytest.fixture
def make_attack_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run with the given fields of `AttackContent` to a folder and returns where it is."""

    def make(folder: str = "attack", **fields: Any) -> Path:
        write_attack_run(RunDirectory(tmp_path / folder), AttackContent(**fields))
        return tmp_path / folder

    return make


def write_attack_run(run: RunDirectory, content: AttackContent) -> None:
    run.update_sweep(lambda existing: {"sweep": "attack", "seed": 0})
    attacks = product(content.checkpoints, content.methods, content.targets)
    for number, (checkpoint, method, target) in enumerate(attacks):
        for start in range(0, content.num_images, content.shard_size):
            indices = range(start, min(start + content.shard_size, content.num_images))
            rows = [
                Attack(checkpoint=checkpoint, method=method, target=target, index=index, epsilon=epsilon)
                for index in indices
                for epsilon in attack_epsilons(method, index, content)
            ]
            write_attack_shard(run, f"shard-{number:03d}-{start:06d}", rows, content)


def attack_epsilons(method: str, index: int, content: AttackContent) -> Sequence[float | None]:
    return [content.minimum(index)] if content.seeks_minimum(method) else content.epsilons


def write_attack_shard(
    run: RunDirectory, shard_id: str, rows: Sequence[Attack], content: AttackContent
) -> None:
    stored = [row for row in rows if row.index in content.saved]
    images = {row.key(kind): attack_image_row(row, kind, content) for row in stored for kind in ATTACK_KINDS}
    image_file = None
    if images:
        image_file = run.put_images(shard_id, 1, rows_table(list(images.values()), attack_images()))
    table = rows_table(
        [attack_row(shard_id, row, content) | attack_image_names(row, image_file, content) for row in rows],
        attack_results(),
    )
    run.commit(shard_id, table, image_file)


ATTACK_KINDS = {"adversarial": "image", "perturbation": "perturbation", "clean": "clean"}


def attack_image_names(row: Attack, image_file: str | None, content: AttackContent) -> dict[str, str | None]:
    names: dict[str, str | None] = {}
    for kind, column in ATTACK_KINDS.items():
        stored = row.index in content.saved
        names |= {
            f"{column}_file": image_file if stored else None,
            f"{column}_key": row.key(kind) if stored else None,
        }
    return names


def attack_image_row(row: Attack, kind: str, content: AttackContent) -> dict[str, Any]:
    pixels = attack_pixels(row, content)[kind]
    encoded = BytesIO()
    Image.fromarray(pixels[..., 0] if content.channels == 1 else pixels).save(encoded, "PNG")
    return {
        "key": row.key(kind),
        "image": {"bytes": encoded.getvalue(), "path": f"{row.index}.png"},
        "checkpoint": row.checkpoint,
        "method": row.method,
        "target": row.target,
        "image_index": row.index,
        "kind": kind,
        "epsilon": row.epsilon if kind == "adversarial" else None,
    }


def attack_pixels(row: Attack, content: AttackContent) -> dict[str, NDArray[np.uint8]]:
    """A drawn shape, a direction of signs in blocks of four pixels, and the shape moved along it."""
    shape = RunContent(channels=content.channels, size=content.size)
    clean = np.asarray(draw("plain", row.index % content.num_classes, row.index, shape)) / 255
    clean = clean.reshape(content.size, content.size, content.channels)
    blocks = np.random.default_rng(row.index).choice([-1, 1], (-(-content.size // 4),) * 2)
    direction = blocks.repeat(4, 0).repeat(4, 1)[: content.size, : content.size, None] + 0 * clean
    base = 0 * clean if row.method == "gradient_alone" else clean
    epsilon = 1 if row.epsilon is None else row.epsilon
    moved = np.clip(base + epsilon * direction, 0, 1)
    parts = {"clean": clean, "perturbation": (1 + direction) / 2, "adversarial": moved}
    return {kind: np.rint(part * 255).astype(np.uint8) for kind, part in parts.items()}


def attack_row(shard_id: str, row: Attack, content: AttackContent) -> dict[str, Any]:
    label = row.index % content.num_classes
    clean = content.clean(row.index, label)
    epsilon = 1.0 if row.epsilon is None else row.epsilon
    predicted = content.predicted(row.method, row.index, epsilon, clean)
    rounded = content.predicted_u8 or content.predicted
    return {
        "sweep": "attack",
        "model": "fashion_deep",
        "model_digest": "d1",
        "shard_id": shard_id,
        "attempt": 1,
        "schema_version": SCHEMA_VERSION,
        "checkpoint": row.checkpoint,
        "method": row.method,
        "target": row.target,
        "image_index": row.index,
        "epsilon": row.epsilon,
        "dataset": "fashion_mnist",
        "split": "test",
        "key": f"test/{row.index}",
        "label": label,
        "label_name": content.name(label),
        "clean_prediction": clean,
        "clean_confidence": 0.987,
        "clean_margin": 4.0,
        "adversarial_prediction": predicted,
        "adversarial_confidence": 0.75,
        "adversarial_margin": -1.0,
        "loss": 2.0,
        "linf": epsilon,
        "l2": 28 * epsilon,
        "l1": 784 * epsilon,
        "l0": 784 if epsilon else 0,
        "prediction_u8": rounded(row.method, row.index, epsilon, clean),
        "linf_u8": epsilon,
        "zero_gradient": content.zero_gradient(row.index),
        "gradient_fallback": content.gradient_fallback(row.index),
        "rechecked": False,
        "num_forwards": 1.0,
        "num_backwards": 1.0,
        "seeks_minimum": content.seeks_minimum(row.method),
        "batch_size": 4,
    }


VOID = {"br", "hr", "img", "input", "link", "meta", "line", "polyline"}


@dataclass
class Page(HTMLParser):
    """The elements of a page, its text, and the content of its scripts."""

    path: Path
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._in_script = False
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
        else:
            self.text += data

    def links(self) -> list[str]:
        """What the page refers to: other pages, pictures, the script and the style sheet."""
        named = [attributes.get(name) for _, attributes in self.elements for name in ("href", "src")]
        return [link for link in named if link is not None]

    def rows(self, heading: str = "") -> list[list[str]]:
        """The texts of the cells of every table row; those below the first that starts with this heading."""
        rows = re.findall(r"<tr.*?</tr>", self.path.read_text(encoding="utf-8"), re.DOTALL)
        cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
        texts = [[" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in row] for row in cells]
        firsts = [row[0] for row in texts]
        return texts[firsts.index(heading) + 1 :] if heading else texts

    def classes(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of the elements of a class."""
        return [held for _, held in self.elements if name in (held.get("class") or "").split()]


@pytest.fixture
def page() -> Callable[[Path], Page]:
    """Reads a page."""
    return lambda path: Page(path)


@pytest.fixture
def describe_run() -> Callable[..., None]:
    """Completes a run's sweep.json with what a sweep records, and closes the run."""

    def describe(run: Path, *, finished: bool = True, **fields: Any) -> None:
        directory = RunDirectory(run)
        directory.update_sweep(
            lambda existing: (existing or {}) | {"schema_version": SCHEMA_VERSION} | fields
        )
        if finished:
            directory.mark_success()

    return describe


@pytest.fixture
def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Path]:
    """Makes the report of some runs and returns the folder that it prints."""

    def make(*runs: Path | str, output: Path | str = tmp_path / "report") -> Path:
        main([*map(str, runs), "--output", str(output)])
        index = Path(capsys.readouterr().out.strip())
        assert index.name == "index.html"
        return index.parent

    return make


@pytest.fixture
def section_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Page]:
    """Makes the section of a run alone, its PNG figures, which take most of the time, left empty."""
    monkeypatch.setattr(Site, "figure", lambda self, path, figure: self.put(path, b""))

    def make(run: Path, folder: str = "section") -> Page:
        [source] = open_runs([str(run)])
        site = open_site(str(tmp_path / folder))
        with site.writing():
            made = section_of(source)(source, site)
            site.put("section.html", made.html.encode())
        return Page(tmp_path / folder / "section.html")

    return make
