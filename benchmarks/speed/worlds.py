"""Gateways to measure: the same refund tool, `inline`, under policies that differ in one thing each.

The log is kept in memory, so what is timed is Toolgate and not the disk; `durable` is the one with the log on disk.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rivals.workload import MAX_CENTS, PARAMETERS, PRINCIPAL, ROLE, TOOL, calls, initiate_refund
from gateway import Gateway, Principal, Released, Session, ToolCall
from gateway.audit.memory import MemoryLog
from gateway.clock import SystemClock
from gateway.policy.documents import Contract
from gateway.policy.generate import dump_contract_yaml

SHIPPED = Path(__file__).resolve().parents[2] / "policies"
ENOUGH = 1_000_000_000  # limits of the loop that a benchmark never reaches; they are counted all the same
TEXTS = calls(500)
CALLS = [ToolCall(id=f"call_{number}", name=TOOL, arguments=text) for number, text in enumerate(TEXTS)]

RULE: dict[str, object] = {
    "id": "not-too-much",
    "require": f"args.amount_cents <= {MAX_CENTS}",
    "tell_model": "This is more than one refund may be.",
}


@dataclass(frozen=True)
class World:
    """One gateway and one conversation on it."""

    gateway: Gateway
    session: Session
    log: MemoryLog | None

    def blocking(self, turns: int) -> None:
        """`turns` governed calls, one after the other."""
        judge = self.session.judge_sync
        for number in range(turns):
            judge([CALLS[number % len(CALLS)]])
        self._forget()

    def awaited(self, turns: int) -> None:
        """The same on an event loop that is already running."""
        asyncio.run(self._await(turns))
        self._forget()

    async def _await(self, turns: int) -> None:
        judge = self.session.judge
        for number in range(turns):
            await judge([CALLS[number % len(CALLS)]])

    def _forget(self) -> None:
        if self.log is not None:
            self.log.lines.clear()


def bare(turns: int) -> None:
    """The same calls without anything in between."""
    tools = {TOOL: initiate_refund}
    for number in range(turns):
        json.dumps(tools[TOOL](**json.loads(TEXTS[number % len(TEXTS)])))


def build(folder: Path, *, others: int = 0, roles: int = 1, durable: bool = False, **contract: Any) -> World:
    """A gateway below `folder`. `contract` adds to the refund's contract; `others` more tools stand beside it, each
    with a rule and granted to each of `roles` roles.
    """
    policies = folder / "policies"
    (policies / "tools").mkdir(parents=True)
    shutil.copyfile(SHIPPED / "model.conf", policies / "model.conf")
    loop = {"calls_per_conversation": ENOUGH, "repeats": ENOUGH}
    (policies / "settings.yaml").write_text(json.dumps({"loop": loop}), encoding="utf-8")  # JSON is YAML
    names = [TOOL, *(f"other_{number}" for number in range(others))]
    for name in names:
        made = _contract(name, contract if name == TOOL else {"rules": [RULE]})
        (policies / "tools" / f"{name}.yaml").write_text(dump_contract_yaml(made), encoding="utf-8")
    rows = [f"g, user:{PRINCIPAL}, role:{ROLE}", *(f"g, user:{PRINCIPAL}-{n}, role:r{n}" for n in range(1, roles))]
    for role in (ROLE, *(f"r{number}" for number in range(1, roles))):
        rows += [f"p, role:{role}, {name}, {action}, allow" for name in names for action in ("see", "call")]
    (policies / "policy.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    log = None if durable else MemoryLog("bench", SystemClock())
    gateway = Gateway.from_policies(policies, home=folder / "home", origin="bench", log=log)
    gateway.register(initiate_refund, name=TOOL)
    session = gateway.session(Principal(PRINCIPAL), conversation="bench")
    outcomes = session.judge_sync(CALLS[:1])
    if not isinstance(outcomes[0], Released) or outcomes[0].failure is not None:
        raise SystemExit(f"the benchmark's own call does not pass: {outcomes[0]!r}")
    return World(gateway, session, log)


def _contract(name: str, more: dict[str, Any]) -> Contract:
    document = {
        "tool": name,
        "description": "Refund part of an order.",
        "risk": "low",
        "effect": "internal",
        "parameters": PARAMETERS,
        "execution": {"inline": True},
        **more,
    }
    return Contract.model_validate_json(json.dumps(document))
