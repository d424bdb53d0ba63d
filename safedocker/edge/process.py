"""The process we are and the one we become: finding the real binary, exec, the parent.

Hot: imported before a form has matched.
"""

from __future__ import annotations

import os
import sys

from safedocker.command.record import TYPE_CHECKING
from safedocker.errors import Interrupted, NoDocker, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

SHIM_MARK = b"# >>> safedocker install wrote these lines >>>"
_HEAD = 2048  # bytes; the mark stands in a shim's first lines


def find_real(program: str, recorded: str, shim: str) -> str:
    """Given the path that install recorded and the shim's own, return the real binary's path.

    The recorded one, or, if that is gone, the next on PATH that is neither this shim (compared by
    inode) nor another of ours (told by the mark in it). Raise NoDocker when there is none.
    """
    own = _identity(shim)
    for candidate in (recorded, *_on_path(program)):
        if not candidate or not os.access(candidate, os.X_OK) or os.path.isdir(candidate):
            continue
        if _identity(candidate) != own and not is_shim(candidate):
            return candidate
    nowhere = f"{recorded} is gone and PATH has no other" if recorded else "PATH has none"
    raise NoDocker(
        f"no real {program} found: {nowhere}",
        f"install {program}, or tell where it is: safedocker install --shims DIR",
    )


def _on_path(program: str) -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder or ".", program) for folder in folders]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_shim(path: str) -> bool:
    """Does the file carry our mark? A file that can't be read does not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return SHIM_MARK in os.read(descriptor, _HEAD)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def become(real: str, words: list[str]) -> NoReturn:
    """Replace this process by the real binary, with the words as they came.

    Python ignores SIGPIPE and SIGXFSZ and exec would hand that on, so both get their default back.
    Raise NoDocker when the kernel refuses.
    """
    import signal

    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    arguments = [os.fsencode(real), *(os.fsencode(word) for word in words)]
    try:
        os.execve(real, arguments, os.environ)  # noqa: S606 - this is what we are for
    except OSError as fault:
        raise NoDocker(
            f"the real binary can't be run: {real}: {fault.strerror}",
            "nothing was removed; repair it, or install the shim again",
        ) from fault


def restore_locale(told: str) -> None:
    """Undo Python's locale coercion (PEP 538), which sets LC_CTYPE in the C locale.

    `told` is what the shim saw: "" when LC_CTYPE was unset, else "=" and its value.
    """
    if told:
        os.environ["LC_CTYPE"] = told[1:]
    else:
        os.environ.pop("LC_CTYPE", None)


class Streams:
    """The descriptors that Compose will read its files from (`-f -`, `-f /dev/stdin`, `<(...)`).

    Our questions and the real command must each read all of them: what can be read only once is
    replaced by a file with the same bytes, under the same number. `once` names a path that can be
    read once and not replaced: a named pipe.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.once = ""
        self._starts: dict[int, int] = {}
        for path in paths:
            number = _descriptor(path)
            if number is None:
                if _read_once(path):
                    self.once = path
            elif number not in self._starts:
                self._keep(number)

    @property
    def stdin(self) -> bool:
        """Is standard input one of them?"""
        return 0 in self._starts

    def rewind(self) -> None:
        """Put every one back to where it stood when the command was typed."""
        for number, start in self._starts.items():
            os.lseek(number, start, os.SEEK_SET)

    def _keep(self, number: int) -> None:
        try:
            self._starts[number] = os.lseek(number, 0, os.SEEK_CUR)
        except OSError:  # a pipe, a terminal; or nothing, and then Compose says so itself
            import tempfile

            try:
                parts = list(iter(lambda: os.read(number, 1 << 16), b""))
            except OSError:
                return
            with tempfile.TemporaryFile() as file:
                file.write(b"".join(parts))
                file.flush()
                os.dup2(file.fileno(), number, inheritable=True)
            self._starts[number] = 0
            self.rewind()


def _descriptor(path: str) -> int | None:
    """The descriptor that a path stands for: "-" and /dev/stdin are 0, /dev/fd/63 is 63."""
    if path in {"-", "/dev/stdin"}:
        return 0
    for folder in ("/dev/fd/", "/proc/self/fd/"):
        number = path.removeprefix(folder)
        if number != path and number.isdecimal():
            return int(number)
    return None


