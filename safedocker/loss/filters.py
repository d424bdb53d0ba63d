"""What the filters of a prune select: the command's own and those of the configuration. Pure."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterable, Mapping

from safedocker.command.parse import Command
from safedocker.errors import WouldFail
from safedocker.loss.facts import Facts

Filters = tuple[tuple[str, str], ...]

TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def given(command: Command) -> Filters:
    """The command's own filters. Raise WouldFail for one that the client refuses."""
    for value in command.values("filter"):
        if value and "=" not in value:
            raise WouldFail("bad format of filter (expected name=value)")
    return tuple(_split(value) for value in command.values("filter") if value)


def in_force(command: Command, facts: Facts) -> Filters:
    """The prune filters in force: the command's own, then the configuration's that this client
    sends. The command's label supersedes the configuration's opposite of it.

    Source: docker/cli cli/command/utils.go PruneFilters.
    """
    own = given(command)
    merged = list(own)
    for key, value in facts.prune_filters:
        opposite = {"label": "label!", "label!": "label"}.get(key)
        if (opposite, value) not in own:
            merged.append((key, value))
    return tuple(merged)


def _split(filter_: str) -> tuple[str, str]:
    """`label!=x` is the key `label!` with the value `x`, as Docker's own option type splits it."""
    key, _, value = filter_.partition("=")
    return key.strip().lower(), value.strip()


def check(filters: Filters, known: frozenset[str]) -> None:
    """Raise WouldFail for a key that the engine refuses at this step."""
    for key, _ in filters:
        if key not in known:
            raise WouldFail(f"invalid filter {key!r}")


def passes(filters: Filters, labels: Mapping[str, str]) -> bool:
    """Do the label filters select something with these labels?

    Every `label=` must match; a thing is spared by `label!=` only when it carries *all* the labels
    so named (docker/cli#6918; engines 20.10 to 29.7).
    """
    wanted = [value for key, value in filters if key == "label"]
    spared = [value for key, value in filters if key == "label!"]
    if not all(_has(labels, value) for value in wanted):
        return False
    return not spared or not all(_has(labels, value) for value in spared)


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


_SECONDS = {
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}
_AMOUNT = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s|us|µs|μs|ns)")


def until(filters: Filters, facts: Facts) -> float | None:
    """The moment before which a thing must have been made to be pruned; None: at any time.

    Seconds since the epoch by the engine's clock, whole ones as the engine reckons: `until=0s`
    spares what was made within the running second. A date without a zone is read in the engine's
    own, and where that is not known it is the widest that it can be.
    Raise WouldFail for what the engine can't read. Source: moby api/types/time/timestamp.go.
    """
    said = {value for key, value in filters if key == "until"}
    if not said:
        return None
    if len(said) > 1:
        raise WouldFail("more than one until filter specified")
    (text,) = said
    seconds = None if text == "0" else _duration(text)
    if seconds is not None:
        return float(int(facts.now - seconds)) if facts.now else None
    moment = _moment(text, _WIDEST if facts.zone is None else facts.zone)
    return None if moment == _GO_ZERO else moment


_GO_ZERO = -62135596800.0  # the first second of the year 1, which the engine takes for no time
_WIDEST = -14 * 3600.0  # the zone in which a date is last over


def _moment(text: str, zone: float) -> float:
    """Read a date, with or without a time and a zone, or seconds since the epoch. `zone` is the
    engine's own, in seconds east of Greenwich. Raise WouldFail for what is none of them."""
    zoned = not {"z", "Z", "+"}.isdisjoint(text) or text.count("-") == 3
    clock = 0  # how many of hours, minutes and seconds are looked for
    if "." in text:
        clock = 3
    elif "T" in text:
        colons = text.count(":")
        of_zone = zoned and {"z", "Z"}.isdisjoint(text) and colons > 0
        clock = min(colons - of_zone, 2) + 1
    pattern = _DATE + "".join(_CLOCK[:clock]) + (_ZONE if zoned else "")
    if found := re.fullmatch(pattern, text, re.ASCII):
        told = found.groupdict("0")
        hour, minute, second = (int(told.get(part, "0")) for part in ("hour", "minute", "second"))
        fraction = float(f"0.{told.get('fraction', '0')}")
        if zoned:
            zone = 3600.0 * int(told["hours"]) + 60.0 * int(told["minutes"])
            zone = -zone if told["sign"] == "-" else zone
        with contextlib.suppress(ValueError):  # no such day, hour, ...
            date = datetime.datetime(
                *(int(told["year"]), int(told["month"]), int(told["day"])),
                *(hour, minute, second),
                tzinfo=datetime.UTC,
            )
            return (date - _EPOCH).total_seconds() + fraction - zone
    if "-" not in text and (found := re.fullmatch(r"(\+?[0-9]+)(?:\.\+?([0-9]+))?", text)):
        whole, part = int(found[1]), found[2] or "0"
        if max(whole, int(part)) < 1 << 63:
            return whole + float(f"0.{part}")
    raise WouldFail(f"failed to parse value as time or duration: {text!r}")


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DATE = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
_CLOCK = (
    r"T(?P<hour>\d{1,2})",
    r":(?P<minute>\d\d)",
    r":(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?",
)
_ZONE = r"(?:Z|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))"
_LONGEST = (1 << 63) / 1e9  # seconds that a duration has room for


def _duration(text: str) -> float | None:
    """Read Go's duration, in seconds; None when it is none, or longer than one can be."""
    sign = -1.0 if text[:1] == "-" else 1.0
    body = text[1:] if text[:1] in {"-", "+"} else text
    if body == "0":
        return 0.0
    amounts: Iterable[re.Match[str]] = list(_AMOUNT.finditer(body))
    if not body or "".join(found[0] for found in amounts) != body:
        return None
    seconds = sum(float(found[1]) * _SECONDS[found[2]] for found in amounts)
    return sign * seconds if seconds < _LONGEST else None
