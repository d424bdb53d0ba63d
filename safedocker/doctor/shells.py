"""Which docker the person's shells run, and sudo: each is really started, as a login and as a
terminal starts it."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safedocker.doctor.report import Finding, Report, ShellSeen
from safedocker.edge import process
from safedocker.errors import SafedockerError
from safedocker.install import person
from safedocker.install.shells import SECONDS, find_shell, whoami

_MARK = "safedocker-doctor"
_LOGIN_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"  # as login(1) has it
_SUDOERS = ("sudo", "wheel", "admin")  # groups that the systems give sudo to
_KEPT = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "ZDOTDIR")
_KEPT_BEGINNINGS = ("XDG_", "LC_")

# What docker is there, the folder of our functions, and PATH, between marks: start files may print.
_SH = (
    f"printf '\\n%s\\n' {_MARK}; command -v docker; printf '%s\\n' {_MARK} "
    f'"${{safedocker_shims-}}" "$PATH" {_MARK}'
)
_FISH = (
    f"echo; echo {_MARK}; if functions -q docker; echo docker; else; command -s docker; end; "
    f'echo {_MARK}; echo "$safedocker_shims"; string join : $PATH; echo {_MARK}'
)
INSTALL = "safedocker install"
INSTALL_SYSTEM = "sudo safedocker install --system"


def examine(report: Report) -> None:
    """Start each shell of the person's, and sudo, and note what is found."""
    who = whoami(os.environ)
    for shell in who.shells:
        for started in ("login", "interactive") if shell != "sh" else ("login",):
            _look(report, shell, started)
    if shutil.which("sudo"):
        _sudo(report)
    own = [one for one in report.shells if one.shell != "sudo" and one.guarded is False]
    if own and not any(one.guarded for one in report.shells):
        named = ", ".join(dict.fromkeys(one.shell for one in own))
        what = f"no shell of yours goes through a shim ({named}): docker is not guarded"
        report.findings[:] = [one for one in report.findings if one.kind != "shell"]
        report.findings.append(Finding("shell", "installation", what, INSTALL))


def _look(report: Report, shell: str, started: str) -> None:
    """One shell, started in one way."""
    name = f"{shell} ({started})"
    path = find_shell(shell, os.environ)
    first = f"-{shell}" if started == "login" else shell
    flags = ["-i"] if started == "interactive" else []
    words = [first, *flags, "-c", _FISH if shell == "fish" else _SH]
    try:
        told = _started(path, words, _environ(login=started == "login"))
    except subprocess.TimeoutExpired:
        report.shells.append(ShellSeen(shell, started, "", None))
        what = f"it has not started within {SECONDS:.0f} seconds, so its docker is not known"
        to_do = f"see what its start files wait for: {first.lstrip('-')} {' '.join(flags)} -x"
        report.findings.append(Finding("shell", name, what, to_do.replace("  ", " ")))
        return
    _judge(report, shell, started, told)


def _judge(report: Report, shell: str, started: str, told: Sequence[str] | None) -> None:
    if told is None:
        report.shells.append(ShellSeen(shell, started, "", None))
        what = "it ended before it said which docker it runs"
        to_do = f"see what it says by itself: {shell}"
        report.notes.append(Finding("shell", f"{shell} ({started})", what, to_do))
        return
    docker, shims, path = told
    guarded = bool(docker) and _is_guarded(docker, shims, path)
    report.shells.append(ShellSeen(shell, started, docker, guarded if docker else None))
    if docker and not guarded:
        what, to_do = _why_not(docker, path)
        report.findings.append(Finding("shell", f"{shell} ({started})", what, to_do))


def _is_guarded(docker: str, shims: str, path: str) -> bool:
    """Does this go through a shim: a path that is one, a function of ours, an alias of docker's own
    name before a shim on PATH?"""
    if docker == "docker":
        return bool(shims) and process.is_shim(os.path.join(shims, "docker"))
    if docker.startswith("/"):
        return process.is_shim(docker)
    with contextlib.suppress(ValueError, IndexError):  # an alias in words of the shell's own
        words = shlex.split(shlex.split(docker.removeprefix("alias ").partition("=")[2])[0])
        found = _on_path(path)
        return words[:1] == ["docker"] and bool(found) and process.is_shim(found[0])
    return False


