"""From an unpacked tree to a Docker image archive that is byte-identical each time.

Files are sorted, owned by 0:0, dated 1970 and lose every set-id bit; only Python, its library and
shared objects are kept. The format is the `docker save` one (Docker Image Specification 1.2), so the
image id follows from the content and not from the hour of the build.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import tarfile
from pathlib import Path, PurePosixPath

RUNNER_PATH = "/opt/toolgate/runner.py"
_SHARED_OBJECT = re.compile(r"(usr/)?lib(32|64)?/([^/]+/)*[^/]+\.so(\.[0-9]+)*")
# Mount points on a read-only root. runc gives a tmpfs the mode of the directory beneath it.
_EMPTY_DIRECTORIES = {"dev": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "tmp": 0o1777}
_NOT_NEEDED = re.compile(
    r"usr/lib/python3\.\d+/(test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|venv|unittest/test)/"
)


def kept(path: str, version: str) -> bool:
    """True where `path` (relative, POSIX) belongs in the image."""
    if path == f"usr/bin/python{version}":
        return True
    if path.startswith(f"usr/lib/python{version}/"):
        return _NOT_NEEDED.match(path) is None and "sitecustomize" not in path
    return _SHARED_OBJECT.fullmatch(path) is not None and "/gconv/" not in path and "/audit/" not in path


def _entry(path: str, mode: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mode, entry.type, entry.mtime = mode, kind, 0
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def layer(root: Path, version: str, runner: bytes) -> bytes:
    """The file system layer of the image, as an uncompressed tar."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for name, mode in _EMPTY_DIRECTORIES.items():
        members[name] = (_entry(name, mode, tarfile.DIRTYPE), b"")
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
    members[RUNNER_PATH[1:]] = (_entry(RUNNER_PATH[1:], 0o644, tarfile.REGTYPE), runner)
    for path in list(members):
        for parent in PurePosixPath(path).parents:
            if str(parent) != "." and str(parent) not in members:
                members[str(parent)] = (_entry(str(parent), 0o755, tarfile.DIRTYPE), b"")
    return _tar(members)


def _tar(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(members):
            entry, data = members[path]
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def image(layer_tar: bytes, *, name: str, architecture: str, version: str, recipe: str) -> bytes:
    """The `docker load` archive of an image with this one layer."""
    diff_id = hashlib.sha256(layer_tar).hexdigest()
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
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "toolgate sandbox.image.build"}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{diff_id}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [f"{name}:latest"], "Layers": [layer_name]}]
    files = {config_name: config, layer_name: layer_tar, "manifest.json": json.dumps(manifest).encode()}
    members = {path: (_entry(path, 0o644, tarfile.REGTYPE), data) for path, data in files.items()}
    members[diff_id] = (_entry(diff_id, 0o755, tarfile.DIRTYPE), b"")
    return _tar(members)
