"""What a judge finds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken.

    rule: which.
    spec: of the route that it is about; may be empty.
    """

    rule: str
    text: str
    begin: float
    end: float
    spec: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"
