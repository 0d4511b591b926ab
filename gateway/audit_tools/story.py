"""The whole story of one call, and the timeline of one conversation, put together from every origin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, final

from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.index import Found, Index
from gateway.audit_tools.query import Query

MOST: Final = 1_000  # records that one question brings together; what is beyond is said to be left out
_DEEPEST: Final = 16  # calls within calls; the gateway's own cap is far below
_FINDINGS: Final = ("happened", "did_not_happen", "cannot_tell")


@final
@dataclass(frozen=True, slots=True)
class Story:
    """One call. `own`: its records with request, votes and settlement; `children`: calls made inside or for it.

    A call that waited for people has two ids, before and after: both are here, under the one asked for.
    """

    call_id: str
    own: tuple[Found, ...]
    children: tuple[Story, ...]
    clipped: bool = False

    def everything(self) -> Iterable[Found]:
        yield from self.own
        for child in self.children:
            yield from child.everything()


def story_of(index: Index, asked: str, *, enrolled_only: bool = False) -> Story | None:
    """The call with this id, or the one that was requested under this request id. None if the log has no such thing.

    `enrolled_only`: what nobody's enrolled origin says is left out, so that it can crowd out nothing either.
    """
    story = _tell(index, asked, set(), 0, enrolled_only)
    return story if story.own else None


def call_at(index: Index, named: str) -> str:
    """The call or request that the record at `origin#seq` is about; `named` itself if it names no such place."""
    origin, mark, number = named.removeprefix("!").rpartition("#")
    if not mark or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        return named
    found = index.at(origin, int(number))
    facts = facts_of(found.record) if found is not None else None
    return (facts.call_id or facts.request_id or named) if facts is not None else named


def _tell(index: Index, asked: str, seen: set[str], depth: int, enrolled_only: bool) -> Story:
    records: dict[tuple[str, int], Found] = {}
    calls, requests = {asked}, {asked}
    todo = [Query(call_id=asked), Query(request_id=asked)]
    clipped = False
    while todo:
        found = index.newest(replace(todo.pop(), enrolled_only=enrolled_only), MOST)
        clipped |= len(found) == MOST
        for each in found:
            if len(records) >= MOST:
                clipped = True
                break
            records[each.origin, each.seq] = each
            facts = facts_of(each.record)
            if facts.call_id and facts.call_id not in calls:
                calls.add(facts.call_id)
                todo.append(Query(call_id=facts.call_id))
            if facts.request_id and facts.request_id not in requests:
                requests.add(facts.request_id)
                todo.append(Query(request_id=facts.request_id))
    seen |= calls
    children: list[Story] = []
    if depth < _DEEPEST and records:
        asks = [Query(parent_id=call, enrolled_only=enrolled_only) for call in sorted(calls)]
        inside = [each for query in asks for each in index.newest(query, MOST)]
        for child in dict.fromkeys(facts_of(each.record).call_id for each in in_time(inside)):
            if child and child not in seen and len(seen) < MOST:
                children.append(_tell(index, child, seen, depth + 1, enrolled_only))
    return Story(asked, tuple(in_time(records.values())), tuple(children), clipped)


def conversation(index: Index, name: str) -> tuple[list[Found], bool]:
    """Every record of a conversation, votes and settlements included; and whether older ones were left out."""
    found = {(each.origin, each.seq): each for each in index.newest(Query(conversation=name), MOST)}
    clipped = len(found) == MOST
    facts = [facts_of(each.record) for each in found.values()]
    calls = {each.call_id for each in facts}
    for request in sorted({each.request_id for each in facts} - {""}):
        found |= {(each.origin, each.seq): each for each in index.newest(Query(request_id=request), MOST)}
    for finding in _FINDINGS:
        for each in index.newest(Query(decision=finding), MOST):
            if facts_of(each.record).call_id in calls - {""}:
                found[each.origin, each.seq] = each
    return in_time(found.values()), clipped


def in_time(records: Iterable[Found]) -> list[Found]:
    """In the order of their times, as far as those can be believed; within an origin a tie goes by number."""

    def key(found: Found) -> tuple[str, str, int]:
        time = found.record.get("time") if found.record is not None else ""
        return (time if isinstance(time, str) else "", found.origin, found.seq)

    return sorted(records, key=key)
