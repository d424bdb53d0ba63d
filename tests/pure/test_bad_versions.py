"""The table of versions with known faults: which rows hold for a version, and where to go."""

import pytest

from safedocker.loss.bad_versions import BAD_VERSIONS, Tool, bad_versions


@pytest.mark.parametrize(
    ("tool", "version", "source", "fixed"),
    [
        (Tool.COMPOSE, (2, 3, 3), "docker/compose#9172, #9313", "2.3.4"),
        (Tool.COMPOSE, (2, 3, 4), "docker/compose#9172, #9313", None),
        (Tool.COMPOSE, (2, 26, 1), "docker/compose abcc91e2b", "2.30.0"),
        (Tool.COMPOSE, (2, 32, 0), "docker/compose#12383", "2.32.1"),
        (Tool.COMPOSE, (2, 40, 3), "CVE-2025-62725", None),
        (Tool.COMPOSE, (1, 29, 2), "docker/compose#8895", None),
        (Tool.DOCKER, (28, 5, 2), "docker/cli d97f65c4da, f81816ef88", "29.0.0"),
        (Tool.DOCKER, (28, 0, 4), "docker/cli d97f65c4da, f81816ef88", None),
        (Tool.DOCKER, (29, 7, 2), "docker/cli cli/command/volume/prune.go", ""),
        (Tool.ENGINE, (20, 10, 18), "moby#37706, #41686", "20.10.19"),
        (Tool.ENGINE, (20, 10, 24), "moby#37706, #41686", None),
        (Tool.ENGINE, (24, 0, 5), "moby PR 46253, 46366, 46367", "24.0.6"),
        (Tool.ENGINE, (26, 1, 5), "moby 10d57fde44", "27.4.0"),
        (Tool.ENGINE, (28, 5, 2), "moby 10d57fde44", None),
        (Tool.ENGINE, (25, 0, 17), "CVE-2026-41568, CVE-2026-42306", None),
        (Tool.ENGINE, (29, 7, 2), "docker/cli#6918", ""),
    ],
)
def test_a_fault_holds_for_its_versions(tool, version, source, fixed):
    held = {row.source: row.fixed(version) for row in bad_versions(tool, version)}
    assert held.get(source) == fixed


def test_every_row_is_whole():
    for row in BAD_VERSIONS:
        assert row.what
        assert row.source
        assert row.spans
        for first, fixed in row.spans:
            assert first < fixed
