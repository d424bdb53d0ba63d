"""Until when a prune reaches, as Go reads it: durations, dates with and without a zone, seconds."""

from __future__ import annotations

import datetime

import pytest

from safedocker.errors import WouldFail
from safedocker.loss.facts import Facts
from safedocker.loss.filters import until

NOW = 1_800_000_000.0
HOUR = 3600.0


def at(*moment: int) -> float:
    return datetime.datetime(*moment, tzinfo=datetime.UTC).timestamp()  # type: ignore[arg-type,misc]  # year, month, ...


def reaches(text: str, zone: float | None = HOUR) -> float | None:
    facts = Facts(None, (1, 45), {}, (), now=NOW, zone=zone)
    return until((("until", text),), facts)


# Each was seen on 26.1 and 28.5 to be read so.
READ = {
    "1h": NOW - HOUR,
    "-0.5h30m": NOW + HOUR,
    "+1h": NOW - HOUR,
    "1.h": NOW - HOUR,
    "0s": NOW,
    "+0": NOW,
    "0": 0.0,
    "2099-01-01": at(2099, 1, 1) - HOUR,
    "2099-01-01Z": at(2099, 1, 1),
    "2099-01-01+02:00": at(2099, 1, 1) - 2 * HOUR,
    "2099-01-01T5:04:05Z": at(2099, 1, 1, 5, 4, 5),
    "2099-01-01T10": at(2099, 1, 1, 9),
    "2099-01-01T10Z": at(2099, 1, 1, 10),
    "2099-01-01T10:00-05:00": at(2099, 1, 1, 15),
    "2099-01-01T10:00:00,5Z": at(2099, 1, 1, 10) + 0.5,
    "2099-01-01T10:00:00.123456789012Z": at(2099, 1, 1, 10) + 0.123456789,
    "20990101": 20990101.0,
    "+99999999999": 99999999999.0,
    "99999999999.0000000001": 99999999999.0,
    "0001-01-01Z": None,  # the year 1 is no time at all
}


@pytest.mark.parametrize("text", READ)
def test_a_moment_is_read_as_the_engine_reads_it(text: str) -> None:
    assert reaches(text) == pytest.approx(READ[text], abs=1e-3) if READ[text] else True
    assert (reaches(text) is None) == (READ[text] is None)


REFUSED = (
    *("", "1H", "1e1s", "9999999h", "-9999999h", "2099-1-1", "2099-W05", "2099-01-01 10:00:00"),
    *("2099-01-01T24:00:00Z", "2099-02-30", "2099-01-01z", "-5", "2099-01-01T10:00:00+0200"),
)


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_engine_can_not_read_fails_by_itself(text: str) -> None:
    with pytest.raises(WouldFail, match="failed to parse"):
        reaches(text)


def test_where_the_engine_tells_no_zone_a_date_is_over_as_late_as_it_can_be() -> None:
    assert reaches("2099-01-01", None) == at(2099, 1, 1, 14)
