"""Numbers drawn ahead are those that each image's generator gives at its step, whatever a step asks for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from attrib_core.execution import Execution
from attrib_core.generation import drawing_ahead
from attrib_core.generation.drawing_ahead import DrawnAhead
from attrib_core.seeding import Key, Randomness

STEPS = 50  # more than two blocks
Step = Callable[[Randomness, int], list[Tensor]]


def squares(randomness: Randomness) -> Tensor:
    return randomness.uniform(-1, 1, 2).square() + randomness.normal(1)


def angles(randomness: Randomness) -> Tensor:
    return randomness.uniform(-1, 1).cos()


ASKED: dict[str, Step] = {
    "uniform": lambda draw, _: [draw.uniform(-1, 2), draw.uniform(0, 1, 2), draw.uniform(0, 0.5, 3, 1, 1)],
    "made on the host": lambda draw, _: [draw.on_host(angles), draw.uniform(3, 4)],
    "normal": lambda draw, _: [draw.normal(3, 4), draw.normal(2)],
    "mixed": lambda draw, _: [draw.uniform(0, 1), draw.normal(17), draw.on_host(squares), draw.uniform(1, 2)],
    "another range": lambda draw, step: [draw.uniform(0, 1 + step % 7), draw.uniform(0, 1)],
    "another shape": lambda draw, step: [draw.uniform(0, 1, 1 + step // 20), draw.normal(2)],
    "less": lambda draw, step: [draw.uniform(0, 1) for _ in range(4 - step // 20)],
    "more": lambda draw, step: [draw.uniform(0, 1) for _ in range(1 + step // 20)],
    "in tensors": lambda draw, step: [draw.uniform(torch.tensor(1.0), torch.tensor(2.0 + step), 2)],  # type: ignore[arg-type]
    "nothing": lambda draw, _: [],
}


def keys(step: int) -> list[Key]:
    return [(0, image, step) for image in range(3)]


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_each_step_gets_its_own_numbers(asked: Step) -> None:
    with ThreadPoolExecutor(1) as pool:
        ahead = DrawnAhead(keys, Execution(torch.device("cpu")), pool, STEPS)
        for step in range(STEPS):
            found = asked(ahead.step(step), step)
            expected = asked(Randomness(keys(step)), step)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True)), step


def test_what_a_stage_repeats_is_drawn_in_a_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = []
    draw_block = drawing_ahead.draw_block
    monkeypatch.setattr(
        drawing_ahead, "draw_block", lambda *given: blocks.append(len(given[1])) or draw_block(*given)
    )
    with ThreadPoolExecutor(1) as pool:
        ahead = DrawnAhead(keys, Execution(torch.device("cpu")), pool, STEPS)
        for step in range(STEPS):
            ASKED["made on the host"](ahead.step(step), step)
    assert blocks == [4, 32, 13]


def test_blocks_of_many_numbers_have_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing_ahead, "BLOCK_NUMBERS", 100)
    with ThreadPoolExecutor(1) as pool:
        ahead = DrawnAhead(keys, Execution(torch.device("cpu")), pool, STEPS)
        for step in range(6):
            ahead.step(step).normal(15)  # 45 numbers for three images
            assert step == 0 or len(ahead._block[0]) == 2


@pytest.mark.parametrize("num_uniform", [0, 1, 5, 9])
def test_numbers_drawn_in_one_piece_are_those_drawn_one_by_one(num_uniform: int) -> None:
    def draws(randomness: Randomness) -> list[Tensor]:
        return [
            randomness.uniform(0, 1),
            randomness.uniform(-1, 2, 2, 2),
            randomness.normal(20),
            randomness.uniform(0, 1, 3),
        ]

    found, expected = draws(Randomness(keys(0), num_uniform=num_uniform)), draws(Randomness(keys(0)))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
