"""A second verifier of the audit log, written from docs/audit-format.md alone. Shares no code with the writer.

    python verify_log.py AUDIT_ROOT CHECKPOINTS_ROOT TRUST_ROOT [NOTES_OF_A_WITNESS [KEY_OF_THE_WITNESS]]

Reads whole files into memory; meant to be read. Python 3.11 and `cryptography`.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
LINE = re.compile(rb"[^\n]{0,4194496}\n|[^\n]{1,4194497}")
KINDS = (("edited", "inserted"), ("deleted", "reordered"))  # by: does the line belong later, does its place's line
Key = tuple[str, bytes, bytes]  # name, key id, 32 bytes


class Verdict(NamedTuple):  # the first thing wrong with one origin; ("ok", None) if nothing is
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


def read_key(text: str, kind: int = 1) -> Key:
    name, key_id, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    expected = sha256(f"{name}\n".encode() + raw).digest()[:4]
    if raw[:1] != bytes([kind]) or len(raw) != 33 or key_id != expected.hex():
        raise ValueError("bad verifier key")
    return name, expected, raw[1:]


def read_note(raw: bytes, keys: list[Key], cosigner: Key | None = None) -> tuple[list[str], int]:
    """The lines of a signed note and which of `keys` signed it, the newest of them; it must bear `cosigner` too."""
    text, gap, tail = raw.decode("utf-8").rpartition("\n\n")
    lines, signed = tail.split("\n"), list[int]()
    if len(raw) > 65_536 or re.search(r"[\0-\t\v-\x1f]", text + tail) or not gap or lines.pop() or len(lines) > 100:
        raise ValueError("not a note")
    for line in lines:
        dash, signer, encoded = line.split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if dash != "\u2014" or len(blob) < 5 or "+" in signer or len(signer.split()) != 1:
            raise ValueError("malformed signature line")
        for number, (name, key_id, public) in enumerate([*keys, cosigner] if cosigner else keys):
            if (signer, blob[:4]) == (name, key_id):
                time = blob[4:12] if number == len(keys) else b""
                head = b"cosignature/v1\ntime %d\n" % int.from_bytes(time, "big") if time else b""
                Ed25519PublicKey.from_public_bytes(public).verify(blob[4 + len(time) :], head + f"{text}\n".encode())
                signed.append(number)
    if min(signed, default=len(keys)) == len(keys) or (cosigner and len(keys) not in signed):
        raise ValueError("not signed")
    return text.split("\n"), max(number for number in signed if number < len(keys))


def tree(size: str, root: str) -> tuple[int, bytes]:
    digest = base64.b64decode(root, validate=True)
    if not re.fullmatch(r"0|[1-9][0-9]{0,17}", size, re.ASCII) or len(digest) != 32:
        raise ValueError("not a tree")
    return int(size), digest


class Keys:  # of one origin, oldest first, and the tree (size, root) at which each was rotated out
    def __init__(self, first: Key) -> None:
        self.keys, self.ends = [first], list[tuple[int, bytes]]()

    def rotate(self, raw: bytes) -> None:
        (title, origin, size, root, new), _ = read_note(raw, self.keys[-1:])
        key, end = read_key(new), tree(size, root)
        read_note(raw, [key])
        back = key in self.keys or (self.ends and end[0] < self.ends[-1][0])
        if title != "toolgate key rotation v1" or {origin, key[0]} != {self.keys[0][0]} or back:
            raise ValueError("not a rotation of this key")
        self.ends, self.keys = [*self.ends, end], [*self.keys, key]

    def checkpoint(self, raw: bytes, cosigner: Key | None = None) -> tuple[int, bytes]:
        (origin, size, root), newest = read_note(raw, self.keys, cosigner)
        if origin != self.keys[0][0] or (newest < len(self.ends) and int(size) > self.ends[newest][0]):
            raise ValueError("not a checkpoint of this origin and key")
        return tree(size, root)

    def retired(self, raw: bytes) -> tuple[int, str, list[tuple[int, bytes]]]:
        (title, origin, size, first, _, *peaks), _ = read_note(raw, self.keys)
        count = tree(size, "A" * 43 + "=")[0]
        widths = [1 << bit for bit in range(63, -1, -1) if count >> bit & 1]
        if title != "toolgate retired v1" or origin != self.keys[0][0] or not re.fullmatch(r"[0-9]{8}\.jsonl", first):
            raise ValueError("not a retirement of this origin")
        return count, first, [(width, tree("0", peak)[1]) for width, peak in zip(widths, peaks, strict=True)]


def framing(line: bytes) -> tuple[int, str] | None:
    """(seq, origin) of a well-formed record, None for anything else."""
    try:
        record: Any = json.loads(line.decode("utf-8"), parse_constant=int)
        seq, mono, time = (record[name] for name in ("seq", "mono_ns", "time"))
        fits = type(seq) is type(mono) is int and seq >= 0 and isinstance(record["origin"], str)
        return (seq, record["origin"]) if fits and STAMP.fullmatch(time) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def by_form(origin: str, lines: list[bytes], at: int, start: int) -> Verdict:
    seq, name = framing(lines[at]) or (-1, "")
    stands = any(framing(line) == (at + start, origin) for line in lines[at + 1 :])
    return Verdict(KINDS[name == origin and seq > at + start][stands], at + start)


def verify_origin(
    audit: Path, checkpoints: Path, trust: Path, origin: str, pins: tuple[bytes, ...] = (), witness: Key | None = None
) -> Verdict:
    """The verdict on one origin, at rest; raises where the trust folder is broken. `pins`: checkpoints kept."""
    public, note = trust / "origins" / f"{origin}.pub", checkpoints / f"{origin}.ckpt"
    if not public.exists():
        return Verdict("unknown-origin", None)
    keys = Keys(read_key(public.read_text(encoding="utf-8")))
    while (path := public.with_name(f"{origin}.rotation-{len(keys.keys)}")).exists():
        keys.rotate(path.read_bytes())
    start, first, peaks = 0, "", list[tuple[int, bytes]]()
    files = [p for p in (audit / origin).glob("*.*") if re.fullmatch(r"[0-9]{8}\.(jsonl|leaves)", p.name)]
    names, wrong = sorted(files), "checkpoint-invalid"  # of what is read next
    try:
        pinned = [keys.checkpoint(pin, witness) for pin in pins]
        size, root = keys.checkpoint(note.read_bytes()) if note.exists() else (0, merkle([]))
        wrong = "retirement-invalid"
        if note.exists() and note.with_suffix(".retired").exists():
            start, first, peaks = keys.retired(note.with_suffix(".retired").read_bytes())
    except (ValueError, InvalidSignature):
        return Verdict(wrong, None)
    if not note.exists() and any(p.suffix == ".jsonl" for p in names):
        return Verdict("checkpoint-missing", None)
    if size < start:
        return Verdict("rolled-back", None)
    pieces = [x for p in names if p.suffix == ".jsonl" and p.name >= first for x in LINE.findall(p.read_bytes())]
    torn = bool(pieces) and not pieces[-1].endswith(b"\n")
    lines = [x[:-1] if x.endswith(b"\n") else x + b"\0" for x in pieces[: len(pieces) - torn]]
    side = [p for p in names if p.suffix == ".leaves"]
    leaves = [p.read_bytes()[n : n + 32] for p in side for n in range(0, p.stat().st_size - 31, 32)]
    leaves = leaves[0 if side and side[0].stem >= first[:8] else start :][: size - start]
    misfit = next((n for n, line in enumerate(lines) if framing(line) != (n + start, origin)), None)
    hashes = [sha256(b"\x00" + line).digest() for line in lines]
    if len(lines) + start >= size and merkle(hashes[: size - start], peaks) == root:
        if misfit is not None and misfit + start < size:
            return Verdict("malformed", misfit + start)
        if misfit is not None:
            return by_form(origin, lines, misfit, start)
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
        seq, name = framing(lines[differs]) or (-1, "")
        later = hashes[differs] in leaves[differs + 1 :] or (name == origin and seq >= size)
        return Verdict(KINDS[later][leaves[differs] in hashes[differs + 1 :]], differs + start)
    short = len(lines) + start < size
    place = len(lines) if short else differs
    found = [by_form(origin, lines, misfit, start)] if misfit is not None and misfit + start < size else []
    found += [] if place is None else [Verdict("truncated" if short else "edited", place + start)]
    return min(found, key=lambda verdict: verdict.seq or 0) if found else Verdict("fork", None)


def main(audit: Path, checkpoints: Path, trust: Path, notes: Path | None = None, key: Path | None = None) -> int:
    witness, bad = read_key(key.read_text(encoding="utf-8"), kind=4) if key else None, 0
    left = {p.stem for p in (*checkpoints.glob("*.ckpt"), *(trust / "origins").glob("*.pub"))}
    for name in sorted(left | {p.parent.name for p in audit.glob("*/*.jsonl")}):
        kept = tuple(p.read_bytes() for p in [notes / f"{name}.ckpt"] if p.exists()) if notes else ()
        verdict = verify_origin(audit, checkpoints, trust, name, kept, witness)
        bad |= verdict.kind != "ok"
        print(ascii(name), verdict.kind, "" if verdict.seq is None else verdict.seq)
    return bad


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:6])))
