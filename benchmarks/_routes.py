"""The routes that every contestant gets: the Hub's and one for each user. Needs nothing but Python,
as the Hub's process imports it too."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["HUB_ROUTE", "data_of", "path_of", "spec_of", "user_name"]

HUB_ROUTE: Final = "/"

_SYLLABLES: Final = [consonant + vowel for consonant in "bdfghklmnprstv" for vowel in "aeiou"]
_PRIME: Final = 16_777_213  # below 70**4: four syllables for each number, no two alike
_STEP: Final = 7_654_321


def user_name(number: int) -> str:
    """The name of the user with this number; names have no prefix in common, as people's."""
    rest = (number + 1) * _STEP % _PRIME
    syllables = []
    for _ in range(4):
        rest, digit = divmod(rest, len(_SYLLABLES))
        syllables.append(_SYLLABLES[digit])
    return "".join(syllables)


def spec_of(number: int) -> str:
    """The routespec of a user's server."""
    return f"/user/{user_name(number)}/"


def path_of(number: int) -> str:
    """A page of a user's server."""
    return f"/user/{user_name(number)}/lab"


def data_of(number: int) -> dict[str, Any]:
    """What JupyterHub keeps with a user's route."""
    return {"user": user_name(number), "server_name": ""}
