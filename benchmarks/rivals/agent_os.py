"""Microsoft's agent-os-kernel (PolicyEvaluator and its audit logger) on the calls of `workload`.

Runs in the environment of requirements/rivals.txt and prints JSON: microseconds. What it does not do: no JSON Schema,
no roles (the tool name is compared rule by rule), no durable or chained log.
"""

from __future__ import annotations

import json
import statistics
import time
from importlib.metadata import version

from agent_os.audit_logger import AuditEntry, GovernanceAuditLogger
from agent_os.policies.evaluator import PolicyEvaluator
from agent_os.policies.schema import PolicyCondition, PolicyDefaults, PolicyDocument, PolicyRule

from benchmarks.rivals.workload import MAX_CENTS, PRINCIPAL, TOOL, calls, initiate_refund


class Lines:
    """An audit backend that keeps what its own file backend would write."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, entry: AuditEntry) -> None:
        self.lines.append(entry.to_json())

    def flush(self) -> None:
        """Nothing is held back."""


def evaluator(grants: int) -> PolicyEvaluator:
    """Deny by default, one rule for an amount that is too large, `grants` tools allowed; ours is the last of them."""
    names = [f"tool_{number}" for number in range(grants - 1)] + [TOOL]
    rules = [
        PolicyRule(
            name="too-large",
            condition=PolicyCondition(field="amount_cents", operator="gt", value=MAX_CENTS),
            action="deny",
            priority=10,
        )
    ]
    rules += [
        PolicyRule(
            name=f"allow-{name}",
            condition=PolicyCondition(field="tool_name", operator="eq", value=name),
            action="allow",
        )
        for name in names
    ]
    return PolicyEvaluator([PolicyDocument(name="bench", rules=rules, defaults=PolicyDefaults(action="deny"))])


def decision_us(grants: int, turns: int, rounds: int) -> float:
    judge = evaluator(grants)
    context = {"tool_name": TOOL, "agent_id": PRINCIPAL, "amount_cents": 500}
    if not judge.evaluate(context).allowed or judge.evaluate({"tool_name": "unknown"}).allowed:
        raise SystemExit("agent-os-kernel does not decide as the benchmark expects")
    times = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(turns):
            judge.evaluate(context)
        times.append((time.perf_counter_ns() - began) / turns / 1000)
    return statistics.median(times)


def call_us(turns: int, rounds: int) -> float:
    """A whole call: decode, evaluate, look up, call, encode, one audit entry kept in memory."""
    judge, texts, tools = evaluator(10), calls(turns), {TOOL: initiate_refund}
    times = []
    for _ in range(rounds):
        audit = GovernanceAuditLogger()
        audit.add_backend(Lines())
        began = time.perf_counter_ns()
        for text in texts:
            arguments = json.loads(text)
            decision = judge.evaluate({"tool_name": TOOL, "agent_id": PRINCIPAL, **arguments})
            if not decision.allowed:
                raise SystemExit(f"agent-os-kernel refused a legal call: {decision.reason}")
            json.dumps(tools[TOOL](**arguments))
            audit.log_decision(PRINCIPAL, TOOL, decision.action, reason=decision.reason, arguments=arguments)
        times.append((time.perf_counter_ns() - began) / turns / 1000)
    return statistics.median(times)


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "name": f"agent-os-kernel {version('agent-os-kernel')}",
                "decision_10_us": decision_us(10, 1000, 15),
                "decision_100k_us": decision_us(100_000, 2, 5),
                "call_us": call_us(500, 15),
            }
        )
    )
