"""What the system's log gets, at sockets of our own; the real journald is asked in tests/engine."""

from __future__ import annotations

import json
import os
import socket
import time

import pytest

from safedocker.edge import journal, wording_log

LINE = {
    "at": "2026-11-26T21:56:31+00:00",
    "directory": "/home/anna",
    "caller": "agent",
    "caller_mark": "CLAUDECODE",
    "person": 1001,
    "command": "docker volume rm pgdata",
    "form": "volume-rm",
    "outcome": "backed up",
    "backup": "20261126-215636-5908",
    "project": None,
    "losses": [
        {"kind": "named volume", "name": "pgdata"},
        {"kind": "container layer", "name": "w"},
    ],
}


@pytest.fixture
def listen(tmp_path):
    opened = []

    def one(name):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(tmp_path / name))
        listener.settimeout(5)
        opened.append(listener)
        return listener

    yield one
    for listener in opened:
        listener.close()


def fields(entry):
    """The journal's native protocol, read by its own rules."""
    found = []
    while entry:
        head, _, entry = entry.partition(b"\n")
        key, equals, value = head.partition(b"=")
        if not equals:
            size = int.from_bytes(entry[:8], "little")
            value, entry = entry[8 : 8 + size], entry[8 + size + 1 :]
        found.append((key.decode(), value.decode()))
    return found


def send(tmp_path, text="bob: docker", line=LINE):
    return journal.send(text, line, journal=str(tmp_path / "j"), syslog=str(tmp_path / "s"))


def test_journald_gets_fields_that_can_be_asked_for(tmp_path, listen):
    listener = listen("j")
    assert send(tmp_path, "two\nlines") == ""
    found = dict(fields(listener.recv(1 << 16)))
    assert found["MESSAGE"] == "two\nlines"
    assert found["SYSLOG_IDENTIFIER"] == "safedocker"
    assert found["SAFEDOCKER_VOLUME"] == "pgdata"
    assert found["SAFEDOCKER_BACKUP"] == LINE["backup"]
    assert "SAFEDOCKER_PROJECT" not in found
    assert json.loads(found["SAFEDOCKER_LINE"]) == LINE


def test_what_is_too_long_for_a_datagram_goes_as_a_sealed_file(tmp_path, listen):
    listener = listen("j")
    losses = [{"kind": "named volume", "name": f"volume-{n}"} for n in range(20_000)]
    assert send(tmp_path, line={**LINE, "losses": losses}) == ""
    data, handed, _flags, _from = socket.recv_fds(listener, 16, 1)
    assert data == b""
    with os.fdopen(handed[0], "rb") as file:
        file.seek(0)
        found = fields(file.read())
    assert sum(key == "SAFEDOCKER_VOLUME" for key, _ in found) == 20_000


def test_without_journald_syslog_gets_a_line(tmp_path, listen):
    listener = listen("s")
    assert send(tmp_path, "two\nlines") == ""
    told = listener.recv(1 << 16).decode()
    assert told.startswith(f"<85>safedocker[{os.getpid()}]: two lines {{")
    assert json.loads(told[told.index("{") :]) == LINE


def test_syslog_is_told_less_of_a_plan_that_is_too_long_for_it(tmp_path, listen):
    listener = listen("s")
    losses = [{"kind": "named volume", "name": f"volume-{n}"} for n in range(2_000)]
    assert send(tmp_path, line={**LINE, "losses": losses}) == ""
    told = json.loads((text := listener.recv(1 << 16).decode())[text.index("{") :])
    assert told["losses"] == "too many to tell here"
    assert told["command"] == LINE["command"]


def test_no_log_at_all_is_a_sentence(tmp_path):
    assert "No such file" in send(tmp_path)


def test_a_log_that_is_stuck_is_not_waited_for(tmp_path, listen):
    listen("j")
    began = time.monotonic()
    while not send(tmp_path):  # until its buffer is full
        assert time.monotonic() - began < 30
    assert time.monotonic() - began < 30


def test_the_sentence_says_no_more_than_is_known():
    told = wording_log.sentence(LINE, {1001: "bob"}.__getitem__)
    assert told == (
        "bob [agent: CLAUDECODE] in /home/anna: docker volume rm pgdata: let run after a backup "
        "(pgdata, w)"
    )
