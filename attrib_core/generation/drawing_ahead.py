"""The random numbers of a stage's steps, drawn in a thread while the device works, and uploaded once a block.

What a step draws is known once a step has drawn it: the transforms and priors of a stage ask for the same at each.
So the first step of a stage draws one number after the other, and its requests are drawn ahead for the steps that
follow. A step that asks for something else gets that as well, and what it asked for is then drawn ahead. Either
way an image gets the numbers that its own generator gives at this step.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from attrib_core.execution import Execution
from attrib_core.seeding import Key, Randomness

FIRST_BLOCK_STEPS, BLOCK_STEPS = 4, 32  # the device waits for the first block
BLOCK_NUMBERS = 2**24  # two blocks of them are 128 MiB
KeysOfStep = Callable[[int], Sequence[Key]]


class Request(NamedTuple):
    """A call of one of the methods of `Randomness`."""

    method: str
    arguments: tuple[object, ...]

    def draw(self, randomness: Randomness) -> Tensor:
        """Return what the request gives `[B, ...]`."""
        drawn: Tensor = getattr(randomness, self.method)(*self.arguments)
        return drawn

    def is_repeated_by(self, other: "Request") -> bool:
        """Return True if the other asks for the same; numbers in tensors are not looked at."""
        if any(isinstance(each, Tensor) for each in (*self.arguments, *other.arguments)):
            return False
        return self == other


class DrawnAhead:
    """The random numbers of a batch in the steps up to `end`; `keys(step)` are those of its images."""

    def __init__(self, keys: KeysOfStep, execution: Execution, pool: ThreadPoolExecutor, end: int) -> None:
        self._keys, self._execution, self._pool, self._end = keys, execution, pool, end
        self._last: StepRandomness | None = None
        self._plan: list[Request] = []
        self._shapes: list[torch.Size] = []  # of what each request gives
        self._block: tuple[range, Tensor | None] = (range(0), None)  # steps, and their numbers [S, N]
        self._next: tuple[range, Future[Tensor]] | None = None

    def step(self, step: int) -> "StepRandomness":
        """Return the randomness of one step; steps come in their order."""
        if self._last is not None and self._last.has_diverged:
            self._follow(self._last, step)
        drawn = self._drawn(step) if self._plan else None
        self._last = StepRandomness(self._keys(step), self._execution, self._plan, drawn)
        return self._last

    def _follow(self, last: "StepRandomness", step: int) -> None:
        """Draw ahead from `step` on what the last step asked for."""
        self._plan, self._shapes = last.requests, last.shapes
        self._block, self._next = (range(0), None), None
        self._submit(step, FIRST_BLOCK_STEPS)

    def _submit(self, start: int, num_steps: int) -> None:
        most = BLOCK_NUMBERS // max(1, sum(map(math.prod, self._shapes)))
        steps = range(start, min(self._end, start + max(1, min(num_steps, most))))
        if self._plan and steps:
            self._next = (
                steps,
                self._pool.submit(draw_block, self._plan, [self._keys(step) for step in steps]),
            )

    def _drawn(self, step: int) -> list[Tensor]:
        """Return what the planned requests give at a step, views of a block on the device."""
        if step not in self._block[0]:
            assert self._next is not None
            steps, future = self._next
            self._block = steps, self._execution.to_device(future.result())
            self._submit(steps.stop, BLOCK_STEPS)
        steps, numbers = self._block
        assert numbers is not None
        parts = torch.split(numbers[step - steps.start], [shape.numel() for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


def draw_block(plan: Sequence[Request], keys_by_step: Sequence[Sequence[Key]]) -> Tensor:
    """Return what the requests give at several steps `[S, N]`: in a row one request `[B, ...]` after the other."""
    # Uniform numbers that come before anything else are drawn in one piece.
    counted = _CountingRandomness(keys_by_step[0])
    for request in plan:
        request.draw(counted)
    rows = []
    for keys in keys_by_step:
        randomness = Randomness(keys, num_uniform=counted.num_uniform)
        rows.append(torch.cat([request.draw(randomness).flatten() for request in plan]))
    return torch.stack(rows)


class _CountingRandomness(Randomness):
    """Counts the uniform numbers of an image that are drawn before any others."""

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__(keys)
        self.num_uniform, self._others = 0, False

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        if not self._others:
            self.num_uniform += math.prod(shape)
        return super().uniform(low, high, *shape)

    def normal(self, *shape: int) -> Tensor:
        self._others = True
        return super().normal(*shape)


class StepRandomness(Randomness):
    """The random numbers of one step: those drawn ahead while the step asks for them, and others as it asks."""

    def __init__(
        self, keys: Sequence[Key], execution: Execution, plan: Sequence[Request], drawn: list[Tensor] | None
    ) -> None:
        self._keys, self._execution = tuple(keys), execution
        self._plan, self._ahead = plan, drawn or []
        self._host: Randomness | None = None  # where the step has asked for something else
        self.requests: list[Request] = []
        self.shapes: list[torch.Size] = []

    @property
    def has_diverged(self) -> bool:
        """True if the step asked for something that was not drawn ahead."""
        return self._host is not None

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return self._draw(Request("uniform", (low, high, *shape)))

    def normal(self, *shape: int) -> Tensor:
        return self._draw(Request("normal", shape))

    def on_host(self, compute: Callable[[Randomness], Tensor]) -> Tensor:
        return self._draw(Request("on_host", (compute,)))

    def _draw(self, request: Request) -> Tensor:
        position = len(self.requests)
        drawn = self._planned(request, position)
        if drawn is None:
            drawn = self._execution.to_device(request.draw(self._host_at(position)))
        self.requests.append(request)
        self.shapes.append(drawn.shape)
        return drawn

    def _planned(self, request: Request, position: int) -> Tensor | None:
        if self._host is not None or position >= len(self._ahead):
            return None
        return self._ahead[position] if self._plan[position].is_repeated_by(request) else None

    def _host_at(self, position: int) -> Randomness:
        """Return the generators of the step as they are after its first requests."""
        if self._host is None:
            self._host = Randomness(self._keys)
            for request in self.requests[:position]:
                request.draw(self._host)
        return self._host
