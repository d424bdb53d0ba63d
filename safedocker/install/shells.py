"""Which shells a person has, which files those read when they start, and the lines that each needs.
Nothing is written here."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safedocker.install import quoted_for_fish
from safedocker.install.blocks import read

SH_LIKE = frozenset({"sh", "dash", "ash", "ksh", "mksh", "busybox"})
SECONDS = 5.0  # for a shell's start files
USUAL_PATH = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin"
_BASH_LOGIN = (".bash_profile", ".bash_login", ".profile")  # the first that is there is read
_RETURNS = re.compile(rb"^[^#\n]*\breturn\b", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """A file that a shell reads when it starts, and why our lines belong into it."""

    file: Path
    shell: str  # "bash", "zsh", "fish" or "sh"
    why: str
    on_top: bool = False  # before all else in it too

    @property
    def language(self) -> str:
        """What its lines are written in: "fish" or "sh"."""
        return "fish" if self.shell == "fish" else "sh"


@dataclass(frozen=True)
class Person:
    """Whose shells they are: home, login shell, and the variables that move start files."""

    home: Path
    login_shell: str  # its name: "bash"
    environ: Mapping[str, str]

    @property
    def shells(self) -> tuple[str, ...]:
        """The shells that are this person's: the login shell, and those that have start files."""
        marks = {
            "bash": (".bashrc", ".bash_profile", ".bash_login"),
            "zsh": (".zshenv", ".zprofile", ".zshrc", ".zlogin"),
            "sh": (".profile",),
        }
        has = {
            shell: any((self.home / name).exists() for name in names)
            for shell, names in marks.items()
        }
        has["zsh"] |= "ZDOTDIR" in self.environ
        has["fish"] = self.fish_folder.is_dir()
        login = "sh" if self.login_shell in SH_LIKE else self.login_shell
        there = ("bash", "zsh", "fish", "sh")
        return tuple(
            shell
            for shell in there
            if (has[shell] or shell == login) and find_shell(shell, self.environ)
        )

    @property
    def fish_folder(self) -> Path:
        """Where fish's own files are. Source: fish, "Configuration files"."""
        base = self.environ.get("XDG_CONFIG_HOME", "")
        return Path(base if os.path.isabs(base) else self.home / ".config") / "fish"


def whoami(environ: Mapping[str, str]) -> Person:
    """Who calls: the home is $HOME, the login shell that of the user database, else $SHELL."""
    try:
        shell = pwd.getpwuid(os.getuid()).pw_shell
    except KeyError:
        shell = environ.get("SHELL", "")
    return Person(Path(os.path.expanduser("~")), os.path.basename(shell), environ)


def find_shell(name: str, environ: Mapping[str, str]) -> str:
    """A shell's path, "" where the machine has none of that name."""
    return shutil.which(name, path=f"{environ.get('PATH', '')}:{USUAL_PATH}") or ""


def starts(person: Person) -> list[Start]:
    """The files that our lines belong into, each once."""
    found: dict[Path, Start] = {}
    for shell in person.shells:
        for start in _STARTS[shell](person):
            found.setdefault(start.file, start)
    return list(found.values())


def _bash(person: Person) -> Iterator[Start]:
    """Source: bash(1), INVOCATION."""
    rc = person.home / ".bashrc"
    returns = _RETURNS.search(read(rc) or b"") is not None
    why = "bash reads it in every terminal"
    if returns:
        why += "; for `ssh HOST docker ...` it returns before its end, so the lines come first too"
    yield Start(rc, "bash", why, on_top=returns)
    login = next((name for name in _BASH_LOGIN if (person.home / name).exists()), ".profile")
    yield Start(person.home / login, "bash", "bash reads it when you log in")


def _zsh(person: Person) -> Iterator[Start]:
    """Source: zsh(1), STARTUP/SHUTDOWN FILES. ZDOTDIR may be set in ~/.zshenv itself, so that zsh
    has to be asked for it."""
    own = person.environ.get("ZDOTDIR", "")
    asked = _zdotdir(person)
    folders = [Path(folder) for folder in dict.fromkeys((str(person.home), own, asked)) if folder]
    always = [folder / ".zshenv" for folder in folders if (folder / ".zshenv").exists()]
    for file in always or [(Path(asked) if asked else person.home) / ".zshenv"]:
        yield Start(file, "zsh", "zsh always reads it, in scripts and over ssh too")
    for name, why in ((".zprofile", "when you log in"), (".zshrc", "in every terminal")):
        for folder in folders:
            # macOS's /etc/zprofile sorts PATH anew after .zshenv
            if (folder / name).exists() or (name == ".zprofile" and sys.platform == "darwin"):
                yield Start(folder / name, "zsh", f"zsh reads it {why}, and it may change PATH")


def _zdotdir(person: Person) -> str:
    """The ZDOTDIR that a zsh has after its first start file, "" where there is none."""
    environ = {key: value for key, value in person.environ.items() if key != "ZDOTDIR"}
    try:
        done = subprocess.run(
            [find_shell("zsh", person.environ), "-c", 'print -rn -- "${ZDOTDIR-}"'],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    told = os.fsdecode(done.stdout.rpartition(b"\n")[2])
    return told if os.path.isabs(told) else ""


def _fish(person: Person) -> Iterator[Start]:
    """Source: fish, "Configuration files": conf.d is read before config.fish."""
    own = person.fish_folder / "conf.d" / "safedocker.fish"
    yield Start(own, "fish", "fish reads it in every shell")
    config = person.fish_folder / "config.fish"
    if config.exists():
        yield Start(config, "fish", "fish reads it last, and it may change PATH")


def _sh(person: Person) -> Iterator[Start]:
    yield Start(person.home / ".profile", "sh", "sh, and many desktops, read it when you log in")


_STARTS = {"bash": _bash, "zsh": _zsh, "fish": _fish, "sh": _sh}


def path_lines(language: str, shims: Path) -> str:
    """The lines that put the shims first on PATH, where they are not; as long as they are there."""
    docker = str(shims / "docker")
    if language == "fish":
        folder = quoted_for_fish(str(shims))
        return (
            f"{_SAID}"
            f'if test -x {quoted_for_fish(docker)}; and test "$PATH[1]" != {folder}\n'
            f"    set -gx PATH {folder} $PATH\n"
            "end\n"
        )
    folder = shlex.quote(str(shims))
    return (
        f"{_SAID}"
        f"if [ -x {shlex.quote(docker)} ]; then\n"
        '  case "${PATH-}:" in\n'
        f"    {folder}:*) ;;\n"
        f'    *) PATH={folder}"${{PATH:+:$PATH}}"; export PATH ;;\n'
        "  esac\n"
        "fi\n"
    )


def function_lines(language: str, activate: Path) -> str:
    """The lines that read the functions, as long as they are there."""
    if language == "fish":
        file = quoted_for_fish(str(activate))
        return f"{_SAID}if test -r {file}\n    source {file}\nend\n"
    file = shlex.quote(str(activate))
    return f"{_SAID}if [ -r {file} ]; then\n  . {file}\nfi\n"


_SAID = "# written by `safedocker install`, taken away by `safedocker uninstall`\n"
