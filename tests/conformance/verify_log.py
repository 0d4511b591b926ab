"""A second verifier of the audit log, written from docs/audit-format.md alone. Shares no code with the writer.

    python verify_log.py AUDIT_ROOT CHECKPOINTS_ROOT TRUST_ROOT [NOTES_OF_A_WITNESS]

Reads whole files into memory; meant to be read. 200 lines, blank ones apart. Python 3.11 and `cryptography`.
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


def merkle(leaves: list[bytes], peaks: list[tuple[int, bytes]] | None = None) -> bytes:
    """RFC 6962, section 2.1, after the perfect subtrees `peaks` (width, root) of what stands before `leaves`."""
    stack = list(peaks or [])
    for leaf in leaves:
        stack.append((1, leaf))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (width, left), (_, right) = stack[-2:]
            stack[-2:] = [(2 * width, sha256(b"\x01" + left + right).digest())]
    root = stack.pop()[1] if stack else sha256(b"").digest()
    while stack:
        root = sha256(b"\x01" + stack.pop()[1] + root).digest()
    return root


def read_key(text: str) -> tuple[str, bytes, bytes]:
    """C2SP verifier key: (name, key id, 32 key bytes)."""
    name, key_id, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    expected = sha256(name.encode() + b"\n" + raw).digest()[:4]
    if raw[0] != 1 or len(raw) != 33 or bytes.fromhex(key_id) != expected:
        raise ValueError("bad verifier key")
    return name, expected, raw[1:]


def read_note(raw: bytes, keys: list[tuple[str, bytes, bytes]]) -> tuple[list[str], list[int]]:
    """The lines of a C2SP signed note and which of `keys` signed it; ValueError if none did."""
    if len(raw) > 65_536 or any(byte < 32 and byte != 10 for byte in raw):
        raise ValueError("not a note")
    text, gap, signatures = raw.decode("utf-8").rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise ValueError("no signatures")
    signed = []
    for line in signatures[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if dash != "\u2014" or len(blob) < 5 or not signer or "+" in signer:
            raise ValueError("malformed signature line")
        for number, (name, key_id, public) in enumerate(keys):
            if (signer, blob[:4]) == (name, key_id):
                try:
                    Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], f"{text}\n".encode())
                except InvalidSignature as error:
                    raise ValueError("wrong signature") from error
                signed.append(number)
    if not signed:
        raise ValueError("not signed")
    return text.split("\n"), signed


def tree(size: str, root: str) -> tuple[int, bytes]:
    """Size and root as notes write them."""
    digest = base64.b64decode(root, validate=True)
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", size, re.ASCII) or len(digest) != 32:
        raise ValueError("not a tree")
    return int(size), digest


class Keys:
    """The keys of an origin, oldest first, and the tree (size, root) at which each was rotated out."""

    def __init__(self, public: Path) -> None:
        self.keys, self.ends = [read_key(public.read_text(encoding="utf-8"))], list[tuple[int, bytes]]()
        while (path := public.with_name(f"{public.stem}.rotation-{len(self.keys)}")).exists():
            lines, _ = read_note(path.read_bytes(), self.keys[-1:])
            title, origin, size, root, new = lines
            read_note(path.read_bytes(), [read_key(new)])
            same = {origin, read_key(new)[0]} == {self.keys[0][0]} and read_key(new) not in self.keys
            if title != "toolgate key rotation v1" or not same:
                raise ValueError("not a rotation of this key")
            self.ends.append(tree(size, root))
            self.keys.append(read_key(new))

    def checkpoint(self, raw: bytes) -> tuple[int, bytes]:
        """Size and root of a checkpoint signed by a key in force at that size; ValueError otherwise."""
        (origin, size, root), signed = read_note(raw, self.keys)
        found = tree(size, root)
        if origin != self.keys[0][0] or (max(signed) < len(self.ends) and found[0] > self.ends[max(signed)][0]):
            raise ValueError("not a checkpoint of this origin and key")
        return found

    def retired(self, raw: bytes) -> tuple[int, str, list[tuple[int, bytes]]]:
        """How many records were retired, the first segment left, and the perfect subtrees over what went."""
        (title, origin, size, first, _, *peaks), _ = read_note(raw, self.keys)
        count, widths = int(size), [1 << bit for bit in range(63, -1, -1) if int(size) >> bit & 1]
        if title != "toolgate retired v1" or origin != self.keys[0][0]:
            raise ValueError("not a retirement of this origin")
        return count, first, [(width, tree("0", peak)[1]) for width, peak in zip(widths, peaks, strict=True)]


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
    lines, torn = list[bytes](), False
    for segment in segments:
        data = segment.read_bytes()
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


def by_form(origin: str, lines: list[bytes], at: int, start: int) -> Verdict:
    shape = framing(lines[at])
    later = shape is not None and shape[1] == origin and shape[0] > at + start
    stands = any(framing(line) == (at + start, origin) for line in lines[at + 1 :])
    return Verdict(name_it(later, stands), at + start)


def verify_origin(audit: Path, checkpoints: Path, trust: Path, origin: str, pins: tuple[bytes, ...] = ()) -> Verdict:
    """The verdict on one origin, at rest. `pins` are checkpoints that somebody else kept."""
    start, first, peaks = 0, "", list[tuple[int, bytes]]()
    public, note = trust / "origins" / f"{origin}.pub", checkpoints / f"{origin}.ckpt"
    if not public.exists():
        return Verdict("unknown-origin", None)
    try:
        keys = Keys(public)
        pinned = [keys.checkpoint(pin) for pin in pins]
        if not note.exists():
            there = any((audit / origin).glob("*.jsonl"))
            return Verdict("checkpoint-missing", None) if there else Verdict("rolled-back" if pins else "ok", None)
        size, root = keys.checkpoint(note.read_bytes())
    except ValueError:
        return Verdict("checkpoint-invalid", None)
    try:
        if note.with_suffix(".retired").exists():
            start, first, peaks = keys.retired(note.with_suffix(".retired").read_bytes())
    except ValueError:
        return Verdict("retirement-invalid", None)
    if size < start:
        return Verdict("rolled-back", None)
    names = [p for p in sorted((audit / origin).glob("*.*")) if re.fullmatch(r"[0-9]{8}\.(jsonl|leaves)", p.name)]
    lines, torn = split_lines([p for p in names if p.suffix == ".jsonl" and p.name >= first])
    side = [p for p in names if p.suffix == ".leaves"]
    stored = b"".join(p.read_bytes() for p in side)
    leaves = [stored[n : n + 32] for n in range(0, len(stored) - 31, 32)]
    leaves = leaves[start if not side or side[0].stem < first[:8] else 0 :][: size - start]
    misfit = next((n for n, line in enumerate(lines) if framing(line) != (n + start, origin)), None)
    hashes = [sha256(b"\x00" + line).digest() for line in lines]
    if len(lines) + start >= size and merkle(hashes[: size - start], peaks) == root:
        if misfit is not None:
            signed = misfit + start < size
            return Verdict("malformed", misfit + start) if signed else by_form(origin, lines, misfit, start)
        for at, expected in sorted(pinned + keys.ends):
            if at > len(lines) + start:
                return Verdict("rolled-back", len(lines) + start)
            if at >= start and merkle(hashes[: at - start], peaks) != expected:
                return Verdict("fork", None)
        return Verdict("torn", len(lines) + start) if torn else Verdict("ok", None)
    differs = next((n for n, (a, b) in enumerate(zip(hashes, leaves, strict=False)) if a != b), None)
    if len(leaves) == size - start and merkle(leaves, peaks) == root:
        if differs is None:
            return Verdict("truncated", len(lines) + start)
        shape = framing(lines[differs])
        later = hashes[differs] in leaves[differs + 1 :]
        later = later or (shape is not None and shape[1] == origin and shape[0] >= size)
        return Verdict(name_it(later, leaves[differs] in hashes[differs + 1 :]), differs + start)
    found = []
    if misfit is not None and misfit + start < size:
        found.append(by_form(origin, lines, misfit, start))
    if len(lines) + start < size:
        found.append(Verdict("truncated", len(lines) + start))
    elif differs is not None:
        found.append(Verdict("edited", differs + start))
    return min(found, key=lambda verdict: verdict.seq or 0) if found else Verdict("fork", None)


def main(audit: Path, checkpoints: Path, trust: Path, witness: Path | None = None) -> int:
    names = {p.name for p in audit.iterdir() if p.is_dir() and any(p.glob("*.jsonl"))}
    names |= {p.stem for p in checkpoints.glob("*.ckpt")} | {p.stem for p in (trust / "origins").glob("*.pub")}
    bad = 0
    for name in sorted(names):
        kept = [witness / f"{name}.ckpt"] if witness else []
        verdict = verify_origin(audit, checkpoints, trust, name, tuple(p.read_bytes() for p in kept if p.exists()))
        bad |= verdict.kind != "ok"
        print(ascii(name), verdict.kind, "" if verdict.seq is None else verdict.seq)
    return bad


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:5])))
