"""`path`: files really opened, in a tree whose canaries lie wherever a payload would lead."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import PathGuard
from gateway.validate.beneath import OpenedFile

DEPTH = 12  # so that a chain of `..` ends within the tree, where a canary can lie


def measure(data: Data) -> Result:
    """Each payload as it is, and behind a folder and a link that exist."""
    result = Result("path")
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        top = Path(folder).resolve()
        root = top.joinpath(*(f"d{n}" for n in range(DEPTH)), "root")
        (root / "sub").mkdir(parents=True)
        (root / "link").symlink_to(top)
        guarded = Guarded(PathGuard(kind="path", root="root"), str(root))

        def harm(value: object) -> str:
            """Does a server that decodes as some servers do, and then opens, leave the root? Lays the canary."""
            for decoded in decodings(str(value)):
                where = os.path.realpath(f"{root}/{decoded}") if "\0" not in decoded else str(root)
                absolute = decoded if decoded.startswith("/") else where
                for place in (where, os.path.realpath(absolute.partition("\0")[0])):
                    if beneath(place, root):
                        continue
                    lay(Path(place), top)
                    return place
            return ""

        def opened(got: object) -> str:
            assert isinstance(got, OpenedFile)
            place = os.readlink(f"/proc/self/fd/{got.fileno()}")
            return "" if beneath(place, root) else place

        values = []
        for payload in data.payloads["path"]:
            aimed = payload.replace("{FILE}", "etc/passwd")
            values += [aimed, f"sub/{aimed}", f"link/{aimed}"]
        for value in values:
            harm(value)  # every canary lies before the first guarded try
        attack(result, guarded, values, harm, opened)
        files = [value for value in data.harmless if possible(value)]
        for value in files:
            place = root / "files" / f"{value}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(value)
        names = [f"files/{value}.txt" for value in files]
        serve(result, guarded, names, lambda value, got: right(root, value, got))
    return result


def decodings(text: str) -> Iterator[str]:
    """As it is; percent-decoded once, twice, with %u and overlong UTF-8; with backslashes as slashes."""
    seen = text
    for _ in range(3):
        for one in (seen, seen.replace("\\", "/")):
            yield one
            yield one.replace("0x2f", "/").replace("0x5c", "/").replace("0x2e", ".")
        wide = re.sub(r"%u(?:2215|2216|EFC8|F025)", "/", re.sub(r"%u(?:ff0e|FF0E|002e)", ".", seen))
        long = re.sub(r"%(?:c0|e0%80|f0%80%80|f8%80%80%80|fc%80%80%80%80)%(?:ae|2e)", ".", wide, flags=re.IGNORECASE)
        long = re.sub(r"%(?:c0|e0%80)%(?:af|2f|5c|9v|qf)|%c1%(?:9c|1c|8s|af|pc)", "/", long, flags=re.IGNORECASE)
        seen = unquote(long, errors="surrogateescape")


def beneath(place: str, root: Path) -> bool:
    return place == str(root) or place.startswith(f"{root}/")


def lay(place: Path, top: Path) -> None:
    """A canary, if the place is within the tree and can hold one."""
    if not str(place).startswith(f"{top}/"):
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.write_text("canary")
    except (OSError, ValueError):  # too long, or no name of a file: nothing can be opened there either
        return


def possible(value: str) -> bool:
    """Could a file beneath the root have this name?"""
    parts = f"{value}.txt".split("/")
    return "\0" not in value and all(part not in ("", ".", "..") and len(part.encode()) < 256 for part in parts)


def right(root: Path, value: object, got: object) -> str:
    assert isinstance(got, OpenedFile)
    return "" if got.read() == (root / str(value)).read_bytes() else "another file"
