"""Which Debian or Ubuntu packages an image needs, resolved from apt's own signed metadata.

Python packages are named below, and only shared libraries are followed from there: a dependency on a shell, a
package manager or a debconf frontend is never taken into the image. `apt-get download` verifies each file
against the index; no maintainer script runs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sandbox.failure import ImageBuildError

_FOLLOWED = re.compile(r"(lib[a-z0-9][a-z0-9+.-]*|zlib1g|python3\.[0-9]+-minimal)")
_NOT_A_LIBRARY = re.compile(r"libc-bin|libpam-runtime|libdebconfclient0|libjs-.*")
_STEP_TIMEOUT_S = 300.0

# What numpy, pandas and matplotlib import. Not taken, though Debian's packages depend on them: Tk, jQuery, and
# what fontTools can do besides subsetting a font for a PDF (scipy, sympy, lxml). tzdata is for time zones.
DATA: Final = (
    "python3-numpy",
    "python3-pandas",
    "python3-pandas-lib",
    "python3-matplotlib",
    "python-matplotlib-data",
    "python3-contourpy",
    "python3-cycler",
    "python3-dateutil",
    "python3-fonttools",
    "python3-kiwisolver",
    "python3-packaging",
    "python3-pil",
    "python3-pyparsing",
    "python3-six",
    "python3-tz",
    "tzdata",
)
# BLAS and LAPACK come from one of several packages; maintainer scripts would choose (update-alternatives(1)).
_ALTERNATIVES: Final = ("blas/libblas.so.3", "lapack/liblapack.so.3")


def _run(*argv: str, cwd: Path | None = None) -> str:
    if shutil.which(argv[0]) is None:
        raise ImageBuildError(f"{argv[0]} not found: the offline image needs Debian or Ubuntu's apt tools")
    try:
        done = subprocess.run(  # noqa: S603  (fixed argv, no shell)
            argv, cwd=cwd, capture_output=True, text=True, timeout=_STEP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImageBuildError(f"{argv[0]} took longer than {_STEP_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        raise ImageBuildError(f"{' '.join(argv[:3])} failed ({done.returncode}): {done.stderr.strip()[-800:]}")
    return done.stdout


def _stanzas(packages: list[str]) -> dict[str, dict[str, str]]:
    """apt's record for each package: `{name: {field: value}}`."""
    records: dict[str, dict[str, str]] = {}
    for block in _run("apt-cache", "show", "--no-all-versions", *packages).split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", block, re.MULTILINE))
        if "Package" in fields:
            records.setdefault(fields["Package"], fields)
    missing = sorted(set(packages) - set(records))
    if missing:
        raise ImageBuildError(f"apt knows no package {', '.join(missing)}: run `apt-get update` first")
    return records


def _libraries(record: dict[str, str]) -> set[str]:
    """The followed dependencies of one record; of alternatives the first that is followed."""
    wanted: set[str] = set()
    for field in ("Pre-Depends", "Depends"):
        for clause in filter(None, record.get(field, "").split(",")):
            names = [re.split(r"[\s(:]", choice.strip(), maxsplit=1)[0] for choice in clause.split("|")]
            followed = [n for n in names if _FOLLOWED.fullmatch(n) and not _NOT_A_LIBRARY.fullmatch(n)]
            wanted.update(followed[:1])
    return wanted


def python_version() -> str:
    """The distribution's own Python, as `3.N`."""
    depends = _stanzas(["python3-minimal"])["python3-minimal"]
    found = re.search(r"\bpython(3\.[0-9]+)-minimal\b", depends.get("Pre-Depends", "") + depends.get("Depends", ""))
    if found is None:
        raise ImageBuildError("apt's python3-minimal names no python3.N-minimal: unknown distribution")
    return found[1]


def versions(names: Iterable[str]) -> dict[str, str]:
    """`{package: version}` as apt would install them now."""
    known = _stanzas(sorted(names))
    return {name: known[name]["Version"] for name in sorted(known)}


def resolve(version: str, more: Iterable[str] = ()) -> dict[str, str]:
    """`{package: version}` of everything that Python `version` and the packages `more` need, sorted by name."""
    known: dict[str, dict[str, str]] = {}
    wave = {f"python{version}-minimal", f"libpython{version}-stdlib", *more}
    while wave:
        known.update(_stanzas(sorted(wave)))
        wave = {name for found in wave for name in _libraries(known[found])} - set(known)
    return {name: known[name]["Version"] for name in sorted(known)}


def unpack(packages: dict[str, str], downloads: Path, root: Path) -> None:
    """Download exactly these versions and unpack them into `root`."""
    downloads.mkdir(parents=True, exist_ok=True)
    pins = [f"{name}={version}" for name, version in packages.items()]
    _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *pins, cwd=downloads)
    archives = sorted(downloads.glob("*.deb"))
    if len(archives) != len(packages):
        raise ImageBuildError(f"apt-get downloaded {len(archives)} files for {len(packages)} packages")
    for archive in archives:
        _run("dpkg-deb", "-x", str(archive), str(root))
    for chosen in _ALTERNATIVES:
        for library in root.glob(f"usr/lib/*/{chosen}"):
            (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")
