"""The wheel works away from the checkout: built from the tracked files alone, installed into an environment of its own.

The environment borrows the development environment's libraries (one .pth line), so nothing is downloaded; Toolgate
itself can only come from the wheel, which the tests assert.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, tracked


def _run(*argv: object, cwd: Path) -> str:
    """Standard output of a command that must succeed, run without anything of this checkout in its environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TOOLGATE"))}
    env |= {"HOME": str(cwd), "NO_COLOR": "1", "COLUMNS": "120"}
    done = subprocess.run([str(part) for part in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the files that git knows (or would add), and of nothing that is ignored."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", source / "out", cwd=source)
    (built,) = (source / "out").glob("toolgate-*-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment that holds the wheel."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_packages_come_from_the_wheel(bin_dir: Path, tmp_path: Path) -> None:
    program = "import gateway, sandbox; print(gateway.__file__); print(sandbox.__file__)"
    for place in _run(bin_dir / "python", "-c", program, cwd=tmp_path).split():
        assert Path(place).is_relative_to(bin_dir.parent), place


def test_the_wheel_holds_what_a_start_needs(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel, tmp_path, format="zip")
    for name in (
        "gateway/py.typed",
        "sandbox/py.typed",
        "gateway/starter_policies/model.conf",
        "sandbox/image/seccomp.json",
    ):
        assert (tmp_path / name).is_file(), name
    assert not (tmp_path / "tests").exists()
    assert list(tmp_path.glob("toolgate-*.dist-info/licenses/LICENSE"))


def test_the_command_answers_outside_the_checkout(bin_dir: Path, tmp_path: Path) -> None:
    shown = _run(bin_dir / "toolgate", "--help", cwd=tmp_path)
    assert "init" in shown
    assert "audit" in shown


def test_the_starter_policies_load(bin_dir: Path, tmp_path: Path) -> None:
    """What `toolgate init` writes is a policy folder that a gateway accepts as it stands."""
    _run(bin_dir / "toolgate", "init", "policies", cwd=tmp_path)
    program = "from gateway import Gateway; Gateway.from_policies('policies'); print('loaded')"
    assert _run(bin_dir / "python", "-c", program, cwd=tmp_path).splitlines()[-1] == "loaded"
