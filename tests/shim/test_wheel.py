"""The wheel carries the shims' templates: installed from it, they run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds what the wheel holds, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_shims_from_the_wheel_run(site, tmp_path):
    real = tmp_path / "docker"
    real.write_text('#!/bin/sh\necho real "$@"\n')
    real.chmod(0o755)
    program = (
        "import pathlib, sys; sys.path.insert(0, sys.argv[1]); from safedocker import install;"
        "install.install(pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[3])"
    )
    subprocess.run([sys.executable, "-c", program, site, tmp_path / "shims", real], check=True)
    for words in (["ps"], ["run", "x"], ["compose", "down"]):
        done = subprocess.run(
            [tmp_path / "shims" / "docker", *words],
            env={"PATH": os.defpath, "HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"real {' '.join(words)}\n", "")


def test_wheel_holds_the_package_with_its_schemas_and_no_test(site):
    names = {path.name for path in site.iterdir()}
    assert "safedocker" in names
    schemas = {path.name for path in ROOT.glob("safedocker/*.schema.json")}
    assert {"explain.schema.json", "policy.schema.json", "refusal.schema.json"} <= schemas
    assert {"storage.schema.json", "rescue.schema.json"} <= schemas
    assert {path.name for path in site.glob("safedocker/*.schema.json")} == schemas
    assert "tests" not in names