def _read_once(path: str) -> bool:
    import stat

    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and path != os.devnull


class EndingSignals:
    """Within it, a SIGTERM or SIGHUP that would end us raises Interrupted, so that containers
    stopped for a backup are started again. A signal that the parent ignores stays ignored."""

    def __init__(self) -> None:
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        import signal

        def end(number: int, _frame: object) -> NoReturn:
            name = signal.Signals(number).name
            raise Interrupted(f"ended by {name} before anything was removed")

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, end)

    def __exit__(self, *_fault: object) -> None:
        import signal

        for number in self._before:
            signal.signal(number, signal.SIG_DFL)


def working_directory() -> str:
    """The working directory, or what is known of it when it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.environ.get("PWD", "(removed)")


def logical_directory() -> str:
    """The working directory as a Go program names it, which a relative path is joined to: $PWD
    where that is it, links and all. Source: Go os/getwd.go."""
    told = os.environ.get("PWD", "")
    if told.startswith("/"):
        try:
            if os.path.samestat(os.stat(told), os.stat(".")):
                return told
        except OSError:
            pass
    return working_directory()


def stands(path: str) -> bool:
    """Is the path here, as far as we may see?"""
    try:
        os.stat(path)
    except (OSError, ValueError):
        return False
    return True


def is_blocked(path: str) -> bool:
    """Is there, on the way to a path that is not here, a file or a link to nothing? Then nobody can
    make it: Docker fails with "file exists" or "not a directory"."""
    at = path
    while at not in {"", "/"} and not os.path.lexists(at):
        at = os.path.dirname(at)
    return not os.path.isdir(at)


DEFAULT_SOCKET = "/var/run/docker.sock"


def local_socket(options: Sequence[tuple[str, str]]) -> str:
    """The socket of this machine that docker goes to, where that is certain without asking anybody;
    else "". `options` are its global ones, by long name."""
    if any(name in {"host", "context", "config"} for name, _ in options):
        return ""
    host = os.environ.get("DOCKER_HOST", "").strip()
    if host.startswith("unix://"):
        return host.removeprefix("unix://") or DEFAULT_SOCKET
    if host or os.environ.get("DOCKER_CONTEXT"):
        return ""
    home = os.environ.get("HOME", "")
    config = os.environ.get("DOCKER_CONFIG") or (home and os.path.join(home, ".docker"))
    if not config:
        return ""
    try:
        with open(os.path.join(config, "config.json"), "rb") as file:
            named = b"currentcontext" in file.read(1 << 20).lower()  # Go takes any case
    except FileNotFoundError:
        return DEFAULT_SOCKET
    except OSError:
        return ""
    return "" if named else DEFAULT_SOCKET


def folder(variable: str, default: str) -> str:
    """Our folder below one of XDG's: ("XDG_STATE_HOME", ".local/state") gives the state folder.

    A relative value is ignored, as the XDG Base Directory Specification says.
    """
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):
        base = os.path.join(home(), *default.split("/"))
    return os.path.join(base, "safedocker")


def home() -> str:
    """The home folder: HOME's, else the account's; the root where there is neither, as Docker has
    it for a user without an account. A relative HOME would be another in each folder."""
    told = os.environ.get("HOME", "")
    return told if os.path.isabs(told) else account_home(os.getuid()) or "/"


def account_home(uid: int) -> str:
    """The home folder of an account as the system tells it, whatever the variables say; "" where
    there is none."""
    import pwd

    try:
        told = pwd.getpwuid(uid).pw_dir
    except (KeyError, OverflowError):
        return ""
    return told if os.path.isabs(told) else ""


def backups_folder(store: str = "") -> str:
    """Where the backups are kept: in the home, or below `store`, which has a folder for each user.
    Raise Refused where somebody else has made that one: he would read what is kept there."""
    if not store:
        return os.path.join(folder("XDG_DATA_HOME", ".local/share"), "backups")
    if not os.path.isdir(store):
        raise Refused(
            f"the folder of the stores, {store}, is not there: nothing was removed",
            f"root has to make it, for all to make theirs in: install -d -m 1777 {store}",
        )
    own = os.path.join(store, str(os.getuid()))
    try:
        state = os.lstat(own)
    except FileNotFoundError:
        pass
    except OSError as fault:
        raise Refused(f"the store {own} can't be used: {fault.strerror}") from fault
    else:
        if state.st_uid != os.getuid() or state.st_mode & 0o170077 != 0o040000:
            raise Refused(
                f"the store {own} is not yours alone: nothing was removed",
                "have whoever keeps this machine look at it; mode 0700 and you as owner are needed",
            )
    return os.path.join(own, "backups")


def state_folder() -> str:
    """Where the audit and bug reports are kept."""
    return folder("XDG_STATE_HOME", ".local/state")


def config_folder() -> str:
    """Where the person's policy is kept, as HOME and XDG_CONFIG_HOME say."""
    return folder("XDG_CONFIG_HOME", ".config")


