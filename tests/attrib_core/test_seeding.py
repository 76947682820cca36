"""Random numbers belong to a key: the same key, the same numbers, whoever else is in the batch."""

import random

import numpy as np
import pytest
import torch

from attrib_core.seeding import Randomness, derive_seed, generator, global_randomness


def test_a_key_always_gives_the_same_numbers() -> None:
    assert torch.equal(
        torch.rand(5, generator=generator(0, 291, 3)), torch.rand(5, generator=generator(0, 291, 3))
    )


def test_keys_that_differ_anywhere_give_other_seeds() -> None:
    keys = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 12), ("0", 1, 2), (0, 1, 2, -1), ("a", 1), ("a1",)]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_the_seed_of_a_key_is_fixed_for_ever() -> None:
    """Stored results depend on it: a change here changes every image of every finished sweep."""
    assert derive_seed(0, 291, 0, -1) == SEED_OF_0_291_0_START


SEED_OF_0_291_0_START = 3056376123114012553


def test_an_images_numbers_do_not_depend_on_its_batch() -> None:
    alone = Randomness([(7, 1)])
    together = Randomness([(7, 0), (7, 1), (7, 2)])
    for _ in range(2):
        assert torch.equal(alone.uniform(-1, 1, 3)[0], together.uniform(-1, 1, 3)[1])
        assert torch.equal(alone.normal(2, 2)[0], together.normal(2, 2)[1])


def test_uniform_respects_its_range() -> None:
    draws = Randomness([(0,)]).uniform(2.0, 3.0, 10_000)
    assert draws.min() >= 2
    assert draws.max() < 3
    assert abs(draws.mean() - 2.5) < 0.02


def global_draws() -> tuple[float, float, float]:
    return torch.rand(()).item(), float(np.random.rand()), random.random()


def test_what_is_drawn_in_a_fork_depends_on_its_key_alone() -> None:
    with global_randomness(derive_seed(0, "mine.py:noise", 7)):
        first = global_draws()
    global_draws()
    with global_randomness(derive_seed(0, "mine.py:noise", 7)):
        assert global_draws() == first
        assert global_draws() != first
    with global_randomness(derive_seed(0, "mine.py:noise", 8)):
        assert all(one != other for one, other in zip(global_draws(), first, strict=True))


def test_a_fork_leaves_the_global_generators_as_they_were() -> None:
    with global_randomness(derive_seed(1)):
        expected = global_draws()
        with pytest.raises(ZeroDivisionError), global_randomness(derive_seed(2)):
            print(global_draws()[1] / 0)
        following = global_draws()
    with global_randomness(derive_seed(1)):
        assert (global_draws(), global_draws()) == (expected, following)
