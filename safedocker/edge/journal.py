"""The system's log: a line to journald by its native protocol, else to syslog. Both are written by
a process of the system's, so that who sent a line can't change it afterwards. Nothing is decided
here."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
SECONDS = 0.5  # a log that is stuck is waited for so long
_NOTICE, _AUTHPRIV = 5, 10  # Source: syslog(3)
_LONGEST = 8000  # bytes of a message to syslog, which many daemons cut


def send(
    text: str, line: Mapping[str, Any], *, journal: str = JOURNAL, syslog: str = SYSLOG
) -> str:
    """Send a sentence and the line it stands for. Return "" when a log took it, else why none
    did."""
    try:
        _to_journal(journal, _entry(text, line))
    except OSError as fault:
        why = f"{journal}: {fault.strerror or fault}"
    else:
        return ""
    try:
        _to_syslog(syslog, text, line)
    except OSError as fault:
        return f"{why}; {syslog}: {fault.strerror or fault}"
    return ""


def _entry(text: str, line: Mapping[str, Any]) -> bytes:
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(_NOTICE),
        "SYSLOG_FACILITY": str(_AUTHPRIV),
        "SYSLOG_IDENTIFIER": "safedocker",
        "SYSLOG_PID": str(os.getpid()),
        "SAFEDOCKER_LINE": json.dumps(line, ensure_ascii=True, separators=(",", ":")),
    }
    for key in ("outcome", "form", "project", "engine", "caller", "backup", "directory", "person"):
        value = line.get(key)
        if value is not None and value != "":
            fields[f"SAFEDOCKER_{key.upper()}"] = str(value)
    pairs = [*fields.items(), *(("SAFEDOCKER_VOLUME", name) for name in _volumes(line))]
    return b"".join(_field(key, value.encode("utf-8", "backslashreplace")) for key, value in pairs)


def _volumes(line: Mapping[str, Any]) -> Sequence[str]:
    losses = line.get("losses") or ()
    return [str(one["name"]) for one in losses if str(one.get("kind", "")).endswith(" volume")]


def _field(key: str, value: bytes) -> bytes:
    """Source: systemd.io/JOURNAL_NATIVE_PROTOCOL; what holds a newline goes with its length."""
    if b"\n" in value:
        return b"%s\n%s%s\n" % (key.encode(), len(value).to_bytes(8, "little"), value)
    return b"%s=%s\n" % (key.encode(), value)


def _to_journal(path: str, entry: bytes) -> None:
    with _connected(path) as log:
        try:
            log.send(entry)
        except OSError as fault:
            if fault.errno not in {errno.EMSGSIZE, errno.ENOBUFS}:
                raise
            _send_file(log, entry)


def _send_file(log: socket.socket, entry: bytes) -> None:
    """What is too long for a datagram goes as a sealed file in memory, by the same protocol."""
    file = os.memfd_create("safedocker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(file, "wb", closefd=False) as written:
            written.write(entry)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        handed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))
        log.sendmsg([], [handed])
    finally:
        os.close(file)


def _to_syslog(path: str, text: str, line: Mapping[str, Any]) -> None:
    told = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
    if len(told) > _LONGEST:  # the names of what goes are in the sentence
        told = json.dumps({**line, "losses": "too many to tell here"}, ensure_ascii=True)
    head = f"<{_AUTHPRIV * 8 + _NOTICE}>safedocker[{os.getpid()}]: "
    message = f"{head}{' '.join(text.split())} {told}".encode("utf-8", "backslashreplace")
    with _connected(path) as log:
        log.send(message[:_LONGEST])


@contextlib.contextmanager
def _connected(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as log:
        log.settimeout(SECONDS)
        log.connect(path)
        yield log
