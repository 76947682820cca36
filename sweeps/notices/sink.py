"""What a tracker is to a sweep, and what it is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from sweeps.schemas.rates import Point

End = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class About:
    """The sweep: its name, its run directory, the id that all commands on that share, and its configuration."""

    sweep: str
    run: str
    id: str
    configuration: dict[str, Any]  # flat: texts, numbers, truths


@dataclass(frozen=True)
class Update:
    """Numbers by name after so many committed shards of the run directory; points have clocks of their own."""

    step: int
    values: dict[str, float]
    points: Sequence[Point] = ()


class Connection(Protocol):
    """A run in a tracker. Each method may raise or hang: whoever calls it is prepared for that."""

    def send(self, update: Update) -> None:
        """Pass numbers on."""
        ...

    def close(self, end: End) -> None:
        """Say how the command ended, and pass on what is still in memory."""
        ...


class Sink(Protocol):
    """A tracker with its settings, whose names are those of its own library."""

    library: ClassVar[str]  # what must be installed

    def check(self, run: str) -> None:
        """Raise ValueError for what cannot work with this run directory, before any work starts."""
        ...

    def open(self, about: About) -> Connection:
        """Import the library, and start a run or continue the one of this id."""
        ...
