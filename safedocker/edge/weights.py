"""What an engine's volumes, images and build cache come to, by its own count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safedocker.edge import answers
from safedocker.edge.wire import Wire
from safedocker.errors import NoEngine
from safedocker.loss.storage import Weights

ONE_KIND_SINCE = (1, 42)  # before it the engine counts the volumes too


def find_volumes(wire: Wire, seconds: float) -> list[dict[str, Any]]:
    """What the engine counts of its volumes; nothing when it takes longer than `seconds`."""
    params = {"type": "volume"} if wire.api >= ONE_KIND_SINCE else {}
    try:
        found = wire.json("GET", "/system/df", "count", params, timeout=seconds)
    except NoEngine:
        return []
    return answers.mappings(answers.mapping(found), "Volumes")


def ask(wire: Wire, seconds: float) -> Weights:
    """Nothing is told when it takes longer than `seconds`."""
    params = {"type": ["image", "build-cache"]} if wire.api >= ONE_KIND_SINCE else {}
    try:
        found = answers.mapping(
            wire.json("GET", "/system/df", "count", params, timeout=max(0.1, seconds))
        )
    except NoEngine:
        return Weights()
    unused = [
        int(one["Size"]) - max(0, int(one["SharedSize"]))
        for one in answers.mappings(found, "Images")
        if one.get("Containers") == 0
        and isinstance(one.get("Size"), int)
        and isinstance(one.get("SharedSize"), int)
    ]
    cache = [
        one["Size"]
        for one in answers.mappings(found, "BuildCache")
        if isinstance(one.get("Size"), int) and not one.get("Shared")
    ]
    images = found.get("LayersSize")
    return Weights(images if isinstance(images, int) else None, sum(unused), sum(cache))


def count(wire: Wire, names: Iterable[str], seconds: float) -> dict[str, int | None]:
    """The bytes of these volumes as the engine counts them, of those it knows; None where it tried
    to, and could not.

    Source: moby volume/service/convert.go, -1 where directory.Size fails.
    """
    if seconds <= 0:
        return {}
    wanted = frozenset(names)
    counted: dict[str, int | None] = {}
    for one in find_volumes(wire, seconds):
        name = answers.text(one, "Name")
        size = answers.mapping(one.get("UsageData")).get("Size")
        if name in wanted and isinstance(size, int):
            counted[name] = size if size >= 0 else None
    return counted
