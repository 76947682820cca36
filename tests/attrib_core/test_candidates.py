"""Candidates of an image: the best by the network itself is kept, and it is the image that it would be alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attrib_core.generation import Cell, find_recipe, generate_batch
from attrib_core.generation.aim import Aim
from attrib_core.generation.candidates import Candidates, chosen_candidates
from attrib_core.prepared import prepare

CELLS = [Cell(291, 0), Cell(309, 1), Cell(709, 0)]
RECIPE = find_recipe("fast").with_num_steps(6)


class Named(Aim):
    """An aim of two rows whose keys are (row, step)."""

    name = ("named",)
    group = 1

    def keys(self, step):
        return [(row, step) for row in range(2)]

    def evaluate(self, views: Tensor, images: Tensor):
        return views.sum((1, 2, 3)), (images.sum((1, 2, 3)),)


def run(lite0, recipe, cells=CELLS, **options):
    model = prepare(lite0, device="cpu", batch_size=4)
    return generate_batch(model, recipe, cells, sweep_seed=0, image_size=64, **options)


@pytest.fixture(scope="module")
def chosen(lite0):
    return run(lite0, replace(RECIPE, num_candidates=3))


def test_the_first_candidate_has_the_keys_of_the_recipe_without_candidates() -> None:
    assert Candidates(Named(), [0]).keys(5) == [(0, 5), (1, 5)]
    assert Candidates(Named(), [0]).name == ("named",)
    assert Candidates(Named(), [2]).keys(5) == [(0, 5, "candidate", 2), (1, 5, "candidate", 2)]
    assert Candidates(Named(), [1, 0]).keys(5) == [(0, 5, "candidate", 1), (1, 5)]
    assert Candidates(Named(), [1], "sketch").keys(5) == [(0, 5, "sketch", 1), (1, 5, "sketch", 1)]
    assert Candidates(Named(), [2]).name != Candidates(Named(), [1]).name


def test_the_lowest_loss_of_the_last_quarter_is_chosen_and_ties_go_to_the_first() -> None:
    early = torch.tensor([[9.0, 9, 9, 1], [0, 0, 0, 1], [0, 0, 0, 0.5]])[:, None]
    assert chosen_candidates(early).tolist() == [2]
    assert chosen_candidates(torch.ones(3, 2, 4)).tolist() == [0, 0]
    broken = torch.ones(2, 2, 4)
    broken[0, 1, -1] = torch.nan
    assert chosen_candidates(broken).tolist() == [0, 1]


def test_rows_that_belong_together_take_the_same_candidate() -> None:
    losses = torch.tensor([[[1.0], [9], [1], [1]], [[4], [4], [4], [4]]])
    assert chosen_candidates(losses).tolist() == [0, 1, 0, 0]
    assert chosen_candidates(losses, group=2).tolist() == [1, 1, 0, 0]


def test_each_image_is_the_best_of_its_candidates(lite0, chosen) -> None:
    first = run(lite0, RECIPE)
    is_first = (chosen.images == first.images).flatten(1).all(1)
    last = slice(-2, None)  # a quarter of six steps, rounded
    assert bool((chosen.loss_by_step[:, last].mean(1) <= first.loss_by_step[:, last].mean(1)).all())
    assert not bool(is_first.all())


def test_an_image_of_candidates_does_not_depend_on_its_batch(lite0, chosen) -> None:
    alone = run(lite0, replace(RECIPE, num_candidates=3), CELLS[1:2])
    assert torch.equal(alone.images[0], chosen.images[1])
    assert torch.equal(alone.loss_by_step[0], chosen.loss_by_step[1])


def test_whoever_observes_sees_the_chosen_image_alone(lite0, chosen) -> None:
    seen: list[tuple[int, Tensor]] = []
    observed = run(
        lite0, replace(RECIPE, num_candidates=3), observe=lambda step, images: seen.append((step, images))
    )
    assert torch.equal(observed.images, chosen.images)
    assert [step for step, _ in seen] == list(range(RECIPE.num_steps + 1))
    assert torch.equal(seen[-1][1].clamp(0, 1), chosen.images)


SKETCHED = replace(
    find_recipe("default").with_num_steps(10), num_sketches=3
)  # four of the steps are the sketch


@pytest.fixture(scope="module")
def sketched(lite0):
    return run(lite0, SKETCHED)


def test_the_sketch_of_the_lowest_loss_goes_on(lite0, sketched) -> None:
    first = run(lite0, replace(SKETCHED, num_sketches=1))
    assert SKETCHED.stages[0].num_steps == 4
    last = slice(3, 4)  # the last quarter of the sketch
    is_first = (sketched.loss_by_step[:, :4] == first.loss_by_step[:, :4]).all(1)
    assert not bool(is_first.all())
    assert bool((sketched.loss_by_step[:, last] <= first.loss_by_step[:, last]).all())
    assert torch.equal(sketched.images[is_first], first.images[is_first])


def test_an_image_of_sketches_does_not_depend_on_its_batch(lite0, sketched) -> None:
    for row, cell in enumerate(CELLS):
        alone = run(lite0, SKETCHED, [cell])
        assert torch.equal(alone.images[0], sketched.images[row])
        assert torch.equal(alone.loss_by_step[0], sketched.loss_by_step[row])


def test_whoever_observes_sees_the_chosen_sketch_from_its_beginning(lite0, sketched) -> None:
    seen: list[tuple[int, Tensor]] = []
    observed = run(lite0, SKETCHED, observe=lambda step, images: seen.append((step, images)))
    # Started anew with the chosen numbers, the same image comes out, so that its state was moved as it was.
    assert torch.equal(observed.images, sketched.images)
    assert torch.equal(observed.logit_by_step, sketched.logit_by_step)
    assert [step for step, _ in seen] == list(range(SKETCHED.num_steps + 1))
