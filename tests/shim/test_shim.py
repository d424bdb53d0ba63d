"""The shims as a shell runs them: what passes at once, what reaches Python, how it ends in exec.

The real binary is a recording program; no engine is asked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from jsonschema import Draft202012Validator

from safedocker import install
from safedocker.command.parse import parse
from safedocker.loss import forms

ROOT = Path(__file__).resolve().parents[2]
REFUSAL = Draft202012Validator(json.loads((ROOT / "safedocker/refusal.schema.json").read_text()))

RECORDER = f"""#!{sys.executable} -IS
import json, os, sys
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
ignored = [l.split()[1] for l in status.splitlines() if l.startswith("SigIgn")]
seen = {{
    "argv": [os.fsencode(a).hex() for a in sys.argv[1:]],
    "environ": {{os.fsencode(k).hex(): os.fsencode(v).hex() for k, v in os.environ.items()}},
    "cwd": os.getcwd(), "pid": os.getpid(), "ignored": ignored,
    "descriptors": [int(n) for n in os.listdir("/proc/self/fd")] if status else [],
}}
with open(os.environ["RECORD"], "w") as file:
    json.dump(seen, file)
print("out"); print("err", file=sys.stderr)
sys.exit(int(os.environ.get("EXIT", "0")))
"""
# Python starts for the recorder too, and its own coercion would hide ours: a shell tells the truth.
ENVIRONMENT_RECORDER = '#!/bin/sh\nexec env > "$RECORD"\n'


class Place(NamedTuple):
    """A folder with a recording docker, the shims before it, and the environment to call them."""

    folder: Path
    real: Path
    shims: Path
    environ: dict[str, str]

    def call(
        self, *words: str | bytes, shell: tuple[str, ...] = (), program: str = "docker", **more
    ):
        environ = {**self.environ, **more.pop("environ", {})}
        return subprocess.run(
            [*shell, str(self.shims / program), *words],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **more,
        )

    def seen(self):
        return json.loads((self.folder / "record").read_text())

    def argv(self) -> list[bytes]:
        return [bytes.fromhex(word) for word in self.seen()["argv"]]

    @property
    def ran(self) -> bool:
        return (self.folder / "record").exists()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    real = tmp_path / "real"
    real.mkdir()
    for program in install.PROGRAMS:
        (real / program).write_text(RECORDER)
        (real / program).chmod(0o755)
    shims = tmp_path / "shims"
    install.install(shims, str(real / "docker"), str(real / "docker-compose"))
    environ = {
        "PATH": f"{shims}:{real}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "RECORD": str(tmp_path / "record"),
        "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock",
    }
    return Place(tmp_path, real, shims, environ)


def _without_python(place: Place) -> None:
    """Cut the shims off from Python: what still runs, runs from sh alone."""
    for program in install.PROGRAMS:
        shim = place.shims / program
        shim.write_text(shim.read_text().replace(sys.executable, "/nonexistent/python"))


SHELLS = {"dash": ("dash",), "bash": ("bash",), "bash-posix": ("bash", "--posix"),
          "busybox": ("busybox", "sh")}  # fmt: skip


@pytest.fixture(params=SHELLS)
def shell(request):
    words = SHELLS[request.param]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not on this machine")
    return words


def test_harmless_verbs_run_without_python(place, shell):
    _without_python(place)
    done = place.call("ps", "-a", "--filter", "name=a b", shell=shell, environ={"EXIT": "5"})
    assert (done.returncode, done.stdout, done.stderr) == (5, "out\n", "err\n")
    assert place.argv() == [b"ps", b"-a", b"--filter", b"name=a b"]


def test_other_words_reach_python_and_pass(place, shell):
    done = place.call("run", "--rm", "img", "sh", "-c", "docker volume rm x", shell=shell)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert place.argv() == [b"run", b"--rm", b"img", b"sh", b"-c", b"docker volume rm x"]


def test_without_python_what_can_lose_data_does_not_run(place, shell):
    _without_python(place)
    done = place.call("volume", "rm", "x", shell=shell)
    assert done.returncode == 70
    assert "was not run" in done.stderr
    assert not place.ran


def _without_package(place: Place) -> None:
    for program in install.PROGRAMS:
        shim = place.shims / program
        shim.write_text(shim.read_text().replace(f"sd_root={ROOT}\n", "sd_root=/nonexistent\n"))


def _calls_itself(place: Place) -> None:
    for program in install.PROGRAMS:
        (place.real / program).write_text(f'#!/bin/sh\n{program} "$@"\n')


LOST = {
    "no-python": (_without_python, 70, "not-installed"),
    "no-package": (_without_package, 70, "not-installed"),
    "calls-itself": (_calls_itself, 127, "no-docker"),
}


@pytest.mark.parametrize("program", install.PROGRAMS)
@pytest.mark.parametrize("lost", LOST)
def test_what_sh_itself_refuses_is_one_object_too(place, shell, lost, program):
    lose, code, reason = LOST[lost]
    lose(place)
    words = ("ps",) if lost == "calls-itself" else ("rm", "-v", "x")
    done = place.call(*words, program=program, shell=shell)
    assert done.returncode == code
    assert done.stderr.startswith("safedocker: ")
    environ = {"SAFEDOCKER_FORMAT": "json"}
    done = place.call(*words, program=program, shell=shell, environ=environ)
    told = json.loads(done.stderr)
    REFUSAL.validate(told)
    assert (done.returncode, told["exit_code"], told["code"]) == (code, code, reason)
    assert not place.ran


@pytest.mark.parametrize("program", install.PROGRAMS)
def test_sh_list_holds_nothing_that_a_form_names(place, program):
    """Every word the sh lets through is, by the grammar, on no dangerous form's path."""
    _without_python(place)
    roots = {form.path[1:] if program == "docker-compose" else form.path for form in forms.FORMS}
    words = {path for path in roots if path}
    words |= {("rm",), ("remove",), ("rmi",)} if program == "docker" else set()
    let_through = [path for path in words if place.call(*path, program=program).returncode != 70]
    assert let_through == []


