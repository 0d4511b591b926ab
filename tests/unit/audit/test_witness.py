"""C115, C116: a second place that remembers. One behaviour suite for the folder and for the HTTP witness."""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.audit.cosignature import Cosigner, WitnessKey
from gateway.audit.damage import Kind
from gateway.audit.errors import (
    LogDamaged,
    NoteInvalid,
    NotRecorded,
    WitnessConflict,
    WitnessRefused,
    WitnessUnavailable,
)
from gateway.audit.keeper import Witnessing
from gateway.audit.log import AuditLog
from gateway.audit.note import Checkpoint, Signer
from gateway.audit.origin import load_keyrings, load_signer
from gateway.audit.proofs import consistency_proof
from gateway.audit.tree import EMPTY_ROOT, leaf_hash, root_of
from gateway.audit.verify import Pin, verify
from gateway.audit.witness import Book, HttpWitness, Witness, request_body
from gateway.audit.witness_server import serve
from tests.conformance.verify_log import verify_origin
from tests.fakes.audit_desk import Desk, body, repaired

COSIGNER = Cosigner("second.example/w", b"\x05" * 32)


@dataclass
class World:
    desk: Desk
    witness: Witness
    keys: tuple[WitnessKey, ...]
    server: ThreadingHTTPServer | None
    folder: Path

    def open(self, *, required: bool = False, every: int = 4, witness: Witness | None = None) -> AuditLog:
        desk = self.desk
        return desk.open(
            every=every,
            witnessing=Witnessing(witness or self.witness, keys=self.keys, required=required, close_s=20),
        )

    def fill(self, count: int) -> None:
        with self.open() as log:
            for number in range(count):
                log.append(body(n=number))

    def verdict(self) -> list[Kind]:
        desk = self.desk
        note = self.witness.latest("gw")
        pins = {"gw": [Pin(note, "w")]} if note else {}
        report = verify(desk.audit, desk.checkpoints, load_keyrings(desk.trust), pins=pins).origins[0]
        theirs = verify_origin(desk.audit, desk.checkpoints, desk.trust, "gw", (note,) if note else ())
        assert theirs.kind == (report.damage[0].kind.value if report.damage else "ok")
        return [damage.kind for damage in report.damage]