def _why_not(docker: str, path: str) -> tuple[str, str]:
    """A sentence, and what to do."""
    if docker == "docker":
        return (
            "docker is a function there that safedocker did not write",
            "take it out of your start files, or have it call the shim by its path",
        )
    if not docker.startswith("/"):
        return (
            f"docker is an alias there, which does not go through a shim: {docker}",
            f"take it out of your start files; where it says sudo: {INSTALL_SYSTEM}",
        )
    behind = [one for one in _on_path(path) if process.is_shim(one)]
    if behind:
        return (
            f"{docker} stands on PATH before the shim {behind[0]}",
            f"find what puts {os.path.dirname(docker)} first in your start files, and move "
            "safedocker's lines behind it",
        )
    return f"docker is the real one there, {docker}, and is not guarded", INSTALL


def _on_path(path: str) -> list[str]:
    """Every docker on a PATH, in its order."""
    places = [os.path.join(folder, "docker") for folder in path.split(os.pathsep) if folder]
    return [one for one in places if os.access(one, os.X_OK) and not os.path.isdir(one)]


def _sudo(report: Report) -> None:
    """What sudo's secure_path leads to. It is asked for nothing: no password, and nobody whom it
    would report."""
    if os.geteuid() and not _may_sudo():
        return
    words = ["sudo", "-n", "sh", "-c", _SH]
    try:
        told = _started(shutil.which("sudo") or "", words, dict(os.environ))
    except subprocess.TimeoutExpired:
        told = None
    if told is None:
        report.shells.append(ShellSeen("sudo", "root", "", None))
        what = "it wants a password, so which docker it runs is not known"
        report.notes.append(Finding("shell", "sudo", what, "sudo -v && safedocker doctor"))
        return
    docker, _shims, path = told
    guarded = bool(docker) and process.is_shim(docker)
    report.shells.append(ShellSeen("sudo", "root", docker, guarded if docker else None))
    if docker and not guarded:
        behind = [one for one in _on_path(path) if process.is_shim(one)]
        what = f"sudo docker is the real one, {docker}, and is not guarded" + (
            f": it stands before {behind[0]}" if behind else ""
        )
        report.findings.append(Finding("shell", "sudo", what, INSTALL_SYSTEM))


def _may_sudo() -> bool:
    with contextlib.suppress(KeyError):
        names = {grp.getgrgid(one).gr_name for one in os.getgroups()}
        return bool(names & set(_SUDOERS))
    return False


def _started(
    path: str, words: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """Start a shell in a session of its own; return what docker is, our functions' folder, and
    PATH; None where it did not say. Raise TimeoutExpired; then nothing of it is left running."""
    with subprocess.Popen(
        words,
        executable=path,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=os.path.expanduser("~") if os.path.isdir(os.path.expanduser("~")) else "/",
        encoding="utf-8",
        errors="surrogateescape",
        start_new_session=True,
    ) as child:
        try:
            out, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    parts = out.split(f"{_MARK}\n")
    if len(parts) < 3:
        return None
    shims, _, path_told = parts[2].rstrip("\n").partition("\n")
    return parts[1].rstrip("\n"), shims, path_told


def _environ(*, login: bool) -> dict[str, str]:
    """What a login gives a shell; for an interactive one, this PATH, but not by our own lines."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key in _KEPT or key.startswith(_KEPT_BEGINNINGS)
    }
    kept.setdefault("HOME", os.path.expanduser("~"))
    with contextlib.suppress(OSError, KeyError):
        kept.setdefault("USER", getpass.getuser())
    path = _LOGIN_PATH if login else os.pathsep.join(_path_without_ours())
    return {**kept, "TERM": "dumb", "PATH": path}


def _path_without_ours() -> Iterator[str]:
    ours = ""
    with contextlib.suppress(SafedockerError):
        ours = str(person.places().shims)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if folder != ours:
            yield folder


def folders() -> list[Path]:
    """Where shims may stand: the person's, the machine's, and every folder on PATH."""
    found = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/bin"]
    with contextlib.suppress(SafedockerError):
        found.insert(0, str(person.places().shims))
    return [Path(one) for one in dict.fromkeys(found) if os.path.isabs(one)]
