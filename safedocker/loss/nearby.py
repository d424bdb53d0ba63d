"""What was meant by a path that is not there: names much like it among those that stand beside
it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 3


def nearest(name: str, others: Iterable[str]) -> tuple[str, ...]:
    """The names most like `name`, the likest first; at most SHOWN of them, perhaps none.

    Like are names that differ in case alone, or in a letter for every three; and such as one is the
    beginning of the other.
    """
    found = []
    for other in dict.fromkeys(others):
        if other == name:
            continue
        folded, wanted = other.casefold(), name.casefold()
        steps = distance(folded, wanted, len(wanted) // 3)
        begins = min(len(folded), len(wanted)) >= 3 and (
            folded.startswith(wanted) or wanted.startswith(folded)
        )
        if steps is not None or begins:
            found.append((len(wanted) if steps is None else steps, other))
    return tuple(other for _, other in sorted(found)[:SHOWN])


def distance(one: str, other: str, most: int) -> int | None:
    """How many letters to put in, leave out, replace or swap with the next make `one` of `other`;
    None if more than `most`."""
    if abs(len(one) - len(other)) > most:
        return None
    before: list[int] = []
    line = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        earlier, before, line = before, line, [row]
        for column, theirs in enumerate(other, 1):
            steps = min(
                before[column] + 1,
                line[column - 1] + 1,
                before[column - 1] + (letter != theirs),
            )
            swapped = row > 1 and column > 1 and one[row - 2] == theirs
            if swapped and letter == other[column - 2]:
                steps = min(steps, earlier[column - 2] + 1)
            line.append(steps)
    return line[-1] if line[-1] <= most else None


def looks_like_file(source: str, target: str) -> bool:
    """Do both names end like a file's: `./nginx.conf` at `/etc/nginx/nginx.conf`?"""
    return all(_has_suffix(path.rstrip("/").rpartition("/")[2]) for path in (source, target))


def _has_suffix(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return bool(stem) and suffix.isalnum() and suffix != "d" and len(suffix) <= 5
