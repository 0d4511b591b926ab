"""`python -m sandbox.image.build [IMAGE]`: make a sandbox image without any registry, load it, pin its id.

The same packages and the same sources give the same bytes. The layer of packages is kept in the cache, so a second
daemon, or a changed runner, costs a second. Two builds at once wait for each other.
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
from typing import Final

from sandbox.docker import DockerEngine
from sandbox.failure import ImageBuildError, SandboxError
from sandbox.image import archive, lock, packages

IMAGE_NAME = "toolgate-sandbox-python"
DATA_IMAGE_NAME = "toolgate-sandbox-python-data"
IMAGES: Final[dict[str, tuple[str, ...]]] = {IMAGE_NAME: (), DATA_IMAGE_NAME: packages.DATA}
_HERE = Path(__file__).parent
_LAYER_SOURCES = ("archive.py", "packages.py")
_LAYER_FORMAT = b"2: compileall unchecked-hash, runner apart"  # raise it when build_layer changes
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer_recipe(image: str) -> str:
    """SHA-256 over everything that decides the lower layer's bytes but the packages themselves."""
    digest = hashlib.sha256(_LAYER_FORMAT + b"\0" + image.encode() + b"\0")
    for name in _LAYER_SOURCES:
        digest.update((_HERE / name).read_bytes())
    return digest.hexdigest()


def recipe(image: str = IMAGE_NAME) -> str:
    """SHA-256 over everything that decides the image's bytes but the packages themselves."""
    return hashlib.sha256(layer_recipe(image).encode() + (_HERE / "runner.py").read_bytes()).hexdigest()


def build_layer(image: str, work: Path) -> bytes:
    """Resolve, download, unpack, precompile and pack. Needs apt."""
    version = packages.python_version()
    root = work / "root"
    packages.unpack(packages.resolve(version, IMAGES[image]), work / "debs", root)
    _precompile(root, version)
    return archive.layer(root, version)


def assemble(image: str, layer: bytes) -> bytes:
    """The archive for `docker load`: the packages' layer with the runner above it."""
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise ImageBuildError(f"no sandbox image for {machine}: supported are {', '.join(_ARCHITECTURES)}")
    return archive.image(
        [layer, archive.runner_layer((_HERE / "runner.py").read_bytes())],
        name=image,
        architecture=_ARCHITECTURES[machine],
        version=archive.version_in(layer),
        recipe=recipe(image),
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
    argv += ["-s", str(root), "-p", "/", "-x", "/(test|tests|lib2to3|f2py|distutils)/", str(library)]
    argv += [str(modules) for modules in [root / "usr/lib/python3/dist-packages"] if modules.is_dir()]
    env = {"PYTHONHASHSEED": "0", "PYTHONHOME": str(root / "usr")}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise ImageBuildError(f"precompiling failed: {(done.stdout + done.stderr).strip()[-800:]}")


def ensure(engine: DockerEngine, cache: Path, lock_file: Path, image: str = IMAGE_NAME) -> str:
    """The pinned image's id, building or loading it where the daemon has not got it."""
    if image not in IMAGES:
        raise ImageBuildError(f"no such image {image!r}: known are {', '.join(IMAGES)}")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        made_from = recipe(image)
        present = engine.image_facts(image)
        if present is None or present.labels.get("toolgate.recipe") != made_from:
            with tempfile.TemporaryDirectory(prefix="toolgate-image-") as work:
                loadable = Path(work) / "image.tar"
                loadable.write_bytes(assemble(image, _layer(image, cache, Path(work))))
                engine.load_image(loadable)
            present = engine.image_facts(image)
        if present is None or present.labels.get("toolgate.recipe") != made_from:
            raise ImageBuildError("the daemon loaded the archive but has no such image: see its log")
        lock.pin(lock_file, image, present.image_id)
        return present.image_id


def _layer(image: str, cache: Path, work: Path) -> bytes:
    """The packages' layer, from the cache where it was made before."""
    kept = cache / f"{image}-{layer_recipe(image)[:16]}.layer"
    if not kept.exists():
        draft = kept.with_suffix(".new")
        draft.write_bytes(build_layer(image, work))
        draft.replace(kept)
        for old in set(cache.glob(f"{image}-????????????????.layer")) - {kept}:
            old.unlink()
    return kept.read_bytes()


def pin(engine: DockerEngine, image_id: str, lock_file: Path, image: str = IMAGE_NAME) -> str:
    """Pin the id of an image that the daemon has; a name is resolved now, once."""
    present = engine.image_facts(image_id)
    if present is None:
        raise ImageBuildError(f"the daemon has no image {image_id}")
    lock.pin(lock_file, image, present.image_id)
    return present.image_id


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line entry; 0 when the image is there and pinned."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.image.build", description="Build a sandbox image.")
    parser.add_argument("image", nargs="?", default=IMAGE_NAME, choices=IMAGES, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, default=lock.default_cache(), help="folder for the layers")
    parser.add_argument("--lock", type=Path, default=None, help="lock file (default: in the cache folder)")
    parser.add_argument("--archive-only", type=Path, help="write the archive here and load nothing")
    parser.add_argument("--pin", metavar="ID", help="pin an image that is there already, and build nothing")
    options = parser.parse_args(arguments)
    image, lock_file = options.image, options.lock or options.cache / lock.LOCK_NAME
    try:
        if options.archive_only:
            with tempfile.TemporaryDirectory(prefix="toolgate-image-") as work:
                options.archive_only.write_bytes(assemble(image, build_layer(image, Path(work))))
            return 0
        engine = DockerEngine()
        if options.pin:
            image_id = pin(engine, options.pin, lock_file, image)
        else:
            image_id = ensure(engine, options.cache, lock_file, image)
    except SandboxError as error:
        print(f"toolgate: {error}", file=sys.stderr)
        return 1
    print(json.dumps({image: image_id}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
