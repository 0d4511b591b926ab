"""C2SP signed notes: the published example of golang.org/x/mod/sumdb/note, and every way to be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.errors import NoteInvalid
from gateway.audit.note import Checkpoint, Signer, Verifier, open_checkpoint, open_note

NEUMANN = Verifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT + "\n\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
SIGNER = Signer("gw", bytes(32))
GOOD = SIGNER.sign(Checkpoint("gw", 7, bytes(32)).text())


def test_published_note_verifies() -> None:
    assert open_note(NOTE, [NEUMANN]) == TEXT
    assert str(NEUMANN) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_signatures_of_strangers_are_ignored_beside_a_trusted_one() -> None:
    stranger = Signer("other", b"\x01" * 32).sign(TEXT).rpartition(b"\n\n")[2]
    assert open_note(NOTE + stranger, [NEUMANN]) == TEXT
    with pytest.raises(NoteInvalid, match="enrolled"):
        open_note(NOTE, [SIGNER.verifier])


def test_checkpoint_round_trip() -> None:
    assert open_checkpoint(GOOD, SIGNER.verifier) == Checkpoint("gw", 7, bytes(32))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(at: int, flip: int) -> None:
    bad = bytearray(GOOD)
    bad[at] ^= flip
    with pytest.raises(NoteInvalid):
        open_checkpoint(bytes(bad), SIGNER.verifier)


@pytest.mark.parametrize(
    "text",
    ["gw\n7\n", "gw\n07\n" + "A" * 43 + "=\n", "gw\n-1\n" + "A" * 43 + "=\n", "gw\n7\nAAAA\n", "gw\n7\n!\n",
     "gw\n7\n" + "A" * 43 + "=\nmore\n", "gw\n\u0667\n" + "A" * 43 + "=\n", "gw\n\n" + "A" * 43 + "=\n",
     "other\n7\n" + "A" * 43 + "=\n"],
)  # fmt: skip
def test_signed_but_not_a_checkpoint_of_this_origin(text: str) -> None:
    with pytest.raises(NoteInvalid):
        open_checkpoint(SIGNER.sign(text), SIGNER.verifier)


@pytest.mark.parametrize(
    "raw", [b"", b"x" * 70_000, b"\xff", GOOD[:-1], TEXT.encode(), NOTE + b"\xe2\x80\x94 x AAAA\n"]
)
def test_malformed_notes(raw: bytes) -> None:
    with pytest.raises(NoteInvalid):
        open_note(raw, [NEUMANN, SIGNER.verifier])


@pytest.mark.parametrize(
    "vkey", ["", "a+b", "gw+00000000+" + "A" * 44, str(SIGNER.verifier).replace("gw", "gx"), "gw+zz+!"]
)
def test_bad_verifier_keys(vkey: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier.parse(vkey)
