"""What the filters of a prune select: the command's own and those of the configuration. Pure."""

from __future__ import annotations

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
    own, which nobody tells: then it is the widest that it can be.
    Raise WouldFail for what the engine can't read. Source: moby api/types/time/timestamp.go.
    """
    said = {value for key, value in filters if key == "until"}
    if not said:
        return None
    if len(said) > 1:
        raise WouldFail("more than one until filter specified")
    (text,) = said
    seconds = _duration(text)
    if seconds is not None:
        return float(int(facts.now - seconds)) if facts.now else None
    if re.fullmatch(r"\d+(\.\d{1,9})?", text):
        return float(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise WouldFail(f"failed to parse value as time or duration: {text!r}") from None
    if moment.tzinfo is not None:
        return moment.timestamp()
    widest = moment.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-14)))
    return widest.timestamp()


def _duration(text: str) -> float | None:
    """Read Go's duration, in seconds; None when it is none."""
    sign = -1.0 if text[:1] == "-" else 1.0
    body = text[1:] if text[:1] in {"-", "+"} else text
    if body == "0":
        return 0.0
    amounts: Iterable[re.Match[str]] = list(_AMOUNT.finditer(body))
    if not body or "".join(found[0] for found in amounts) != body:
        return None
    return sign * sum(float(found[1]) * _SECONDS[found[2]] for found in amounts)
