"""The images themselves: what they must do and must not hold, and the same bytes each time. Built once, when needed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sandbox import DockerEngine, SandboxProfile, Verdict
from sandbox.image import build
from tests.unit.sandbox.daemon import ROOT, Daemon, daemon_fixture, ready_fixture  # noqa: F401

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]  # the first build downloads 30 MB

DATA = SandboxProfile.from_mapping(yaml.safe_load((ROOT / "policies/sandbox/python-data.yaml").read_text()))
PLOT = """
import json, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np, pandas as pd
import matplotlib.pyplot as plt

table = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=60, tz="Europe/London"), "n": np.arange(60)})
with ThreadPoolExecutor(4) as pool:
    sums = list(pool.map(lambda k: int(table[table.n % 4 == k].n.sum()), range(4)))
inverse = np.linalg.inv(np.diag([2.0, 4.0])).diagonal().tolist()
axes = table.plot(x="day", y="n", title="orders, $n^2$")
axes.figure.savefig("/tmp/plot.png")
axes.figure.savefig("/tmp/plot.pdf")
table.to_csv("/tmp/table.csv")
heads = [open("/tmp/plot.png", "rb").read(8).hex(), open("/tmp/plot.pdf", "rb").read(5).decode()]
print(json.dumps([sums, inverse, *heads,
    pd.read_csv("/tmp/table.csv").shape, plt.get_backend().lower(), threading.active_count()]))
"""
LOOK = """
import importlib.util, json, os, stat
ids, programs = [], []
for folder, _, names in os.walk("/"):
    if folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for name in names:
        path = os.path.join(folder, name)
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode) and mode & 0o6000:
            ids.append(path)
        if stat.S_ISREG(mode) and mode & 0o111 and ".so" not in name:
            with open(path, "rb") as file:
                if file.read(4) == b"\\x7fELF":
                    programs.append(path)
tools = [name for name in ("pip", "ensurepip", "venv", "apt", "apt_pkg") if importlib.util.find_spec(name)]
print(json.dumps([ids, programs, tools]))
"""


@pytest.fixture(scope="module")
def data_image(ready: tuple[str, Path]) -> str:
    return build.ensure(DockerEngine(), ready[1].parent, ready[1], build.DATA_IMAGE_NAME)


@pytest.fixture
def data(daemon: Daemon, data_image: str) -> Daemon:
    return replace(daemon, spec=DATA.pinned_to(data_image))


def test_numbers_tables_and_plots_work_under_the_profile(data: Daemon) -> None:
    result = data.run(PLOT)
    assert (result.verdict, result.stderr) == (Verdict.OK, "")
    assert json.loads(result.stdout) == [
        [420, 435, 450, 465],
        [0.5, 0.25],
        b"\x89PNG\r\n\x1a\n".hex(),
        "%PDF-",
        [60, 3],
        "agg",
        1,
    ]


@pytest.mark.parametrize("profile", ["python", "python-data"])
def test_the_image_holds_one_program_no_installer_and_no_set_id_file(
    daemon: Daemon, data: Daemon, profile: str
) -> None:
    result = (daemon if profile == "python" else data).run(LOOK)
    ids, programs, tools = json.loads(result.stdout)
    assert (ids, tools) == ([], [])
    own = [path for path in programs if "/ld-linux" not in path and path != "/sbin/docker-init"]  # Docker's own init
    assert [path.rstrip("0123456789") for path in own] == ["/usr/bin/python3."]


def test_every_module_was_compiled_beforehand(data: Daemon) -> None:
    result = data.run(
        "import matplotlib.pyplot, os, pandas, sys\n"
        "late = [n for n, m in sys.modules.items() if (getattr(m, '__file__', None) or '').startswith('/usr/lib')\n"
        "    and m.__file__.endswith('.py') and getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)]\n"
        "print(len(sys.modules) > 500, late)"
    )
    assert result.stdout == "True []\n", result.stderr


@pytest.mark.parametrize("image", build.IMAGES)
def test_the_same_packages_give_the_same_bytes(tmp_path: Path, image: str) -> None:
    first = build.build_layer(image, tmp_path / "1")
    shutil.copytree(tmp_path / "1/debs", tmp_path / "2/debs")  # apt verifies what it finds there, and fetches nothing
    assert build.build_layer(image, tmp_path / "2") == first
