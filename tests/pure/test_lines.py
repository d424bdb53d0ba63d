"""Files of lines that many processes write at once: bounded, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker.edge import audit, lines
from safedocker.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys; sys.path.insert(0, sys.argv[1])
from safedocker.edge import lines
for n in range(300):
    line = '{"who":%s,"n":%d,"pad":"%s"}' % (sys.argv[3], n, "x" * (n % 97))
    lines.append(sys.argv[2], line, full=4000)
"""


def test_eight_writers_lose_no_line_while_the_file_is_begun_anew(tmp_path):
    file = tmp_path / "audit.jsonl"
    argv = [sys.executable, "-ISc", WRITER, str(ROOT), str(file)]
    writers = [subprocess.Popen([*argv, str(who)]) for who in range(8)]
    assert [one.wait() for one in writers] == [0] * 8
    found = [(line["who"], line["n"]) for line in lines.read(str(file))]
    assert sorted(found) == [(who, n) for who in range(8) for n in range(300)]
    parts = lines.files(str(file))
    assert len(parts) > 4  # while one process begins it anew, the others still write into it
    assert parts[:2] == [f"{file}.1", f"{file}.2"]


def test_files_are_read_the_oldest_first_and_by_their_end(tmp_path):
    file = str(tmp_path / "a.jsonl")
    for n in range(40):
        lines.append(file, json.dumps({"n": n}), full=100)
    assert [line["n"] for line in lines.read(file)] == list(range(40))
    assert [line["n"] for line in lines.read(file, last=60)] == list(range(34, 40))  # 10 bytes each
    assert list(lines.read(str(tmp_path / "none"))) == []
    assert list(lines.read(str(tmp_path / "no" / "folder"))) == []


def test_what_a_full_disk_cut_short_takes_no_whole_line_with_it(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"n": 1}\n{"n": 2, "los')
    lines.append(str(file), '{"n": 3}')
    assert [line["n"] for line in lines.read(str(file))] == [1, 3]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_line_that_can_not_be_written_whole_is_refused(tmp_path):
    file = tmp_path / "audit.jsonl"
    file.symlink_to("/dev/full")
    with pytest.raises(Refused, match="nothing was removed"):
        audit.write(file, {"outcome": "pass"})


def test_lines_that_can_not_be_read_are_passed_over(tmp_path):
    file = tmp_path / "a.jsonl"
    deep = "[" * 100_000
    file.write_bytes(b"\xff\xfe\n[1]\n7\n" + deep.encode() + b'\n{"n": NaN}\n{"n": 1}\n')
    assert [line["n"] for line in lines.read(str(file))][-1] == 1


def test_what_is_for_others_is_readable_whatever_the_umask_and_never_somebody_elses(tmp_path):
    before = os.umask(0o077)
    try:
        lines.append(str(tmp_path / "1.jsonl"), "{}", shared=True)
        lines.append(str(tmp_path / "own.jsonl"), "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "1.jsonl").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "own.jsonl").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link.jsonl").symlink_to("1.jsonl")
    with pytest.raises(OSError, match="ymbolic"):
        lines.append(str(tmp_path / "link.jsonl"), "{}", shared=True)
    os.mkfifo(tmp_path / "fifo.jsonl")
    with pytest.raises(OSError, match="somebody else"):
        lines.append(str(tmp_path / "fifo.jsonl"), "{}", shared=True)
    assert list(lines.read(str(tmp_path / "1.jsonl"), owner=os.getuid() + 1)) == []
    assert list(lines.read(str(tmp_path / "fifo.jsonl"), owner=os.getuid())) == []
