"""C050: a path beneath one root is opened and nothing else is, however it is spelled and whatever is swapped meanwhile.

Both ways of opening (`openat2`, component by component) are held to the same tests.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.decision import ReasonCode
from gateway.validate.beneath import OpenedFile, best_way, by_component, by_openat2, open_file
from tests.unit.validate.world import World, contract, passed, properties, refused

TEXT = {"type": "string"}
WAYS = [by_component, *([by_openat2] if best_way() is by_openat2 else [])]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    top = tmp_path / "root"
    (top / "sub").mkdir(parents=True)
    (top / "a.txt").write_text("a")
    (top / "sub" / "b.txt").write_text("b")
    (top / "link").symlink_to("a.txt")
    (top / "out").symlink_to("../secret.txt")
    (top / "folder").symlink_to("..")
    (top / "absolute").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(top / "pipe")
    (top / "big").write_bytes(b"x" * 101)
    return top


def reading(root: Path) -> World:
    guard = {"kind": "path", "root": "reports", "max_bytes": 100}
    return World(contract(properties(("path",), path=TEXT), guards={"path": guard}), roots={"reports": str(root)})


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "sub/../a.txt",
        "..",
        ".",
        "./a.txt",
        "sub//b.txt",
        "sub/",
        "",
        "/etc/passwd",
        "//etc/passwd",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%c0%af..%c0%afsecret.txt",
        "..\\secret.txt",
        "sub\\..\\..\\secret.txt",
        "a.txt\x7f",
        "a.txt\n",
        "out",
        "link",
        "absolute",
        "folder/secret.txt",
        "folder/root/a.txt",
        "sub",
        "pipe",
        "big",
        "nothing",
        "a.txt/x",
        "x" * 300,
        "x/" * 600 + "x",
    ],
)
def test_c050_path_that_leads_elsewhere(root: Path, path: str) -> None:
    judged = refused(reading(root).judge({"path": path}))
    assert judged.reason in (ReasonCode.GUARD, ReasonCode.GUARD_FOUND)
    assert (judged.reason is ReasonCode.GUARD) == ("no such file" not in judged.message), "what was found there, or not"
    assert "secret" not in judged.message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "..",
        ".",
        "/etc/passwd",
        "out",
        "link",
        "absolute",
        "folder/secret.txt",
        "folder/root/a.txt",
        "sub",
        "pipe",
        "big",
        "nothing",
        "a.txt/x",
        "",
        "a.txt\0",
    ],
)
def test_c050_either_way_of_opening_refuses_by_itself(root: Path, path: str, way: Any) -> None:
    """Even if the spelling had not been looked at."""
    with pytest.raises((OSError, ValueError)):
        open_file(str(root), path, 100, way).close()


def test_c050_what_exists_and_what_does_not_read_alike(root: Path) -> None:
    """C131: no existence oracle outside the root, nor for links and folders inside."""
    said = {refused(reading(root).judge({"path": path})).message for path in ("out", "nothing", "sub", "link", "pipe")}
    assert len(said) == 1


@pytest.mark.parametrize("way", WAYS)
def test_c050_a_file_beneath_the_root_is_opened(root: Path, way: Any) -> None:
    for path, text in (("a.txt", b"a"), ("sub/b.txt", b"b")):
        with open_file(str(root), path, 100, way) as opened:
            assert (opened.name, opened.size, opened.read()) == (path, 1, text)
        assert opened.closed


def test_c050_the_tool_gets_the_open_file_and_the_string_is_not_used_again(root: Path) -> None:
    judged = passed(reading(root).judge({"path": "sub/b.txt"}))
    opened = judged.capabilities["path"]
    assert isinstance(opened, OpenedFile)
    (root / "sub" / "b.txt").unlink()
    (root / "sub" / "b.txt").symlink_to("../../secret.txt")
    assert opened.read() == b"b"
    reading(root).validate.close(judged)
    assert opened.closed


@pytest.mark.parametrize("way", WAYS)
def test_c050_links_swapped_in_all_the_time(root: Path, way: Any) -> None:
    """One thread turns a folder and a file into links to the secret and back; no read ever gives the secret."""
    stop = threading.Event()
    file, folder = root / "flip", root / "turn"

    def swap() -> None:
        while not stop.is_set():
            for place, target in ((file, "../secret.txt"), (folder, "..")):
                (root / "spare").symlink_to(target)
                (root / "spare").replace(place)
            (root / "fresh").write_text("a")
            (root / "fresh").replace(file)
            folder.unlink()
            folder.mkdir()
            (folder / "secret.txt").write_text("a")
            (folder / "secret.txt").unlink()
            folder.rmdir()

    swapper = threading.Thread(target=swap)
    swapper.start()
    opened = turned_away = 0
    try:
        while swapper.is_alive() and (opened < 500 or turned_away < 500):
            try:
                with open_file(str(root), "flip" if opened % 2 else "turn/secret.txt", 100, way) as found:
                    assert found.read() in (b"a", b"")
                    opened += 1
            except OSError:
                turned_away += 1
    finally:
        stop.set()
        swapper.join()
    assert opened >= 500


@pytest.mark.parametrize("way", WAYS)
def test_c050_a_file_that_grows_after_the_check(root: Path, way: Any) -> None:
    for read in (lambda f: f.read(), lambda f: f.read(500), lambda f: f.readline()):
        (root / "log").write_bytes(b"x" * 50)
        with open_file(str(root), "log", 100, way) as opened:
            (root / "log").write_bytes(b"x" * 10_000)
            with pytest.raises(OSError, match="grew"):
                read(opened)


def test_c050_nothing_stays_open_after_a_refusal(root: Path) -> None:
    world = World(
        contract(
            properties(("a", "b"), a=TEXT, b=TEXT),
            guards={name: {"kind": "path", "root": "reports"} for name in "ab"},
            rules=[{"id": "never", "require": "args.a != args.a", "tell_model": "No."}],
        ),
        roots={"reports": str(root)},
    )
    before = set(os.listdir("/proc/self/fd"))
    for arguments in ({"a": "a.txt", "b": "nothing"}, {"a": "a.txt", "b": "sub/b.txt"}):
        refused(world.judge(arguments))
    assert set(os.listdir("/proc/self/fd")) == before
