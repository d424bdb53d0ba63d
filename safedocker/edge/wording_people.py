"""Whose things are, in words: what a preview and a refusal say of other people's data. Nothing is
printed here."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from safedocker.loss.plan import Sign

if TYPE_CHECKING:
    from safedocker.loss.plan import Loss, Ownership

SHOWN = 6  # names in one line


def not_yours(losses: Sequence[Loss], name: Callable[[str], str]) -> list[str]:
    """A line for each owner who is another person, and for each way in which that is known: "a, b
    belong to anna: ...". `name` writes a loss's name."""
    groups: dict[tuple[int, Sign, str], list[Loss]] = {}
    for loss in losses:
        if loss.owner is not None and loss.anothers:
            owner = loss.owner
            groups.setdefault((owner.uid, owner.sign, owner.told), []).append(loss)
    lines = []
    for found in groups.values():
        names = ", ".join(name(loss.name) for loss in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        whose = found[0].owner
        if whose is not None:
            verb = "belong" if len(found) > 1 else "belongs"
            lines.append(f"{names}{more} {verb} to {whose.name}: {why(whose)}")
    return lines


def why(owner: Ownership) -> str:
    """How it is known whose it is."""
    match owner.sign:
        case Sign.LABEL:
            return f"label {owner.told}"
        case Sign.MADE:
            return f"made by {owner.name} on {_day(owner.at)}, says this machine's log"
        case Sign.FOLDER:
            return f"the Compose project is in {owner.name}'s folder {owner.told}"
        case Sign.ALONE:
            what = f"brought project {owner.told} up" if owner.told else "used it"
            return f"by this machine's log nobody else ever {what}, first on {_day(owner.at)}"
        case _:
            return assert_never(owner.sign)


def _day(at: float | None) -> str:
    if at is None:
        return "a day that is not known"
    return f"{datetime.datetime.fromtimestamp(at).astimezone():%Y-%m-%d}"


def of(losses: Sequence[Loss]) -> str:
    """ " (anna's)" where all of a group are one other person's, " (of several people)" where they
    are of more; else ""."""
    names = {loss.owner.name if loss.owner and loss.anothers else "" for loss in losses}
    if names == {""} or not names:
        return ""
    return f" ({names.pop()}'s)" if len(names) == 1 else " (of several people)"


def ways_on(losses: Sequence[Loss]) -> str:
    """After a refusal: who may."""
    names = list(dict.fromkeys(loss.owner.name for loss in losses if loss.owner and loss.anothers))
    who = " and ".join(names)
    return f"to have it removed: ask {who}, or have root type it at a terminal"


def as_json(owner: Ownership | None) -> dict[str, object] | None:
    """For programs; None: it is not known."""
    if owner is None:
        return None
    return {
        "uid": owner.uid,
        "name": owner.name,
        "mine": owner.mine,
        "sign": owner.sign.value,
        "told": owner.told or None,
    }
