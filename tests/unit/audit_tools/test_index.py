"""The derived index: what it finds, and that it is built anew whenever it does not fit the log."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.files import OsFiles
from gateway.audit.origin import load_keyrings, load_signer
from gateway.audit.retention import retire
from gateway.audit_tools import batches, fill, index
from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.index import Found, Index, IndexUnavailable
from gateway.audit_tools.query import Query
from tests.unit.audit_tools.desk import Log, denied, intent, outcome, requested, settled, voted


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def places(found: list[Found]) -> list[tuple[str, int]]:
    return [(each.origin, each.seq) for each in found]


def seqs(log: Log, query: Query, limit: int = 100) -> list[int]:
    with log.index() as found:
        return [each.seq for each in found.newest(query, limit)]


def test_each_condition_finds_its_records(log: Log) -> None:
    log.write(
        intent("call_a", principal="ana", on_behalf_of="dana"),
        outcome("call_a", 0, preview="the parcel is late"),
        denied("call_b", "guard", "outside the folder", principal="eve", tool="read_file", conversation="other"),
        requested("call_c", "req_9"),
        voted("req_9", comment="go on"),
        settled("call_a"),
    )
    for query, wanted in (
        (Query(principal="eve"), [2]),
        (Query(principal="dana"), [0]),
        (Query(principal="carol"), [5]),
        (Query(tool="read_file"), [2]),
        (Query(decision="denied"), [2]),
        (Query(decision="released"), [1]),
        (Query(decision="approve"), [4]),
        (Query(reason="guard"), [2]),
        (Query(conversation="other"), [2]),
        (Query(call_id="call_a"), [0, 1, 5]),
        (Query(request_id="req_9"), [3, 4]),
        (Query(text="parcel LATE"), [1]),
        (Query(text="A-1003"), [0, 3]),
        (Query(text="1003-A"), []),
        (Query(text="parcel", tool="read_file"), []),
        (Query(), [0, 1, 2, 3, 4, 5]),
    ):
        assert seqs(log, query) == wanted, query


def test_the_newest_are_given_in_order_and_no_more_than_asked_for(log: Log) -> None:
    log.write(*(denied(f"call_{n}") for n in range(30)))
    assert seqs(log, Query(), 4) == [26, 27, 28, 29]
    assert seqs(log, Query(reason="rule"), 4) == [26, 27, 28, 29]


def test_times_bound_a_search_exactly(log: Log) -> None:
    begin = log.desk.clock.wall_ns() // 1000
    log.write(*(denied(f"call_{n}") for n in range(5)), tick=1)
    second = 1_000_000
    assert seqs(log, Query(since=begin + second, until=begin + 3 * second)) == [1, 2, 3]
    assert seqs(log, Query(since=begin + second + 1, until=begin + 3 * second - 1, reason="rule")) == [2]


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bob", "O'Hara", 'x" OR "y', "ana*"]),
        st.sampled_from(["refund", "read", "re fund", "NEAR"]),
        st.sampled_from(["rule", "guard"]),
        st.integers(-3, 3),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(
    first=_EVENTS,
    then=_EVENTS,
    principal=st.sampled_from([None, "ana", "O'Hara", 'x" OR "y', "ana*", "a"]),
    tool=st.sampled_from([None, "refund", "re fund", "NEAR", "*"]),
    reason=st.sampled_from([None, "rule", "guard"]),
)
def test_it_finds_what_reading_everything_finds(
    tmp_path_factory: pytest.TempPathFactory, first: object, then: object, principal: str, tool: str, reason: str
) -> None:
    """Whatever is typed, wherever the clock was set, in one go or after catching up."""
    log = Log(tmp_path_factory.mktemp("log"))
    query = Query(principal=principal, tool=tool, reason=reason)
    for part in (first, then):
        for number, (who, what, why, jump) in enumerate(part):  # type: ignore[arg-type, var-annotated]
            log.write(denied(f"call_{number}", why, principal=who, tool=what), tick=0)
            log.desk.clock.set_wall(jump)
        lines = log.desk.records() if log.desk.segment.exists() else []
        wanted = sorted(int(str(line["seq"])) for line in lines if query.fits(facts_of(line)))
        with log.index() as found:
            assert sorted(each.seq for each in found.newest(query, 1000)) == wanted
            times = [str((each.record or {})["time"]) for each in found.newest(query, 1000)]
            assert times == sorted(times)
            assert sorted(each.seq for each in found.each(query)) == wanted


@pytest.mark.parametrize(
    "typed",
    ['"', '""', "a AND", "OR", "NOT x", "NEAR(a b)", "words : refund", "fields:x", "^a", "a*", "(", ")", "-", "+a",
     "{a}", "'; DROP TABLE records; --", "\x00", "a\x00b", "\ud800", "%", "🔥", "ﬁ", "a\u202eb"],
)  # fmt: skip
def test_what_is_typed_is_never_syntax(log: Log, typed: str) -> None:
    log.write(denied("call_1", "rule", "refund words a b x"))
    for query in (
        Query(text=typed),
        Query(principal=typed),
        Query(tool=typed),
        Query(reason=typed),
        Query(conversation=typed),
        Query(call_id=typed),
        Query(request_id=typed, text=typed),
    ):
        seqs(log, query)
    assert seqs(log, Query(text="refund")) == [0]


def test_every_word_of_a_quoted_text_must_occur(log: Log) -> None:
    log.write(denied("call_1", detail='she said "no" twice'), denied("call_2", detail="no"))
    assert seqs(log, Query(text='"no" twice')) == [0]
    assert seqs(log, Query(text="no OR twice")) == []


# catching up


def test_it_catches_up_and_takes_nothing_twice(log: Log) -> None:
    log.write(denied("call_1"))
    assert seqs(log, Query()) == [0]
    log.write(denied("call_2"), intent("call_3"))
    assert seqs(log, Query()) == [0, 1, 2]
    assert seqs(log, Query()) == [0, 1, 2]
    with log.index() as found:
        assert sum(n for _, _, what, _, n in found.counts() if what == "kind") == 3


def test_an_unfinished_line_is_left_for_later(log: Log) -> None:
    log.write(denied("call_1"))
    whole = log.desk.segment.read_bytes()
    line = log.stranger_says(denied("call_2"), 1, "gw")
    log.desk.segment.write_bytes(whole + line[:50])
    assert seqs(log, Query()) == [0]
    log.desk.segment.write_bytes(whole + line + b"\n")
    assert seqs(log, Query(call_id="call_2")) == [1]


def test_segments_are_read_through(log: Log) -> None:
    for number in range(6):
        log.write(denied(f"call_{number}"), every=1, rotate_bytes=1)
    assert len(log.desk.place.segments()) > 1
    assert seqs(log, Query()) == list(range(6))
    log.write(denied("call_6"), every=1, rotate_bytes=1)
    assert seqs(log, Query()) == list(range(7))


def test_batches_are_joined(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_RECORDS", 3)
    monkeypatch.setattr(index, "_PAGE", 2)
    log.write(*(denied(f"call_{n}", principal="ana" if n % 2 else "bob") for n in range(11)), tick=0)
    assert seqs(log, Query(), 5) == [6, 7, 8, 9, 10]
    assert seqs(log, Query(principal="ana")) == [1, 3, 5, 7, 9]


# what is wrong with it is put right


def _delete(path: Path) -> None:
    path.unlink()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 500)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_delete, id="deleted"),
        pytest.param(_garbage, id="garbage"),
        pytest.param(_cut, id="cut"),
        pytest.param(_sql("DROP TABLE records"), id="table dropped"),
        pytest.param(_sql("DROP TABLE search"), id="search dropped"),
        pytest.param(_sql("ALTER TABLE records DROP COLUMN mark"), id="column dropped"),
        pytest.param(_sql("PRAGMA user_version = 99"), id="another version"),
        pytest.param(_sql("UPDATE records SET offset = offset + 7"), id="offsets moved"),
        pytest.param(_sql("UPDATE records SET offset = -9"), id="offsets negative"),
        pytest.param(_sql("UPDATE records SET offset = 1 << 62, length = 1 << 62"), id="offsets absurd"),
        pytest.param(_sql("UPDATE records SET segment = 77"), id="segment not there"),
        pytest.param(_sql("UPDATE records SET origin = 5"), id="origin not there"),
        pytest.param(_sql("UPDATE origins SET name = '../../etc'"), id="path outside"),
        pytest.param(_sql("UPDATE origins SET mark = 1"), id="last line not the one"),
        pytest.param(_sql("UPDATE origins SET offset = 3"), id="cursor moved"),
        pytest.param(_sql("UPDATE records SET offset = 'x'"), id="words for numbers"),
    ],
)
def test_a_spoilt_index_is_built_anew(log: Log, spoil: Callable[[Path], None]) -> None:
    log.write(denied("call_1"), denied("call_2", "guard"))
    log.index().close()
    spoil(log.state / index.FILE)
    assert seqs(log, Query()) == [0, 1]
    assert seqs(log, Query(reason="guard")) == [1]


def test_a_poisoned_index_cannot_invent_an_answer(log: Log) -> None:
    log.write(denied("call_1", principal="ana"), denied("call_2", principal="eve"))
    log.index().close()
    _sql(
        "UPDATE records SET (seq, segment, offset, length, mark) = "
        "(SELECT seq, segment, offset, length, mark FROM records ORDER BY id LIMIT 1)"
    )(log.state / index.FILE)
    assert seqs(log, Query(principal="eve")) == []  # withheld, but ana's record is not handed out as eve's


def test_a_log_that_was_cut_or_replaced_is_indexed_anew(log: Log) -> None:
    log.write(denied("call_1"), denied("call_2"), denied("call_3"))
    log.index().close()
    log.desk.put(log.desk.lines()[:2])
    assert seqs(log, Query()) == [0, 1]
    log.put_stranger(log.stranger_says(denied("call_9")))
    assert len(seqs(log, Query())) == 3
    shutil.rmtree(log.desk.audit / "stranger")
    assert seqs(log, Query()) == [0, 1]


def test_an_edited_record_is_shown_as_it_stands(log: Log) -> None:
    log.write(denied("call_1", "rule"), denied("call_2", "rule"))
    log.index().close()
    log.desk.put([log.desk.lines()[0].replace(b'"reason":"rule"', b'"reason":"fool"'), log.desk.lines()[1]])
    assert seqs(log, Query(reason="rule")) == [1]
    assert seqs(log, Query(reason="fool")) == [0]


def test_what_was_retired_leaves_the_index(log: Log) -> None:
    for number in range(4):
        log.write(denied(f"call_{number}", detail=f"word{number}"), every=1, rotate_bytes=1)
    assert seqs(log, Query()) == [0, 1, 2, 3]
    desk = log.desk
    keys = load_keyrings(desk.trust)[desk.origin]
    first = desk.place.segments()[2].name
    retire(desk.place, keys, load_signer(desk.origin, desk.keys, desk.trust), OsFiles(), first, "2027-01-15T08:00:00Z")
    kept = seqs(log, Query())
    assert kept == [2, 3]
    assert b"word0" not in (log.state / index.FILE).read_bytes()


def test_a_folder_that_cannot_be_written_gets_an_index_for_once(log: Log, tmp_path: Path) -> None:
    log.write(denied("call_1"))
    with log.index(tmp_path / "nowhere") as found:
        assert found.temporary
        assert places(found.newest(Query(), 9)) == [("gw", 0)]
        path = found.path
    assert not path.parent.exists()


def test_a_closed_index_says_so(log: Log) -> None:
    found = log.index()
    found.close()
    with pytest.raises(IndexUnavailable, match="closed"):
        found.newest(Query(), 1)


def test_a_link_in_the_place_of_the_index_is_not_followed(log: Log, tmp_path: Path) -> None:
    log.write(denied("call_1"))
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (log.state / index.FILE).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        log.index()
    assert victim.read_bytes() == b"precious"


# what strangers write


def test_records_of_a_stranger_are_found_and_marked(log: Log) -> None:
    log.write(denied("call_1"))
    log.put_stranger(log.stranger_says(denied("call_2")))
    with log.index() as found:
        assert {(each.origin, each.enrolled) for each in found.newest(Query(), 9)} == {
            ("gw", True),
            ("stranger", False),
        }


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[]",
        b"\xff\xfe",
        b'{"kind":["a"],"call":7,"time":3,"reason":{"a":1}}',
        b'{"call":{"call_id":{"x":[1]},"principal":12,"tool":true},"kind":"call.denied","steps_us":[1]}',
        b'{"kind":"call.outcome","steps_us":{"a":-1,"b":1e99,"c":true,"d":99999999999999999999999}}',
        b'{"kind":"call.denied","reason":"\\ud800","coalesced":1e300}',
        b'{"kind":"call.denied","detail":"\\ud83d","call":{"principal":"\\udfff"}}',
        b'{"time":"9999-12-31T23:59:59.999999Z","kind":"x"}',
        b'{"time":"0000-00-00T00:00:00.000000Z","kind":"x"}',
        b'{"kind":"' + b"k" * 100_000 + b'"}',
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"a":' + b"9" * 4_200 + b"}",
        b'{"kind":"call.intent","arguments":{"a":' + b"9" * 4_200 + b"}}",
    ],
)
def test_whatever_a_line_holds_it_is_taken_in(log: Log, line: bytes) -> None:
    log.write(denied("call_1"))
    log.put_stranger(line, line)
    with log.index() as found:
        assert sorted(places(found.newest(Query(), 9))) == [("gw", 0), ("stranger", 0), ("stranger", 1)]


def test_many_records_of_one_microsecond_do_not_collide(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "SLOT_BITS", 1)
    monkeypatch.setattr(index, "SLOT_BITS", 1)
    monkeypatch.setattr(batches, "BATCH_RECORDS", 7)
    log.write(*(denied(f"call_{n}") for n in range(20)), tick=0)
    log.put_stranger(*(log.stranger_says(denied(f"call_{n}"), n) for n in range(20)))
    with log.index() as found:
        assert len(found.newest(Query(), 100)) == 40
        assert len(found.newest(Query(reason="rule"), 100)) == 40


def test_a_huge_value_is_indexed_as_far_as_its_bound(log: Log) -> None:
    log.write(denied("call_1", detail="first " + "x " * 400_000 + "last"))
    assert seqs(log, Query(text="first")) == [0]
    assert seqs(log, Query(text="last")) == []
    assert (log.state / index.FILE).stat().st_size < 1 << 20


def test_the_index_is_its_owners_alone(log: Log) -> None:
    log.write(denied("call_1"))
    log.index().close()
    assert all(path.stat().st_mode & 0o077 == 0 for path in log.state.iterdir())


def test_a_full_disk_is_said_and_not_mistaken_for_damage(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write(denied("call_1"))

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(index, "fill", full)
    with pytest.raises(IndexUnavailable, match="full"):
        Index.open(log.state, log.desk.audit, frozenset())
