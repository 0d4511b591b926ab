"""Impact over a log of a gateway that only observed: what would have been decided is what is compared."""

from __future__ import annotations

from pathlib import Path

from gateway import Principal
from gateway.policy.loader import load
from gateway.policy_tools.impact import impact
from gateway.policy_tools.recorded import RecordedCalls
from gateway.policy_tools.unused import unused
from tests.adversarial.observing import look_up, observing, pay
from tests.support import ANA, one, tool, write_policies

SMALL = {"id": "small", "require": "args.cents <= 100", "tell_model": "Too much.", "tell_people": "over 1.00"}


def test_what_would_have_been_denied_counts_as_denied(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay, rules=[SMALL])) as gateway:
        gateway.register(look_up)
        one(gateway.session(ANA), "pay", order_id="A-1", cents=500)
        one(gateway.session(ANA), "pay", order_id="A-2", cents=5)
        one(gateway.session(Principal("mallory")), "pay", order_id="A-3", cents=5)
        one(gateway.session(ANA), "look_up", order_id="A-4")
    relaxed = write_policies(tmp_path / "candidate", [tool(pay)], rows=["p, user:mallory, pay, call, allow"])
    (relaxed / "policy.csv").write_text((relaxed / "policy.csv").read_text() + "p, user:mallory, pay, see, allow\n")
    found = impact(load(relaxed), tmp_path / "home" / "audit")
    assert sorted((c.kind, c.call.question.principal) for c in found.changes) == [
        (("deny", "allow"), "ana"),
        (("deny", "allow"), "mallory"),
    ]
    assert (found.judged, found.same) == (4, 2)
    granted = write_policies(tmp_path / "granted", [tool(pay, rules=[SMALL]), tool(look_up)])
    found = impact(load(granted), tmp_path / "home" / "audit")
    assert found.changes == []
    assert list(found.undecidable.values()) == [1]  # `look_up` is granted now, and nobody knows with what it was called


def test_a_shape_alone_is_never_judged(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        one(gateway.session(ANA), "pay", order_id="A-1", cents="many")
    found = impact(load(tmp_path / "policies"), tmp_path / "home" / "audit")
    assert dict(found.undecidable) == {"only the shape of its arguments was recorded": 1}


def test_a_grant_that_nobody_had_is_not_used(tmp_path: Path) -> None:
    with observing(tmp_path, tool(pay)) as gateway:
        one(gateway.session(Principal("mallory")), "pay", order_id="A-1", cents=5)
    tools = unused(load(tmp_path / "policies"), RecordedCalls(tmp_path / "home" / "audit")).tools
    assert tools == ("pay",)
