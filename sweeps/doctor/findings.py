"""What a check found, and how it is printed."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """A line of the doctor: `wrong` stops sweeps, `note` is something that some of them lack."""

    state: State
    topic: str
    text: str

    def line(self) -> str:
        """Return the finding with its state first, so that a column says where to look."""
        return f"{self.state:<5}  {self.topic:<15} {self.text}"


def verdict(findings: list[Finding]) -> str:
    """Return the last line: whether sweeps can run here."""
    wrong = [finding.topic for finding in findings if finding.state == "wrong"]
    if wrong:
        return f"Sweeps cannot run as asked: see {', '.join(wrong)}."
    return "Sweeps can run here."
