"""`python -m sandbox.image.build`: make the sandbox image without any registry, load it, pin its id.

The same packages and the same sources give the same bytes. The archive is kept in the cache, so a second
daemon only loads it. Two builds at once wait for each other.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sandbox.docker import DockerEngine
from sandbox.failure import ImageBuildError, SandboxError
from sandbox.image import archive, lock, packages

IMAGE_NAME = "toolgate-sandbox-python"
_HERE = Path(__file__).parent
_RECIPE_SOURCES = ("archive.py", "packages.py", "runner.py")
_RECIPE_FORMAT = b"1: compileall unchecked-hash"  # raise it when build_archive changes
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def recipe() -> str:
    """SHA-256 over everything that decides the image's bytes but the packages themselves."""
    digest = hashlib.sha256(_RECIPE_FORMAT)
    for name in _RECIPE_SOURCES:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()


def build_archive(work: Path, made_from: str) -> bytes:
    """Resolve, download, unpack, precompile and pack. Needs apt and a Python of the same version."""
    version = packages.python_version()
    root = work / "root"
    packages.unpack(packages.resolve(version), work / "debs", root)
    _precompile(root, version)
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise ImageBuildError(f"no sandbox image for {machine}: supported are {', '.join(_ARCHITECTURES)}")
    layer = archive.layer(root, version, (_HERE / "runner.py").read_bytes())
    return archive.image(
        layer, name=IMAGE_NAME, architecture=_ARCHITECTURES[machine], version=version, recipe=made_from
    )


def _precompile(root: Path, version: str) -> None:
    """Unchecked-hash bytecode: a read-only root can write none, and dates in the tar are all zero."""
    # The unpacked interpreter through its own loader: bytecode must be of its version, whatever Python
    # and libc the build runs on.
    loaders = sorted(root.rglob("ld-linux-*.so.*"))
    if not loaders:
        raise ImageBuildError("the unpacked packages hold no dynamic loader: unknown architecture")
    folders = sorted({str(file.parent) for file in root.rglob("lib*.so.*")})
    library = root / f"usr/lib/python{version}"
    argv = [str(loaders[0]), "--library-path", ":".join(folders), str(root / f"usr/bin/python{version}")]
    argv += ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    argv += ["-s", str(root), "-p", "/", "-x", "/(test|tests|lib2to3)/", str(library)]
    env = {"PYTHONHASHSEED": "0", "PYTHONHOME": str(root / "usr")}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ImageBuildError(f"precompiling failed: {(done.stdout + done.stderr).strip()[-800:]}")


def ensure(engine: DockerEngine, cache: Path, lock_file: Path) -> str:
    """The pinned image's id, building or loading it where the daemon has not got it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        made_from = recipe()
        kept = cache / f"sandbox-image-{made_from[:16]}.tar"
        present = engine.image_facts(IMAGE_NAME)
        if present is None or present.labels.get("toolgate.recipe") != made_from:
            if not kept.exists():
                with tempfile.TemporaryDirectory(prefix="toolgate-image-") as work:
                    draft = kept.with_suffix(".new")
                    draft.write_bytes(build_archive(Path(work), made_from))
                    draft.replace(kept)
                for old in set(cache.glob("sandbox-image-*.tar")) - {kept}:
                    old.unlink()
            engine.load_image(kept)
            present = engine.image_facts(IMAGE_NAME)
        if present is None or present.labels.get("toolgate.recipe") != made_from:
            raise ImageBuildError("the daemon loaded the archive but has no such image: see its log")
        lock.pin(lock_file, IMAGE_NAME, present.image_id)
        return present.image_id


def pin(engine: DockerEngine, image: str, lock_file: Path) -> str:
    """Pin the id of an image that the daemon has; a name is resolved now, once."""
    present = engine.image_facts(image)
    if present is None:
        raise ImageBuildError(f"the daemon has no image {image}")
    lock.pin(lock_file, IMAGE_NAME, present.image_id)
    return present.image_id


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; 0 when the image is there and pinned."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.image.build", description="Build the sandbox image.")
    parser.add_argument("--cache", type=Path, default=lock.default_cache(), help="folder for the archive")
    parser.add_argument("--lock", type=Path, default=None, help="lock file (default: in the cache folder)")
    parser.add_argument("--archive-only", type=Path, help="write the archive here and load nothing")
    parser.add_argument("--pin", metavar="ID", help="pin an image that is there already, and build nothing")
    options = parser.parse_args(arguments)
    lock_file = options.lock or options.cache / lock.LOCK_NAME
    try:
        if options.archive_only:
            with tempfile.TemporaryDirectory(prefix="toolgate-image-") as work:
                options.archive_only.write_bytes(build_archive(Path(work), recipe()))
            return 0
        engine = DockerEngine()
        image_id = pin(engine, options.pin, lock_file) if options.pin else ensure(engine, options.cache, lock_file)
    except SandboxError as error:
        print(f"toolgate: {error}", file=sys.stderr)
        return 1
    print(json.dumps({IMAGE_NAME: image_id}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