def account_config(uid: int) -> str:
    """Where an account's policy is kept, whatever the variables say; "" where it has no home."""
    found = account_home(uid)
    return found and os.path.join(found, ".config", "safedocker")


_UID = 10  # digits of the largest


def behind_sudo() -> int | None:
    """The uid of the person who typed sudo; None where nobody did."""
    uid = os.getuid()
    told = os.environ.get("SUDO_UID", "")
    told = told if told.isascii() and told.isdecimal() and len(told) <= _UID else ""
    person = int(told) if told and uid == 0 else uid
    return None if person == uid else person


SYSTEM_FOLDER = "/etc/safedocker"


def has_policy() -> bool:
    """May there be a policy that is not the default? Told without reading one: hot."""
    if any(name.startswith("SAFEDOCKER_") and name != "SAFEDOCKER_DEPTH" for name in os.environ):
        return True
    bases = [SYSTEM_FOLDER, config_folder(), account_config(os.getuid())]
    if (person := behind_sudo()) is not None:
        bases.append(account_config(person))
    for base in filter(None, bases):
        if any(_may_stand(os.path.join(base, n)) for n in ("policy.toml", "freeze.json")):
            return True
    at = here()
    while True:
        if _may_stand(os.path.join(at, ".safedocker.toml")):
            return True
        above = os.path.dirname(at)
        if above == at:
            return False
        at = above


def _may_stand(path: str) -> bool:
    """Is there something by this name, or does something keep us from knowing?"""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def here() -> str:
    """The working directory, or the root where it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def parent_command() -> str:
    """The parent process's command line, "" where the system does not tell."""
    try:
        with open(f"/proc/{os.getppid()}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return _parent_by_ps()
    return b" ".join(words).decode("utf-8", "replace").strip()


_NESTED = 16  # processes between a command and the sudo above it


def before_sudo() -> dict[str, str]:
    """The environment in which the sudo above us was called; {} where there is none, or it can't be
    read. sudo itself passes on next to nothing of it."""
    if os.geteuid() != 0 or "SUDO_UID" not in os.environ:
        return {}
    pid = os.getppid()
    found: dict[str, str] = {}
    for _ in range(_NESTED):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                named, _, rest = file.read().rpartition(b")")
            if named.partition(b"(")[2] == b"sudo":  # with a pty there are two, one above the other
                with open(f"/proc/{pid}/environ", "rb") as file:
                    pairs = os.fsdecode(file.read()).split("\0")
                found = dict(one.split("=", 1) for one in pairs if "=" in one)
            pid = int(rest.split()[1])
        except (OSError, ValueError, IndexError):
            break
        if pid <= 1:
            break
    return found


def started(pid: int) -> str:
    """When a process started, in any form that stays the same; "" when it is gone."""
    if not os.path.exists("/proc/self/stat"):
        import re
        import subprocess

        done = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            env={"LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        return re.sub(r"[^A-Za-z0-9]+", "-", done.stdout.strip())
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Field 22; the name in brackets before it may hold blanks and brackets.
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        return ""
    return "" if fields[0] in {b"Z", b"X"} else f"{boot}.{fields[19].decode()}"


def _parent_by_ps() -> str:
    if sys.platform.startswith("linux"):
        return ""
    import subprocess

    asked = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(os.getppid())],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()