@pytest.fixture(params=["folder", "http"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    desk = Desk(tmp_path / "log")
    kept = tmp_path / "other volume"
    kept.mkdir()

    def keyrings() -> dict[str, object]:
        return load_keyrings(desk.trust)  # type: ignore[return-value]

    if request.param == "folder":
        yield World(desk, Book(kept, keyrings), (), None, kept)  # type: ignore[arg-type]
        return
    server = serve(("127.0.0.1", 0), kept, keyrings, COSIGNER, now=lambda: 1_800_000_000)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield World(desk, HttpWitness(f"http://127.0.0.1:{server.server_port}", 20), (COSIGNER.key,), server, kept)
    server.shutdown()
    server.server_close()
    thread.join()


def _snapshot(desk: Desk) -> Path:
    kept = desk.audit.parent.with_name("snapshot")
    for folder in (desk.audit, desk.checkpoints):
        shutil.copytree(folder, kept / folder.name)
    return kept


def _restore(desk: Desk, kept: Path) -> None:
    for folder in (desk.audit, desk.checkpoints):
        shutil.rmtree(folder)
        shutil.copytree(kept / folder.name, folder)


def test_every_checkpoint_reaches_the_witness(world: World) -> None:
    world.fill(10)
    note = world.witness.latest("gw")
    assert note is not None
    assert load_keyrings(world.desk.trust)["gw"].checkpoint(note).size == 10
    assert world.witness.origins() == ["gw"]
    assert world.verdict() == []
    world.fill(3)
    assert world.verdict() == []
    if world.keys:
        kept = world.desk.place.witnessed.read_bytes()
        assert kept == world.witness.latest("gw")
        assert world.keys[0].time(kept) == 1_800_000_000


def test_c115_log_and_checkpoint_rolled_back_together(world: World) -> None:
    world.fill(6)
    kept = _snapshot(world.desk)
    world.fill(6)
    _restore(world.desk, kept)
    assert world.desk.report().ok, "nothing on this machine shows it"
    assert world.verdict() == [Kind.ROLLED_BACK]
    with pytest.raises(LogDamaged, match="has seen 12 records, 6 are signed here"):
        world.open()
    world.desk.open().close()


def test_c116_rolled_back_and_continued_is_a_fork(world: World) -> None:
    world.fill(6)
    kept = _snapshot(world.desk)
    world.fill(6)
    _restore(world.desk, kept)
    with world.desk.open() as log:  # a thief who holds the key writes on without the witness
        for number in range(6):
            log.append(body(n=number, other=True))
    assert world.desk.report().ok
    assert world.verdict() == [Kind.FORK]
    with pytest.raises(LogDamaged, match="another history of 12 records"):
        world.open()


def test_c115_everything_deleted(world: World) -> None:
    world.fill(6)
    shutil.rmtree(world.desk.audit)
    shutil.rmtree(world.desk.checkpoints)
    assert world.verdict() == [Kind.ROLLED_BACK]
    with pytest.raises(LogDamaged):
        world.open()


def test_a_longer_fork_is_refused_while_running_and_stops_the_log(world: World) -> None:
    world.fill(6)
    kept = _snapshot(world.desk)
    world.fill(6)
    _restore(world.desk, kept)
    with world.desk.open() as log:
        for number in range(9):
            log.append(body(n=number, other=True))
    with world.open() as log:  # behind by proof, not by size: refused, and loudly so
        assert any("refuses" in concern for concern in log.concerns)
    with world.open(required=True) as log, pytest.raises(NotRecorded, match="refuses"):
        log.append(body())


class Unreachable:
    """A witness behind a broken line, until it is mended."""

    name = "w"

    def __init__(self, real: Witness) -> None:
        self.real, self.broken = real, True
        self.asked = threading.Event()
        self.taken = threading.Event()

    def add(self, old_size: int, proof: list[bytes], note: bytes) -> bytes:
        self.asked.set()
        if self.broken:
            raise WitnessUnavailable("w", "no route")
        lines = self.real.add(old_size, proof, note)
        self.taken.set()
        return lines

    def latest(self, origin: str) -> bytes | None:
        return self.real.latest(origin)

    def origins(self) -> list[str]:
        return self.real.origins()


def test_a_silent_witness_is_loud_and_denies_only_where_required(world: World) -> None:
    line = Unreachable(world.witness)
    with world.open(witness=line) as log:  # type: ignore[arg-type]
        log.append(body())
        assert any("no route" in concern for concern in log.concerns)
    with world.open(required=True, witness=line) as log:  # type: ignore[arg-type]
        with pytest.raises(NotRecorded, match="no route"):
            log.append(body())
        promise = log.reserve(100)
        with pytest.raises(NotRecorded, match="no route"):
            log.append(body())
        assert log.append(body(), promise).seq == 1
        line.broken = False
        log.checkpoint()  # a checkpoint wakes the keeper, which asks again
        assert line.taken.wait(30)
    assert world.verdict() == []
    with world.open(required=True) as log:
        log.append(body())
        assert log.concerns == ()


def test_witness_that_lost_its_book_is_told_again_from_the_start(world: World) -> None:
    world.fill(9)
    for path in world.folder.glob("*.ckpt"):
        path.unlink()
    world.fill(3)
    assert world.verdict() == []
    note = world.witness.latest("gw")
    assert note is not None
    assert load_keyrings(world.desk.trust)["gw"].checkpoint(note).size == 12


def _note(signer: Signer, size: int, *, other: bool = False) -> tuple[bytes, list[bytes]]:
    leaves = [leaf_hash(b"%d%d" % (n, other)) for n in range(size)]
    return signer.sign(Checkpoint("gw", size, root_of(leaves)).text()), leaves


def test_what_a_witness_refuses(world: World) -> None:
    signer = load_signer("gw", world.desk.keys, world.desk.trust)
    add = world.witness.add
    first, _ = _note(signer, 3)
    add(0, [], first)
    add(3, [], first)
    longer, leaves = _note(signer, 7)
    with pytest.raises(WitnessConflict) as conflict:
        add(2, consistency_proof(leaves, 2), longer)
    assert conflict.value.size == 3
    with pytest.raises(WitnessConflict):
        add(3, [], _note(signer, 3, other=True)[0])
    forked, others = _note(signer, 7, other=True)
    bad = [
        (3, consistency_proof(others, 3), forked, 422),
        (3, consistency_proof(leaves, 3)[1:], longer, 422),
        (8, [], longer, 400),
        (0, [bytes(32)], longer, 400),
        (3, [], longer.replace(b"gw\n7", b"gw\n8"), 403),
        (3, [], Signer("gw", b"\x09" * 32).sign(Checkpoint("gw", 9, bytes(32)).text()), 403),
        (3, [], Signer("xx", b"\x09" * 32).sign(Checkpoint("xx", 9, bytes(32)).text()), 404),
        (3, [], Signer("../x", b"\x09" * 32).sign(Checkpoint("../x", 9, bytes(32)).text()), 404),
    ]
    for old, proof, note, status in bad:
        with pytest.raises(WitnessRefused) as refused:
            add(old, proof, note)
        assert refused.value.status == status
    kept = world.witness.latest("gw")
    assert kept is not None
    assert kept.startswith(first)
    add(3, consistency_proof(leaves, 3), longer)
    with pytest.raises(WitnessConflict):
        add(3, [], first)


def test_unmounted_folder_is_not_a_witness_that_saw_nothing(tmp_path: Path) -> None:
    book = Book(tmp_path / "gone", dict)
    for ask in (lambda: book.latest("gw"), book.origins):
        with pytest.raises(WitnessUnavailable):
            ask()
    desk = Desk(tmp_path / "log")
    note, _ = _note(load_signer("gw", desk.keys, desk.trust), 3)
    with pytest.raises(WitnessUnavailable):
        Book(tmp_path / "gone", lambda: load_keyrings(desk.trust)).add(0, [], note)


def test_server_speaks_tlog_witness(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "log")
    server = serve(("127.0.0.1", 0), tmp_path / "w", lambda: load_keyrings(desk.trust), COSIGNER, now=lambda: 7)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def ask(method: str, path: str, sent: bytes = b"") -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request(method, path, sent)
        answer = connection.getresponse()
        said = answer.status, answer.headers["Content-Type"], answer.read()
        connection.close()
        return said

    try:
        note, _ = _note(load_signer("gw", desk.keys, desk.trust), 3)
        status, _, lines = ask("POST", "/add-checkpoint", request_body(0, [], note))
        assert status == 200
        assert lines.startswith(f"\u2014 {COSIGNER.key.name} ".encode())
        assert COSIGNER.key.time(note + lines) == 7
        assert ask("POST", "/add-checkpoint", request_body(1, [], note))[:3] == (409, "text/x.tlog.size", b"3\n")
        for hostile in (b"", b"old\n\n", b"old -1\n\n" + note, b"old 0\nAAAA\n\n" + note, b"\xff" * 100,
                        b"old 3\n" + b"A" * 43 + b"=\n" * 70 + b"\n" + note):  # fmt: skip
            assert ask("POST", "/add-checkpoint", hostile)[0] in (400, 403, 404)
        assert ask("POST", "/other")[0] == 404
        assert ask("POST", "/add-checkpoint", b"x" * 80_000)[0] == 413
        assert ask("GET", "/checkpoint/gw")[2] == note + lines
        assert ask("GET", "/checkpoint/..%2f..%2fetc")[0] == 404
        assert ask("GET", "/checkpoints")[2] == b"gw\n"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_cosignature_of_somebody_else_does_not_count(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    note = load_signer("gw", desk.keys, desk.trust).sign(Checkpoint("gw", 0, EMPTY_ROOT).text())
    text = Checkpoint("gw", 0, EMPTY_ROOT).text()
    good = note + COSIGNER.line(text, 9)
    assert COSIGNER.key.time(good) == 9
    assert load_keyrings(desk.trust)["gw"].checkpoint(good).size == 0
    imposter = Cosigner(COSIGNER.key.name, b"\x06" * 32)
    for bad in (
        note,
        note + imposter.line(text, 9),
        note + COSIGNER.line(text + "x\n", 9),
        good[:-20] + b"AAAA" + good[-16:],
    ):
        with pytest.raises(NoteInvalid):
            COSIGNER.key.time(bad)
    assert WitnessKey.parse(str(COSIGNER.key)) == COSIGNER.key
    for vkey in (
        "",
        "a+b+c",
        str(COSIGNER.key).replace("second", "third"),
        str(load_signer("gw", desk.keys, desk.trust).verifier),
    ):
        with pytest.raises(NoteInvalid):
            WitnessKey.parse(vkey)


def test_a_record_waits_no_longer_than_the_period_for_its_signature(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    signed = threading.Event()
    with AuditLog(
        desk.audit, desk.checkpoints, load_signer("gw", desk.keys, desk.trust), desk.clock, report=repaired,
        cadence=desk.cadence(seconds=0.01),
    ) as log:  # fmt: skip
        log._store.told = signed.set
        log.append(body())
        assert signed.wait(30)
        assert desk.report().uncovered == 0
