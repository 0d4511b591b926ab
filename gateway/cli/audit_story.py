"""How a call's story and the log's figures look in a terminal of 80 columns. Everything here is safe to print (I9)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from gateway.audit_tools.facts import facts_of
from gateway.audit_tools.figures import Figures
from gateway.audit_tools.index import Found
from gateway.audit_tools.plain import parts_of, shown
from gateway.audit_tools.story import Story
from gateway.cli.present import WIDTH, styled

_BAR = 24
_MOST_ROWS = 12
_HOURS = 48  # columns of the chart of hours


def story_lines(story: Story) -> Iterator[str]:
    """Head, records in order with what each adds, children indented."""
    yield from _head(story)
    for found in story.own:
        yield from _record(found)
    if story.clipped:
        yield "  ... more records than are shown here: see `toolgate audit search`"
    for child in story.children:
        yield ""
        yield f"  {styled('inside it, or for it as a fallback:', 'bold')}"
        yield from (f"  {line}" for line in story_lines(child))


def _head(story: Story) -> Iterator[str]:
    facts = next((f for f in (facts_of(each.record) for each in story.own) if f.tool), None)
    yield styled(f"{shown(story.call_id, 60)}  {shown(facts.tool, 60) if facts else ''}".rstrip(), "bold")
    if facts is not None:
        behalf = f" for {shown(facts.on_behalf_of, 60)}" if facts.on_behalf_of else ""
        yield from _wrapped(
            f"asked by {shown(facts.principal, 60)}{behalf} in conversation {shown(facts.conversation, 60)}"
        )
    policies = {p for each in story.own if (p := _call(each.record).get("policy_digest"))}
    for digest in sorted(map(str, policies)):
        yield f"  under policy {shown(digest[:26], 30)}..."


def _record(found: Found) -> Iterator[str]:
    time, place, kind, text = parts_of(found)
    style = {"call.denied": "bad", "call.outcome": "good"}.get(kind, "dim")
    if len(place) + len(text) + 36 > WIDTH:
        yield f"{time}  {place}  {styled(kind, style)}"
        yield from _wrapped(text, 14)
    else:
        yield f"{time}  {place:16}  {styled(kind.ljust(18), style)}  {text}".rstrip()
    record = found.record or {}
    for name, value in _details(record):
        yield from _wrapped(f"{name}: {value}", 6)
    if isinstance(record.get("steps_us"), dict):
        yield from _steps(record["steps_us"])


def _details(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    names = {
        "call.intent": ("arguments", "facts", "grant", "sandbox", "contract_digest"),
        "call.outcome": ("detail", "preview", "result_bytes", "evidence"),
        "call.denied": ("detail", "arguments", "facts", "asked"),
        "approval.requested": ("request_id", "arguments", "facts", "expires"),
        "approval.voted": ("voter", "comment", "key_id"),
        "call.settled": ("by", "why"),
    }.get(str(record.get("kind")), ())
    for name in names:
        if record.get(name) not in (None, "", {}, []):
            yield name.replace("_", " "), shown(record[name])
    observed = record.get("observed")
    if isinstance(observed, dict) and observed.get("decision") == "deny":
        said = [observed.get(name) for name in ("reason", "rule", "detail")]
        yield "would have been denied", ", ".join(shown(each, 160) for each in said if each)
    if isinstance(observed, dict):
        record = record | {"obligations": observed.get("obligations")}
    for why in _dicts(record.get("obligations")):
        yield "needs", f"{shown(why.get('kind'), 20)}: {shown(why.get('why'), 160)} {shown(why.get('rule') or '', 80)}"
    for proof in _dicts(record.get("proofs")):
        dev = ", a --dev key" if proof.get("dev_key") else ""
        yield "rests on", f"{shown(proof.get('verdict'), 20)} by {shown(proof.get('voter'), 60)}{dev}"
    if record.get("dev_key") is True:
        yield "note", "made with a --dev key"


def _steps(steps: dict[str, Any]) -> Iterator[str]:
    times = [(name, us) for name, us in steps.items() if type(us) is int and us >= 0]
    longest = max((us for _, us in times), default=0)
    for name, us in times:
        yield f"      {shown(name, 12):12} {_ms(us)} ms  {_bar(us, longest)}".rstrip()


def figure_lines(found: Figures) -> Iterator[str]:
    """Plain charts."""
    yield f"{found.calls} calls: {found.intents} ran, {found.denials.total() + found.coalesced} denied"
    if found.by_hour:
        yield from _hours(found)
    yield from _chart("outcomes", found.outcomes.most_common())
    denials = found.denials.most_common()
    if found.coalesced:
        denials.append(("(no record of their own)", found.coalesced))
    yield from _chart("denials by reason", denials)
    if found.would_deny or found.would_park:
        counts = f"{found.would_deny.total()} denied, {found.would_park} waiting for a person"
        yield f"only observed, so they ran; otherwise: {counts}"
    yield from _chart("would have been denied, by reason", found.would_deny.most_common())
    yield from _chart("the shadow policy would have decided otherwise", found.shadow.most_common())
    yield from _chart("approvals", found.approvals.most_common())
    yield from _chart("settled", found.settled.most_common())
    yield from _chart("tools", found.tools.most_common())
    if found.steps:
        yield styled(f"{'step':24} {'count':>9}   {'p50 ms':>9}   {'p99 ms':>9}", "bold")
        for step, (n, p50, p99) in found.steps.items():
            yield f"  {shown(step, 22)[:22]:22} {n:>9}   {_ms(p50)}   {_ms(p99)}"
    yield f"{found.records} records"
    if found.misfits:
        yield f"{found.misfits} of these lines are no records at all: run `toolgate audit verify`"
    if found.untrusted:
        yield f"{found.untrusted} records of origins that nobody enrolled are left out: they prove nothing"


def _hours(found: Figures) -> Iterator[str]:
    hours = sorted(found.by_hour)
    last = hours[-1]
    first = max(hours[0], last - _HOURS + 1)
    counts = [found.by_hour.get(hour, 0) for hour in range(first, last + 1)]
    most = max(counts)
    levels = " .:-=+*#%@"
    line = "".join(levels[-(-n * (len(levels) - 1) // most)] if n else " " for n in counts)
    yield f"by hour   |{line}|  at most {most}"
    yield f"          from {_hour(first)} to {_hour(last)} UTC"


def _hour(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%d %H}h"


def _chart(title: str, rows: list[tuple[str, int]]) -> Iterator[str]:
    if not rows:
        return
    yield styled(title, "bold")
    most = max(n for _, n in rows)
    for name, n in rows[:_MOST_ROWS]:
        yield f"  {shown(name, 60)[:30]:30} {n:>10}  {_bar(n, most)}".rstrip()
    if len(rows) > _MOST_ROWS:
        yield f"  {len(rows) - _MOST_ROWS} more, {sum(n for _, n in rows[_MOST_ROWS:])} in all"


def _bar(value: int, most: int) -> str:
    return "#" * max(1, value * _BAR // most) if value and most else ""


def _ms(us: int) -> str:
    return f"{us / 1000:9.3f}" if us < 10**8 else f"{us / 1000:9.0f}"


def _wrapped(text: str, indent: int = 2) -> Iterator[str]:
    pad = " " * indent
    yield from textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad + "  ", break_on_hyphens=False)


def _call(record: dict[str, Any] | None) -> dict[str, Any]:
    call = record.get("call") if record is not None else None
    return call if isinstance(call, dict) else {}


def _dicts(value: object) -> Iterable[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)][:_MOST_ROWS] if isinstance(value, list) else []
