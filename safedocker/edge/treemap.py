"""A treemap's layout: rectangles whose areas are as weights, as square as may be. Pure.

Source: Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def squarify(weights: Sequence[int], box: Box) -> list[Box]:
    """Divide a box: one rectangle for each weight, in their order; they fill the box and do not
    overlap. A weight of 0 gets none of it."""
    order = sorted(
        (index for index, weight in enumerate(weights) if weight > 0),
        key=lambda index: -weights[index],
    )
    sizes = [weights[index] for index in order]
    placed = [Box(box.x, box.y, 0.0, 0.0)] * len(weights)
    at, left, remaining = 0, box, sum(sizes)
    while at < len(sizes):
        long, short = max(left.width, left.height), min(left.width, left.height)
        # How many times as long as wide a row of all that remains would be.
        stretch = long / short if short > 0 else 1.0
        end = at + 1
        while end < len(sizes) and (
            _worst(sizes[at : end + 1], remaining, stretch)
            <= _worst(sizes[at:end], remaining, stretch)
        ):
            end += 1
        boxes, left = _row(sizes[at:end], left, remaining)
        for index, one in zip(order[at:end], boxes, strict=True):
            placed[index] = one
        remaining -= sum(sizes[at:end])
        at = end
    return placed


def _worst(row: Sequence[int], remaining: int, stretch: float) -> float:
    """The worst ratio of the sides of rectangles in a row along the shorter side, the largest
    weight first."""
    total = sum(row)
    thick = total / remaining * stretch  # of the row, in shorter sides
    return max(
        max(thick / (weight / total), weight / total / thick) for weight in (row[0], row[-1])
    )


def _row(row: Sequence[int], box: Box, remaining: int) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side; return its rectangles and what is left of the box. Shares
    are of what is left, so that the last row takes all of it and nothing is lost by rounding."""
    total = sum(row)
    upright = box.width >= box.height
    side = box.height if upright else box.width
    thick = (box.width if upright else box.height) * (total / remaining)
    boxes = []
    done = 0
    for weight in row:
        at, length = side * (done / total), side * (weight / total)
        boxes.append(
            Box(box.x, box.y + at, thick, length)
            if upright
            else Box(box.x + at, box.y, length, thick)
        )
        done += weight
    if upright:
        return boxes, Box(box.x + thick, box.y, max(0.0, box.width - thick), box.height)
    return boxes, Box(box.x, box.y + thick, box.width, max(0.0, box.height - thick))
