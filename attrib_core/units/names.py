"""How a unit of a layer is written: `12`, `12:center`, `concepts.safetensors#stripes:3`, and with `:center`."""

from dataclasses import dataclass
from typing import Self

CENTER = "center"


@dataclass(frozen=True)
class UnitName:
    """A channel or a direction of a layer, over all places or in the middle."""

    number: int  # of the channel, or of the direction in its tensor
    source: str = ""  # of directions: `FILE#key`
    center: bool = False

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the name that `str` has written."""
        rest, colon, last = text.rpartition(":")
        center = bool(colon) and last == CENTER
        source, _, number = (rest if center else text).rpartition(":")
        return cls(int(number), source, center)

    def __str__(self) -> str:
        return ":".join([*([self.source] if self.source else []), str(self.number), *[CENTER] * self.center])
