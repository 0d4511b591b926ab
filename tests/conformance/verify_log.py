"""A second verifier of the audit log, written from docs/audit-format.md alone. Shares no code with the writer.

    python verify_log.py AUDIT_ROOT CHECKPOINTS_ROOT TRUST_ROOT

It reads whole files into memory and is meant to be read. Needs Python 3.11 and `cryptography`.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
LONGEST_LINE = (4 << 20) + 192


class Verdict(NamedTuple):
    """The first thing wrong with one origin, `("ok", None)` if nothing is."""

    kind: str
    seq: int | None


def merkle(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, level by level (an odd last node moves up unchanged)."""
    if not leaves:
        return sha256(b"").digest()
    row = leaves
    while len(row) > 1:
        paired = [sha256(b"\x01" + a + b).digest() for a, b in zip(row[::2], row[1::2], strict=False)]
        row = paired + (row[-1:] if len(row) % 2 else [])
    return row[0]


def read_key(text: str) -> tuple[str, bytes, bytes]:
    """C2SP verifier key: (name, key id, 32 key bytes)."""
    name, key_id, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    expected = sha256(name.encode() + b"\n" + raw).digest()[:4]
    if raw[0] != 1 or len(raw) != 33 or bytes.fromhex(key_id) != expected:
        raise ValueError("bad verifier key")
    return name, expected, raw[1:]


def read_checkpoint(raw: bytes, key: tuple[str, bytes, bytes]) -> tuple[int, bytes]:
    """Size and root of a checkpoint signed by `key`; ValueError otherwise."""
    name, key_id, public = key
    if len(raw) > 65_536 or any(byte < 32 and byte != 10 for byte in raw):
        raise ValueError("not a note")
    text, gap, signatures = raw.decode("utf-8").rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise ValueError("no signatures")
    text += "\n"
    signed = False
    for line in signatures[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if dash != "\u2014" or len(blob) < 5 or not signer or "+" in signer:
            raise ValueError("malformed signature line")
        if (signer, blob[:4]) == (name, key_id):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], text.encode())
            except InvalidSignature as error:
                raise ValueError("wrong signature") from error
            signed = True
    origin, size, root, end = text.split("\n")
    if not signed or origin != name or end or not re.fullmatch(r"0|[1-9][0-9]{0,17}", size, re.ASCII):
        raise ValueError("not a checkpoint of this origin")
    digest = base64.b64decode(root, validate=True)
    if len(digest) != 32:
        raise ValueError("not a root hash")
    return int(size), digest


def framing(line: bytes) -> tuple[int, str] | None:
    """(seq, origin) of a well-formed record, None for anything else."""
    try:
        record = json.loads(line.decode("utf-8"), parse_constant=int)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("seq")) is not int or record["seq"] < 0:
        return None
    if type(record.get("mono_ns")) is not int or not isinstance(record.get("origin"), str):
        return None
    if not isinstance(record.get("time"), str) or not STAMP.fullmatch(record["time"]):
        return None
    return record["seq"], record["origin"]


def split_lines(segments: list[Path]) -> tuple[list[bytes], bool]:
    """All lines, and whether the very last one is unfinished."""
    lines: list[bytes] = []
    torn = False
    for segment in segments:
        data = segment.read_bytes()
        if torn:
            torn = False
        while data:
            cut = data.find(b"\n", 0, LONGEST_LINE + 1)
            if cut >= 0:
                lines.append(data[:cut])
                data, torn = data[cut + 1 :], False
            else:
                lines.append(data[: LONGEST_LINE + 1])
                data, torn = data[LONGEST_LINE + 1 :], True
    return (lines[:-1], True) if torn else (lines, False)


def name_it(belongs_later: bool, stands_later: bool) -> str:
    if belongs_later:
        return "reordered" if stands_later else "deleted"
    return "inserted" if stands_later else "edited"


def by_form(origin: str, lines: list[bytes], at: int) -> Verdict:
    shape = framing(lines[at])
    later = shape is not None and shape[1] == origin and shape[0] > at
    return Verdict(name_it(later, any(framing(line) == (at, origin) for line in lines[at + 1 :])), at)


def verify_origin(audit: Path, checkpoints: Path, trust: Path, origin: str) -> Verdict:
    """The verdict on one origin, at rest."""
    folder = audit / origin
    segments = sorted(p for p in folder.glob("*.jsonl") if re.fullmatch(r"[0-9]{8}\.jsonl", p.name))
    lines, torn = split_lines(segments)
    misfit = next((n for n, line in enumerate(lines) if framing(line) != (n, origin)), None)
    public = trust / "origins" / f"{origin}.pub"
    if not public.exists():
        return Verdict("unknown-origin", None)
    note = checkpoints / f"{origin}.ckpt"
    if not note.exists():
        return Verdict("checkpoint-missing", None) if segments else Verdict("ok", None)
    try:
        size, root = read_checkpoint(note.read_bytes(), read_key(public.read_text(encoding="utf-8")))
    except ValueError:
        return Verdict("checkpoint-invalid", None)
    hashes = [sha256(b"\x00" + line).digest() for line in lines]
    if len(lines) >= size and merkle(hashes[:size]) == root:
        if misfit is None:
            return Verdict("torn", len(lines)) if torn else Verdict("ok", None)
        return Verdict("malformed", misfit) if misfit < size else by_form(origin, lines, misfit)
    stored = b"".join(p.with_suffix(".leaves").read_bytes() for p in segments if p.with_suffix(".leaves").exists())
    leaves = [stored[n * 32 : n * 32 + 32] for n in range(min(size, len(stored) // 32))]
    differs = next((n for n, (a, b) in enumerate(zip(hashes, leaves, strict=False)) if a != b), None)
    if len(leaves) == size and merkle(leaves) == root:
        if differs is None:
            return Verdict("truncated", len(lines))
        shape = framing(lines[differs])
        later = hashes[differs] in leaves[differs + 1 :]
        later = later or (shape is not None and shape[1] == origin and shape[0] >= size)
        return Verdict(name_it(later, leaves[differs] in hashes[differs + 1 :]), differs)
    found = []
    if misfit is not None and misfit < size:
        found.append(by_form(origin, lines, misfit))
    if len(lines) < size:
        found.append(Verdict("truncated", len(lines)))
    elif differs is not None:
        found.append(Verdict("edited", differs))
    return min(found, key=lambda verdict: verdict.seq or 0) if found else Verdict("fork", None)


def main(audit: Path, checkpoints: Path, trust: Path) -> int:
    names = {p.name for p in audit.iterdir() if p.is_dir() and any(p.glob("*.jsonl"))}
    names |= {p.stem for p in checkpoints.glob("*.ckpt")} | {p.stem for p in (trust / "origins").glob("*.pub")}
    bad = False
    for name in sorted(names):
        verdict = verify_origin(audit, checkpoints, trust, name)
        bad = bad or verdict.kind != "ok"
        print(ascii(name), verdict.kind, "" if verdict.seq is None else verdict.seq)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
