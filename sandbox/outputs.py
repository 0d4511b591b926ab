"""Files that a run leaves in `/tmp/out`, as bytes in memory: nothing of them ever touches a path of the host.

Guarantee (C107): an artifact has one plain name and at most `MOST_OUTPUT_BYTES` come of a run, in at most
`MOST_FILES`; the runner opens plain files only (no link, device, queue or folder), and this side believes
neither that nor the sizes. A media type is given only where content and extension agree, so that nothing is
shown as an image that is none (RFC 2046 names; `application/octet-stream` for the rest).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sandbox.frame import INPUT_NAME, MOST_FILES, MOST_OUTPUT_BYTES

UNKNOWN: Final = "application/octet-stream"
# First bytes, from each format's own specification.
_BINARY: Final[dict[str, tuple[str, bytes]]] = {
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
    "jpg": ("image/jpeg", b"\xff\xd8\xff"),
    "jpeg": ("image/jpeg", b"\xff\xd8\xff"),
    "gif": ("image/gif", b"GIF8"),
    "pdf": ("application/pdf", b"%PDF-"),
    "zip": ("application/zip", b"PK\x03\x04"),
    "gz": ("application/gzip", b"\x1f\x8b"),
    "parquet": ("application/vnd.apache.parquet", b"PAR1"),
    "sqlite": ("application/vnd.sqlite3", b"SQLite format 3\0"),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04"),
}
_TEXT: Final = {
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "html": "text/html",
    "xml": "application/xml",
    "svg": "image/svg+xml",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "yaml": "application/yaml",
    "py": "text/x-python",
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the output folder: the code's claim, like everything it prints."""

    name: str
    media_type: str
    content: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)


def media_type(name: str, content: bytes) -> str:
    """By extension, where the content agrees with it."""
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    if extension in _BINARY:
        kind, start = _BINARY[extension]
        return kind if content.startswith(start) else UNKNOWN
    if extension in _TEXT and b"\0" not in content:
        try:
            content.decode()
        except UnicodeDecodeError:
            return UNKNOWN
        return _TEXT[extension]
    return UNKNOWN


@dataclass(slots=True)
class Collector:
    """Takes the runner's file frames; `ValueError` at the first that an honest runner would not send."""

    _files: dict[str, bytearray] = field(default_factory=dict)
    _open: bytearray | None = None
    _left: int = MOST_OUTPUT_BYTES

    def begin(self, name: bytes) -> None:
        """A file begins."""
        text = name.decode("ascii")
        if INPUT_NAME.fullmatch(text) is None or text in self._files or len(self._files) >= MOST_FILES:
            raise ValueError(f"refused output name {text!r}, or one file too many")
        self._open = self._files[text] = bytearray()

    def add(self, data: bytes) -> None:
        """More of the file that began last."""
        self._left -= len(data)
        if self._open is None or self._left < 0:
            raise ValueError("output bytes of no file, or too many of them")
        self._open += data

    def artifacts(self) -> tuple[Artifact, ...]:
        """What came, in the order it came."""
        return tuple(Artifact(name, media_type(name, bytes(data)), bytes(data)) for name, data in self._files.items())
