"""Which errors the same shard would raise again: mistakes in values and code, without a cause outside of them."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from cluster.worker import is_permanent
from sweeps.plan import Shard


def raise_(error: BaseException, cause: BaseException | None = None) -> None:
    raise error from cause


def within(error: BaseException, context: BaseException) -> None:
    try:
        raise context
    except BaseException:
        raise error  # noqa: B904  # without `from`, as code does that fails while it handles an error


CASES: dict[str, tuple[Callable[[], object], bool]] = {
    "a value": (lambda: int("x"), True),
    "a type": (lambda: len(3), True),  # type: ignore[arg-type]
    "a key": (lambda: {}["a"], True),
    "an index": (lambda: [][0], True),
    "an attribute": (lambda: object().a, True),  # type: ignore[attr-defined]
    "an assertion": (lambda: Shard("a", {"b": 1}, ()).value("b", str), True),
    "not implemented": (lambda: raise_(NotImplementedError()), True),
    "a value behind a key": (lambda: raise_(ValueError(), KeyError()), True),
    "a disk": (lambda: Path("/nowhere/file").read_bytes(), False),
    "a disk behind a value": (lambda: raise_(ValueError("no image"), OSError()), False),
    "a disk that was handled": (lambda: within(ValueError(), OSError()), False),
    "memory": (lambda: raise_(MemoryError()), False),
    "the device": (lambda: raise_(RuntimeError("CUDA error: launch failed")), False),
    "torch": (lambda: torch.zeros(2) @ torch.zeros(3), False),
    "arithmetic": (lambda: raise_(ArithmeticError()), False),
    "the network": (lambda: raise_(ConnectionError()), False),
    "a library's own value error": (lambda: raise_(pa.ArrowInvalid("truncated")), False),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_is_permanent_if_nothing_outside_the_shard_has_a_part_in_it(case: str) -> None:
    fail, permanent = CASES[case]
    with pytest.raises(Exception) as raised:  # noqa: PT011  # each case has its own
        fail()
    assert is_permanent(raised.value) is permanent
