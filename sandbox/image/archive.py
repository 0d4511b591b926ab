"""From an unpacked tree to a Docker image archive that is byte-identical each time.

Files are sorted, owned by 0:0, dated 1970 and lose every set-id bit; only Python, its libraries, shared objects and
the data those read are kept. The format is the `docker save` one (Docker Image Specification 1.2), so the image id
follows from the content and not from the hour of the build. Two layers: what the packages hold, which is slow to
make and seldom changes, and our runner.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sandbox.failure import ImageBuildError

RUNNER_PATH = "/opt/toolgate/runner.py"
_SHARED_OBJECT = re.compile(r"(usr/)?lib(32|64)?/([^/]+/)*[^/]+\.so(\.[0-9]+)*")
# Mount points on a read-only root. runc gives a tmpfs the mode of the directory beneath it.
_EMPTY_DIRECTORIES = {"dev": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777}
_NOT_NEEDED = re.compile(
    r"usr/lib/python3\.\d+/(test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|venv|unittest/test)/"
    r"|usr/lib/python3/dist-packages/(.*/tests?/|matplotlib/backends/(web_backend|qt_editor)/|numpy/(distutils|f2py)/)"
    r"|usr/lib/python3/dist-packages/.*\.(pyx|pxd|pxi|pyi|tpl|in|c|cpp|h|f|f90|js|css|html)$"
    r"|usr/share/matplotlib/mpl-data/(sample_data|plot_directive)/"
    r"|usr/share/zoneinfo/(posix|right)/"
)
_DATA = ("usr/lib/python3/dist-packages/", "usr/share/matplotlib/mpl-data/", "usr/share/zoneinfo/")
# The user has a name and a home, so that a library which looks for them finds /tmp; matplotlib draws to files.
_PASSWD = b"root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/tmp:/nonexistent\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_MATPLOTLIBRC = b"backend: Agg\n"


def kept(path: str, version: str) -> bool:
    """True where `path` (relative, POSIX) belongs in the image."""
    if path == f"usr/bin/python{version}":
        return True
    if path.startswith((f"usr/lib/python{version}/", *_DATA)):
        return _NOT_NEEDED.match(path) is None and "sitecustomize" not in path
    return _SHARED_OBJECT.fullmatch(path) is not None and "/gconv/" not in path and "/audit/" not in path


def _entry(path: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type, entry.mtime = mode, kind, 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def layer(root: Path, version: str) -> bytes:
    """The layer of everything from packages, as an uncompressed tar."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for name, mode in _EMPTY_DIRECTORIES.items():
        members[name] = (_entry(name, mode, tarfile.DIRTYPE), b"")
    for name, text in (("etc/passwd", _PASSWD), ("etc/group", _GROUP)):
        members[name] = (_entry(name, 0o644, tarfile.REGTYPE), text)
    if (root / "usr/share/matplotlib").is_dir():
        members["etc/matplotlibrc"] = (_entry("etc/matplotlibrc", 0o644, tarfile.REGTYPE), _MATPLOTLIBRC)
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        if file.is_symlink():
            if kept(path, version):
                link = _entry(path, 0o777, tarfile.SYMTYPE)
                link.linkname = str(file.readlink())
                members[path] = (link, b"")
        elif file.is_file() and kept(path, version):
            mode = 0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644
            members[path] = (_entry(path, mode, tarfile.REGTYPE), file.read_bytes())
    if not any(path.startswith("lib/") for path in members):  # merged /usr (Ubuntu 24.04, Debian 13)
        for name in ("lib", "lib64"):
            link = _entry(name, 0o777, tarfile.SYMTYPE)
            link.linkname = f"usr/{name}"
            members[name] = (link, b"")
    return _tar(_with_parents(members))


def version_in(layer_tar: bytes) -> str:
    """The Python version (`3.N`) that a layer of packages holds."""
    with tarfile.open(fileobj=io.BytesIO(layer_tar)) as tar:
        for name in tar.getnames():
            if found := re.fullmatch(r"usr/bin/python(3\.\d+)", name):
                return found[1]
    raise ImageBuildError("the layer holds no Python: empty the cache and build again")


def runner_layer(runner: bytes) -> bytes:
    """The small layer above it."""
    entry = _entry(RUNNER_PATH[1:], 0o644, tarfile.REGTYPE)
    return _tar(_with_parents({RUNNER_PATH[1:]: (entry, runner)}))


def _with_parents(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    for path in list(members):
        for parent in PurePosixPath(path).parents:
            if str(parent) != "." and str(parent) not in members:
                members[str(parent)] = (_entry(str(parent), 0o755, tarfile.DIRTYPE), b"")
    return members


def _tar(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(members):
            entry, data = members[path]
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def image(layers: Sequence[bytes], *, name: str, architecture: str, version: str, recipe: str) -> bytes:
    """The `docker load` archive of an image with these layers, the lowest first."""
    diff_ids = [hashlib.sha256(each).hexdigest() for each in layers]
    made = {"created": "1970-01-01T00:00:00Z", "created_by": "toolgate sandbox.image.build"}
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": "65534:65534",
                "WorkingDir": "/tmp",  # noqa: S108  (inside the container: its own tmpfs)
                "Entrypoint": [f"/usr/bin/python{version}", "-I", "-B", "-X", "utf8", RUNNER_PATH],
                "Labels": {"toolgate.recipe": recipe},
            },
            "history": [made] * len(layers),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for diff_id in diff_ids]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    names = [f"{diff_id}/layer.tar" for diff_id in diff_ids]
    manifest = [{"Config": config_name, "RepoTags": [f"{name}:latest"], "Layers": names}]
    files = {
        config_name: config,
        "manifest.json": json.dumps(manifest).encode(),
        **dict(zip(names, layers, strict=True)),
    }
    members = {path: (_entry(path, 0o644, tarfile.REGTYPE), data) for path, data in files.items()}
    return _tar(_with_parents(members))