def test_words_that_are_not_text_arrive_as_they_came(place):
    words = [b"run", b"\xff\xfe", b"", b"a\nb", b"*", "é".encode()]
    assert place.call(*words).returncode == 0
    assert place.argv() == words


def test_exec_keeps_directory_and_process(place):
    child = subprocess.Popen(
        [place.shims / "docker", "run", "x"],
        env=place.environ,
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert child.wait(60) == 0
    assert place.seen()["pid"] == child.pid
    assert place.seen()["cwd"] == str(place.folder)


@pytest.mark.parametrize("word", ["ps", "run"], ids=["by-sh", "by-python"])
@pytest.mark.parametrize(
    "locale", [{}, {"LC_CTYPE": "C"}, {"LANG": "C.UTF-8"}, {"LC_ALL": "POSIX"}], ids=str
)
def test_environment_arrives_as_it_came(place, word, locale):
    """Nothing but the depth counter is added; Python's locale coercion leaves no trace."""
    (place.real / "docker").write_text(ENVIRONMENT_RECORDER)
    assert place.call(word, "x", environ=locale).returncode == 0
    seen = dict(line.split("=", 1) for line in (place.folder / "record").read_text().splitlines())
    for by_shell in ("PWD", "_", "SHLVL", "OLDPWD"):
        seen.pop(by_shell, None)
    assert seen == {**place.environ, **locale, "SAFEDOCKER_DEPTH": "1"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_signal_is_left_ignored(place):
    """Python ignores SIGPIPE; `docker logs | head` must not inherit that."""
    place.call("run", "x")
    by_python = int(place.seen()["ignored"][0], 16)
    place.call("ps")
    assert by_python == int(place.seen()["ignored"][0], 16)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_descriptors_arrive_as_they_came(place):
    read, write = os.pipe()
    try:
        place.call("run", "x", pass_fds=(read, write))
        by_python = place.seen()["descriptors"]
        place.call("ps", pass_fds=(read, write))
        assert by_python == place.seen()["descriptors"]
        assert {read, write} <= set(by_python)
    finally:
        os.close(read)
        os.close(write)


def test_killed_by_a_signal_ends_as_the_real_one(place):
    (place.real / "docker").write_text("#!/bin/sh\nkill -TERM $$\n")
    assert place.call("run", "x").returncode == -signal.SIGTERM


@pytest.mark.parametrize("word", ["ps", "run"])
def test_recorded_binary_gone_the_next_on_path_runs(place, word):
    other = place.folder / "other"
    shutil.copytree(place.real, other)
    shutil.rmtree(place.real)
    done = place.call(word, environ={"PATH": f"{place.shims}:{other}:/usr/bin:/bin"})
    assert (done.returncode, done.stdout) == (0, "out\n")


def test_no_binary_at_all_is_127_and_one_sentence(place):
    shutil.rmtree(place.real)
    second = place.folder / "second"
    install.install(second, None, None)
    link = place.folder / "link"
    link.mkdir()
    (link / "docker").symlink_to(place.shims / "docker")
    done = place.call("ps", environ={"PATH": f"{place.shims}:{second}:{link}"})
    assert done.returncode == 127
    assert done.stderr.count("\n") <= 2
    assert "docker" in done.stderr


def test_symlinked_shim_runs_the_real_one(place):
    link = place.folder / "bin"
    link.mkdir()
    (link / "docker").symlink_to(place.shims / "docker")
    done = subprocess.run(
        [link / "docker", "run", "x"],
        env=place.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "out\n")


@pytest.mark.parametrize("word", ["ps", "run"])
def test_s20_real_that_calls_docker_by_name_stops_loudly(place, word):
    """S20: a wrapper that finds the shim again must not fork for ever."""
    (place.real / "docker").write_text('#!/bin/sh\ndocker "$@"\n')
    started = time.monotonic()
    done = place.call(word)
    assert done.returncode == 127
    assert "calls itself" in done.stderr
    assert time.monotonic() - started < 30


def test_where_there_is_no_docker_the_sentence_says_so(place):
    for program in install.PROGRAMS:
        (place.real / program).unlink()
    environ = {"PATH": f"{place.shims}:/nonexistent"}
    done = place.call("ps", environ=environ)
    assert done.returncode == 127
    assert f"no real docker found: {place.real}/docker is gone and PATH has no other" in done.stderr
    shim = place.shims / "docker"  # as it is written where there is no docker
    shim.write_text(shim.read_text().replace(f"sd_real={place.real}/docker\n", "sd_real=''\n"))
    done = place.call("ps", environ=environ)
    assert done.returncode == 127
    assert "no real docker found: PATH has none" in done.stderr


PODMAN = """#!/bin/sh
echo 'Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.' >&2
case $* in --version) echo 'podman version 4.3.1' ;; *) : > "$RECORD" ;; esac
"""


def test_podman_behind_dockers_name_is_no_engine_that_can_be_asked(place):
    """As the package podman-docker installs it: what it holds is not in Docker's engine."""
    (place.real / "docker").write_text(PODMAN)
    done = place.call("volume", "rm", "x")
    assert done.returncode == 69
    assert "docker is Podman here (podman version 4.3.1)" in done.stderr
    assert "othing was removed" in done.stderr
    assert not place.ran
    for words, environ in (
        (("network", "ls"), {}),
        (("rmi", "x"), {}),
        (("volume", "rm", "x"), {"SAFEDOCKER": "off"}),
        (("volume", "rm", "x"), {"SAFEDOCKER_MODE": "allow"}),
    ):
        assert place.call(*words, environ=environ).returncode == 0, words
        assert place.ran
        (place.folder / "record").unlink()


def test_dangerous_form_without_engine_does_not_run(place):
    done = place.call("volume", "rm", "x")
    assert done.returncode == 69
    assert "othing was removed" in done.stderr
    assert place.call("rm", "../volumes/x").returncode == 69
    assert place.call("rm", "x", environ={"SAFEDOCKER_MODE": "backup"}).returncode == 69
    place.call("volume", "rm", "x")
    assert "volume" not in [word.decode() for word in place.argv()]  # only asked for its version


@pytest.mark.parametrize(
    "words",
    [
        ("volume", "rm", "--help"),
        ("volume", "ls", "-f", "name=rm"),
        ("run", "img", "docker", "volume", "rm", "x"),
        ("compose", "exec", "db", "down", "-v"),
        ("compose", "ps"),
        ("rm", "-l", "-v", "a/b"),
        ("network", "prune", "-f"),
        ("image", "prune", "-f"),
        ("builder", "prune", "-af"),
        ("-c", "nosuch", "volume", "rm", "x"),
        ("rm", "-f", "x"),
        ("stop", "x"),
        ("container", "prune", "-f"),
    ],
    ids=" ".join,
)
def test_harmless_forms_pass_without_an_engine(place, words):
    done = place.call(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
    assert [word.decode() for word in place.argv()] == list(words)


MOUNTS = [
    ("-v", "{here}:/x"),
    ("-v", "./here:/x:ro", "--volume={here}/file:/y"),
    ("-itv{here}:/x", "--mount", "type=bind,src={here},dst=/y"),
    ("-v", "name:/x", "-v", "/anonymous"),
    ("--mount", "type=bind,src=/nonexistent,dst=/y"),
    ("-v", "{here}:/x:bogus"),
]


@pytest.fixture
def here(place: Place) -> Path:
    folder = place.folder / "here"
    folder.mkdir()
    (folder / "file").touch()
    return folder


def _run_words(mounts: tuple[str, ...], here: Path) -> list[str]:
    return ["run", *(word.format(here=here) for word in mounts), "img"]


@pytest.mark.parametrize("mounts", MOUNTS, ids=" ".join)
def test_v3_run_that_mounts_what_is_here_asks_nobody(place, here, mounts):
    """No engine answers in this place: one that was asked would be missed."""
    done = place.call(*_run_words(mounts, here), cwd=place.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (["run", "-v", "{here}/gone:/x", "img"], {}),
        (["run", "-v", "{here}:/x", "-v", "../gone:/y", "img"], {}),
        (["run", "--volumes-from", "c", "img"], {}),
        (["--host", "tcp://127.0.0.1:1", "run", "-v", "{here}:/x", "img"], {}),
        (["run", "-v", "{here}:/x", "img"], {"DOCKER_HOST": "tcp://127.0.0.1:1"}),
        (["run", "-v", "{here}:/x", "img"], {"DOCKER_HOST": "", "DOCKER_CONFIG": "{here}"}),
    ],
    ids=["gone", "gone-in-newer", "donor", "host", "DOCKER_HOST", "config"],
)
def test_s24_whatever_is_not_surely_here_is_asked(place, here, words, environ):
    (here / "config.json").write_text('{"CurrentContext": "far"}')
    words = [word.format(here=here) for word in words]
    environ = {name: value.format(here=here) for name, value in environ.items()}
    done = place.call(*words, cwd=place.folder, environ=environ)
    assert done.returncode == 69
    assert "run" not in [word.decode() for word in place.argv()]  # only asked for its version


def test_bad_mode_stops_dangerous_forms_only(place):
    environ = {"SAFEDOCKER_MODE": "sometimes"}
    assert place.call("run", "x", environ=environ).returncode == 0
    done = place.call("volume", "rm", "x", environ=environ)
    assert done.returncode == 78
    assert "sometimes" in done.stderr


def test_every_parse_of_the_words_above_is_total():
    for words in (["run"], ["\udcff"], [""], ["volume", "rm"]):
        assert parse("docker", words)
        assert parse("docker-compose", words)


def _fastest(lines: dict[str, list[str]], environ: dict[str, str], rounds: int = 40) -> Best:
    """The best time of each line; they take turns, so that a slow moment is everybody's."""
    best = dict.fromkeys(lines, float("inf"))
    for _ in range(rounds):
        for name, argv in lines.items():
            started = time.perf_counter()
            subprocess.run(argv, env=environ, stdout=subprocess.DEVNULL, check=True)
            best[name] = min(best[name], time.perf_counter() - started)
    return best


Best = dict[str, float]


@pytest.mark.alone
def test_cost_of_the_sh_path_and_of_the_python_path(place, here):
    """Ratios inside one run: sh within 1.5 of a sh that execs, Python 2.5 of a bare start, and 3
    where mounts are looked at."""
    for program in install.PROGRAMS:
        (place.real / program).unlink()
        (place.real / program).symlink_to(shutil.which("true"))
    bare = place.folder / "bare"
    bare.write_text(f'#!/bin/sh\nexec {shutil.which("true")} "$@"\n')
    bare.chmod(0o755)
    environ = place.environ
    docker = str(place.shims / "docker")
    subprocess.run([docker, "run", "x"], env=environ, check=True)  # writes the byte code
    best = _fastest(
        {
            "bare sh": [str(bare), "ps", "-a"],
            "sh": [docker, "ps", "-a"],
            "bare python": [sys.executable, "-I", "-c", "pass"],
            "python": [docker, "run", "x"],
            "mounts": [docker, "run", "--rm", "-v", f"{here}:/x", "-v", f"{here}/file:/y", "img"],
        },
        environ,
    )
    assert best["sh"] <= 1.5 * best["bare sh"]
    assert best["python"] <= 2.5 * best["bare python"]
    assert best["mounts"] <= 3 * best["bare python"]
