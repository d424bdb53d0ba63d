"""`safedocker install` and `uninstall` on the files of one home: whatever they are, nothing else
about them changes, and in the end they are as they were."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safedocker.install import blocks, shells

ROOT = Path(__file__).resolve().parents[2]
LINES = blocks.block("echo ours\n")


@pytest.fixture
def call(home):
    def run(*words, **environ):
        own = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "safedocker", *words],
            env=own | environ,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    return run


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """Every file below: mode, link or contents, and how many names it has."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        held: object = path.readlink() if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            held = path.read_bytes()
        links = status.st_nlink if path.is_file() else 0
        found[str(path.relative_to(folder))] = (oct(status.st_mode), links, held)
    return found


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (b"", 0o644),
        (b"\n", 0o600),
        (b"a\n", 0o755),
        (b"a", 0o640),
        (b"\xff\xfe not text", 0o644),
        (b"a\r\nb\r\n", 0o664),
        (b"a\n\n\n", 0o644),
    ],
    ids=repr,
)
def test_uninstall_gives_every_byte_and_mode_back(call, home, text, mode):
    rc = home / ".bashrc"
    rc.write_bytes(text)
    rc.chmod(mode)
    before = state(home)
    for _ in range(2):
        assert call("install", "--yes").returncode == 0
    assert rc.read_bytes().count(blocks.BEGIN) == 1
    assert stat.S_IMODE(rc.stat().st_mode) == mode
    assert call("uninstall", "--yes").returncode == 0
    assert state(home) == before


def test_links_stay_links_and_files_of_two_names_stay_one(call, home):
    (home / "dotfiles").mkdir()
    for name in ("bashrc", "profile"):
        (home / "dotfiles" / name).write_text("# of the dotfiles\n")
    (home / ".bashrc").symlink_to("dotfiles/bashrc")
    os.link(home / "dotfiles/profile", home / ".profile")
    before = state(home)
    done = call("install", "--yes")
    assert f"{home}/.bashrc (a link to {home}/dotfiles/bashrc)" in done.stdout
    for name in ("bashrc", "profile"):
        assert blocks.BEGIN in (home / "dotfiles" / name).read_bytes()
    assert (home / ".bashrc").is_symlink()
    assert (home / ".profile").samefile(home / "dotfiles/profile")
    assert call("uninstall", "--yes").returncode == 0
    assert state(home) == before


def test_what_the_person_writes_around_our_lines_stays(call, home):
    rc = home / ".bashrc"
    rc.write_text("first")
    call("install", "--yes")
    rc.write_text("before\n" + rc.read_text() + "after\n")
    assert call("uninstall", "--yes").returncode == 0
    assert rc.read_text() == "before\nfirst\nafter\n"
    (home / ".profile").write_text("")
    call("install", "--yes")
    made = home / ".zshenv"
    assert not made.exists()  # no zsh of this person's


def test_what_the_person_writes_between_our_lines_stays_too(call, home):
    """Added to our block by hand: kept by a second install, and by uninstall."""
    rc = home / ".bashrc"
    rc.write_text("first")
    call("install", "--yes")
    own = blocks.END.decode()
    rc.write_text(rc.read_text().replace(own, f"export MINE=1\n{own}"))
    call("install", "--functions", "--yes")
    assert rc.read_text().count("export MINE=1\n") == 1
    assert "export MINE" not in rc.read_text().partition(blocks.BEGIN.decode())[2].partition(own)[0]
    rc.write_text(rc.read_text().replace(own, f"alias d=docker\n{own}").replace("\n", "\r\n"))
    done = call("uninstall", "--yes")
    assert "what you wrote between them stays" in done.stdout
    assert rc.read_bytes() == b"first\r\nalias d=docker\r\nexport MINE=1\r\n"


def test_a_file_that_we_made_goes_unless_somebody_wrote_into_it(call, home):
    (home / ".bashrc").write_text("")
    call("install", "--yes")
    (home / ".profile").write_text((home / ".profile").read_text() + "own\n")
    call("uninstall", "--yes")
    assert (home / ".profile").read_text() == "own\n"
    (home / ".profile").unlink()
    call("install", "--yes")
    assert (home / ".profile").exists()
    call("uninstall", "--yes")
    assert not (home / ".profile").exists()


def test_backups_and_audit_stay_and_are_told(call, home):
    call("install", "--yes")
    backup = home / ".local/share/safedocker/backups/x"
    audit = home / ".local/state/safedocker/audit.jsonl"
    for file in (backup, audit):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("kept\n")
    done = call("uninstall", "--yes")
    assert f"backups stay: {backup.parent}" in done.stdout
    assert f"the audit stays: {audit}" in done.stdout
    assert (backup.read_text(), audit.read_text()) == ("kept\n", "kept\n")
    assert [path.name for path in backup.parents[1].iterdir()] == ["backups"]


