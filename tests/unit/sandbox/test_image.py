"""The image's bytes follow from its content, and its id is pinned in one file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from sandbox import ImageBuildError, ImageNotPinned, pinned
from sandbox.image import archive, build, lock, packages, syscalls

IMAGE_ID = "sha256:" + "a" * 64


def tree(root: Path) -> Path:
    """A small unpacked system with what must stay and what must not."""
    files = {
        "usr/bin/python3.11": 0o755,
        "usr/bin/passwd": 0o4755,
        "usr/lib/python3.11/os.py": 0o644,
        "usr/lib/python3.11/sitecustomize.py": 0o644,
        "usr/lib/python3.11/test/test_os.py": 0o644,
        "lib/x86_64-linux-gnu/libc.so.6": 0o4755,
        "lib/x86_64-linux-gnu/libz.so.1.2": 0o644,
        "bin/sh": 0o755,
        "etc/passwd": 0o644,
        "usr/share/doc/x": 0o644,
        "usr/lib/python3/dist-packages/numpy/__init__.py": 0o644,
        "usr/lib/python3/dist-packages/numpy/core/_umath.cpython-311-x86_64-linux-gnu.so": 0o644,
        "usr/lib/python3/dist-packages/numpy/tests/test_x.py": 0o644,
        "usr/lib/python3/dist-packages/numpy/core/tests/data/x.npy": 0o644,
        "usr/lib/python3/dist-packages/pandas/_libs/algos.pyx": 0o644,
        "usr/lib/python3/dist-packages/matplotlib/backends/web_backend/x.py": 0o644,
        "usr/share/matplotlib/mpl-data/stylelib/x.mplstyle": 0o644,
        "usr/share/matplotlib/mpl-data/sample_data/x.npz": 0o644,
        "usr/share/zoneinfo/Europe/London": 0o644,
        "usr/share/zoneinfo/right/Europe/London": 0o644,
        "usr/bin/f2py": 0o755,
    }
    for name, mode in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
    (root / "lib/x86_64-linux-gnu/libz.so.1").symlink_to("libz.so.1.2")
    return root


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    for path in second.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    layers = [archive.layer(root, "3.11") for root in (first, second)]
    assert layers[0] == layers[1]
    runner = archive.runner_layer(b"runner")
    images = [
        archive.image([layer, runner], name="i", architecture="amd64", version="3.11", recipe="r") for layer in layers
    ]
    assert images[0] == images[1]


def test_the_layer_keeps_python_and_libraries_and_nothing_else(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive.layer(tree(tmp_path), "3.11"))) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert {name for name, member in members.items() if not member.isdir()} == {
        "usr/bin/python3.11",
        "usr/lib/python3.11/os.py",
        "lib/x86_64-linux-gnu/libc.so.6",
        "lib/x86_64-linux-gnu/libz.so.1",
        "lib/x86_64-linux-gnu/libz.so.1.2",
        "usr/lib/python3/dist-packages/numpy/__init__.py",
        "usr/lib/python3/dist-packages/numpy/core/_umath.cpython-311-x86_64-linux-gnu.so",
        "usr/share/matplotlib/mpl-data/stylelib/x.mplstyle",
        "usr/share/zoneinfo/Europe/London",
        "etc/passwd",
        "etc/group",
        "etc/matplotlibrc",
    }
    assert all((m.uid, m.gid, m.mtime, m.uname) == (0, 0, 0, "") for m in members.values())
    assert not any(member.mode & 0o6000 for member in members.values())
    assert members["tmp"].mode == 0o1777


def test_the_layer_of_packages_knows_its_python_and_the_runner_lies_above(tmp_path: Path) -> None:
    assert archive.version_in(archive.layer(tree(tmp_path), "3.11")) == "3.11"
    with tarfile.open(fileobj=io.BytesIO(archive.runner_layer(b"program"))) as tar:
        assert tar.getnames() == ["opt", "opt/toolgate", "opt/toolgate/runner.py"]
        assert tar.extractfile("opt/toolgate/runner.py").read() == b"program"  # type: ignore[union-attr]


def test_a_layer_without_python_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageBuildError, match="no Python"):
        archive.version_in(archive.layer(tmp_path / "empty", "3.11"))


def test_the_archive_names_its_parts_by_their_digest() -> None:
    layers = [b"lower", b"upper"]
    with tarfile.open(
        fileobj=io.BytesIO(archive.image(layers, name="i", architecture="amd64", version="3.11", recipe="r"))
    ) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        config = tar.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        assert [tar.extractfile(name).read() for name in manifest["Layers"]] == layers  # type: ignore[union-attr]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]


def test_each_image_has_a_recipe_of_its_own() -> None:
    recipes = {build.recipe(name) for name in build.IMAGES} | {build.layer_recipe(name) for name in build.IMAGES}
    assert len(recipes) == 2 * len(build.IMAGES)


def test_dependencies_are_followed_to_libraries_only(monkeypatch: pytest.MonkeyPatch) -> None:
    records = {
        "python3.11-minimal": "Depends: libexpat1 (>= 2), dash, debconf | libdebconfclient0",
        "libpython3.11-stdlib": "Pre-Depends: media-types | mime-support",
        "python3-matplotlib": "Depends: python3-tk, libjs-jquery, libfreetype6 (>= 2) | other, python3:any",
        "libexpat1": "Depends: libc6",
        "libfreetype6": "Depends: libc6, libpng16-16",
        "libc6": "Depends: libc-bin",
        "libpng16-16": "",
    }

    def apt(*argv: str, cwd: Path | None = None) -> str:
        return "\n\n".join(f"Package: {name}\nVersion: 1\n{records[name]}" for name in argv[3:])

    monkeypatch.setattr(packages, "_run", apt)
    assert set(packages.resolve("3.11", ["python3-matplotlib"])) == set(records)


def test_a_pin_is_read_back_and_its_neighbours_stay(tmp_path: Path) -> None:
    file = tmp_path / "deep/lock"
    lock.pin(file, "one", IMAGE_ID)
    lock.pin(file, "two", "sha256:" + "b" * 64)
    assert pinned(file, "one") == IMAGE_ID
    assert [path.name for path in file.parent.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", "{", '{"i": 1}', '{"i": "latest"}', '{"i": "sha256:abc"}', '{"i": null}']
)
def test_c103_without_a_well_formed_pin_nothing_runs(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "lock"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ImageNotPinned, match=r"no valid pin|no lock file|unreadable|no object"):
        pinned(file, "i")


def test_the_shipped_seccomp_profile_is_the_list() -> None:
    shipped = Path(syscalls.__file__).with_name("seccomp.json").read_text()
    assert shipped == syscalls.rendered(), "run `python -m sandbox.image.syscalls`"


def test_no_system_call_is_both_allowed_and_denied_or_listed_twice() -> None:
    allowed = [call for group in syscalls.ALLOWED for call in group.calls]
    denied = {call for group in syscalls.DENIED_ON_PURPOSE for call in group.calls}
    assert len(allowed) == len(set(allowed))
    assert not denied & {*allowed, "clone"}
    assert all(group.reason for group in (*syscalls.ALLOWED, *syscalls.DENIED_ON_PURPOSE))
