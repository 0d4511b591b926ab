"""Times as typed, percentiles out of buckets, and following a log as it grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit_tools.moment import LATEST_US, moment, record_us
from gateway.audit_tools.tail import CutBack, Follower
from gateway.audit_tools.tallies import bucket_of, middle_of, percentile
from gateway.domain.errors import UsageError
from tests.unit.audit_tools.desk import Log, denied

NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z


@pytest.mark.parametrize(
    ("typed", "us"),
    [
        ("2h", NOW - 7_200_000_000),
        ("1w", NOW - 7 * 86_400_000_000),
        ("2027-01-15", NOW - 8 * 3_600_000_000),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T08:00", NOW),
        ("2027-01-15T09:00:00+01:00", NOW),
        ("999999w", 0),
        ("9999-12-31", LATEST_US),
        ("0001-01-01", 0),
    ],
)
def test_times_as_typed(typed: str, us: int) -> None:
    assert moment(typed, NOW) == us


@pytest.mark.parametrize("typed", ["", "yesterday", "2h2m", "-1h", "1e9h", "２h", "2027-13-01", "\x1b[2J"])
def test_what_is_no_time_is_refused_quietly(typed: str) -> None:
    with pytest.raises(UsageError, match="is no time") as raised:
        moment(typed, NOW)
    assert "\x1b" not in str(raised.value)


@given(st.integers(0, LATEST_US))
def test_a_records_time_is_read_as_it_was_written(us: int) -> None:
    from gateway.domain.instant import Instant

    assert record_us(Instant(us * 1000, 0, "").rfc3339(), {}) == us


@given(st.integers(0, 1 << 50))
def test_a_bucket_is_near_what_it_stands_for(us: int) -> None:
    assert abs(middle_of(bucket_of(us)) - us) <= us / 32


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([0.5, 0.99]))
def test_percentiles_are_those_of_the_values(values: list[int], share: float) -> None:
    buckets: dict[int, int] = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    exact = next(v for n, v in enumerate(sorted(values), 1) if n >= share * len(values))
    assert abs(percentile(buckets, share) - exact) <= exact / 31


def _follower(log: Log) -> Follower:
    with log.index() as index:
        return Follower(log.desk.audit, frozenset({"gw"}), index.reached())


def test_following_sees_each_new_record_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(denied("call_1"))
    follower = _follower(log)
    assert follower.fresh() == []
    log.write(denied("call_2"), denied("call_3"), every=1, rotate_bytes=1)
    log.put_stranger(log.stranger_says(denied("call_4")))
    assert [(each.origin, each.seq, each.enrolled) for each in follower.fresh()] == [
        ("stranger", 0, False),
        ("gw", 1, True),
        ("gw", 2, True),
    ]
    assert follower.fresh() == []
    log.write(denied("call_5"), every=1, rotate_bytes=1)
    assert [each.seq for each in follower.fresh()] == [3]


def test_following_waits_for_a_whole_line(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(denied("call_1"))
    follower = _follower(log)
    line = log.stranger_says(denied("call_2"), 1, "gw") + b"\n"
    with log.desk.segment.open("ab") as file:
        file.write(line[:40])
        file.flush()
        assert follower.fresh() == []
        file.write(line[40:])
    assert [each.seq for each in follower.fresh()] == [1]


def test_a_log_cut_under_the_reader_is_said(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(denied("call_1"), denied("call_2"))
    follower = _follower(log)
    log.desk.put(log.desk.lines()[:1])
    with pytest.raises(CutBack, match="run the command again"):
        follower.fresh()