def test_backups_are_told_where_the_policy_keeps_them(call, home):
    policy = home / ".config/safedocker/policy.toml"
    policy.parent.mkdir(parents=True)
    policy.write_text(f'store = "{home}/elsewhere"\n')
    told = json.loads(call("doctor", "--quick", "--json").stdout)
    (found,) = [one for one in told["findings"] if one["kind"] == "store"]
    assert "is not there" in found["what"]
    subprocess.run(["sh", "-c", found["to_do"].partition(": ")[2]], check=True)
    told = json.loads(call("doctor", "--quick", "--json").stdout)
    where = told["store"]["where"]
    assert where.startswith(f"{home}/elsewhere/")
    assert "store" not in [one["kind"] for one in told["findings"]]
    Path(where).parent.mkdir(mode=0o700)
    Path(where).mkdir(mode=0o700)
    call("install", "--yes")
    assert f"backups stay: {where}" in call("uninstall", "--yes").stdout


def test_a_lost_record_does_not_keep_our_lines(call, home):
    (home / ".bashrc").write_text("mine\n")
    call("install", "--yes")
    (home / ".local/share/safedocker/install.json").unlink()
    assert call("uninstall", "--yes").returncode == 0
    assert (home / ".bashrc").read_text() == "mine\n"


def test_lines_that_lost_their_end_are_left_to_the_person(call, home):
    rc = home / ".bashrc"
    rc.write_bytes(blocks.BEGIN + b"\nPATH=x\nmine\n")
    before = state(home)
    for words in ("install", "uninstall"):
        done = call(words, "--yes")
        assert done.returncode == 1
        assert "repair it by hand" in done.stderr
        assert state(home) == before


def test_a_folder_in_a_start_files_place_stops_it_before_anything_is_written(call, home):
    (home / ".bashrc").write_text("")
    (home / ".profile").mkdir()
    before = state(home)
    done = call("install", "--yes")
    assert (done.returncode, state(home)) == (1, before)
    assert f"{home}/.profile can't be read" in done.stderr


def test_a_stranger_in_the_shims_place_is_left_alone(call, home):
    place = home / ".local/share/safedocker/shims/docker"
    place.parent.mkdir(parents=True)
    place.write_text("somebody's\n")
    (home / ".bashrc").write_text("mine\n")
    done = call("install", "--yes")
    assert done.returncode == 1
    assert "is not a safedocker shim" in done.stderr
    assert (place.read_text(), (home / ".bashrc").read_text()) == ("somebody's\n", "mine\n")


@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "a\\b", "$HOME", "ü"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_folder_of_any_name_comes_first_on_path(tmp_path, shell, name):
    shims = tmp_path / name / "shims"
    shims.mkdir(parents=True)
    (shims / "docker").touch(0o755)
    lines = shells.path_lines("sh", shims)
    for before, after in (("/usr/bin", f"{shims}:/usr/bin"), ("", str(shims))):
        script = f'set -eu\n{lines}{lines}printf %s "$PATH"'
        done = subprocess.run(
            [f"/bin/{shell}", "-c", script], env={"PATH": before}, capture_output=True, check=True
        )
        assert os.fsdecode(done.stdout) == after
    (shims / "docker").unlink()
    done = subprocess.run(
        [f"/bin/{shell}", "-c", f'{lines}printf %s "$PATH"'],
        env={"PATH": "/usr/bin"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"/usr/bin"


def test_an_alias_is_left_alone_and_told(call, home):
    (home / ".bashrc").write_text("shopt -s expand_aliases; alias docker='echo mine'\n")
    call("install", "--functions", "--yes")
    done = subprocess.run(
        ["bash", "-c", f". {home}/.bashrc; eval docker ps; type docker-compose"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mine ps\ndocker-compose is a function\n")
    assert "docker is an alias in this shell and is left alone" in done.stderr


def test_the_shells_are_those_that_the_person_has(home):
    (home / ".zshrc").write_text("")
    (home / ".config/fish").mkdir()
    everywhere = {"PATH": str(home / "bin")}
    (home / "bin").mkdir()
    for name in ("bash", "zsh", "fish", "sh"):
        (home / "bin" / name).write_text("#!/bin/sh\n")
        (home / "bin" / name).chmod(0o755)
    person = shells.Person(home, "bash", everywhere)
    assert person.shells == ("bash", "zsh", "fish")
    files = {str(one.file.relative_to(home)): one.shell for one in shells.starts(person)}
    assert files == {
        ".bashrc": "bash",
        ".profile": "bash",
        ".zshenv": "zsh",
        ".zshrc": "zsh",
        ".config/fish/conf.d/safedocker.fish": "fish",
    }
    (home / ".bash_profile").write_text("")
    assert home / ".bash_profile" in [one.file for one in shells.starts(person)]
    assert shells.Person(home, "zsh", {**everywhere, "PATH": "/nonexistent"}).shells[:1] != ("zsh",)


def test_zdotdir_moves_zshs_files(home):
    (home / "bin").mkdir()
    zsh = home / "bin/zsh"  # what a zsh says whose ~/.zshenv sets it
    zsh.write_text(f"#!/bin/sh\necho noise; printf %s {home}/zsh\n")
    zsh.chmod(0o755)
    (home / "zsh").mkdir()
    (home / "zsh/.zshrc").write_text("")
    (home / ".zshenv").write_text("ZDOTDIR=~/zsh\n")
    person = shells.Person(home, "zsh", {"PATH": f"{home}/bin"})
    files = [one.file for one in shells.starts(person) if one.shell == "zsh"]
    assert files == [home / ".zshenv", home / "zsh/.zshrc"]
