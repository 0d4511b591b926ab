"""What one would write by hand: plain `casbin`, `jsonschema.validate` and one structlog line, on the same calls.

Runs in Toolgate's own environment and prints JSON: microseconds. The log line goes to memory: nothing is made durable.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import casbin
import jsonschema
import structlog
from casbin.model import Model

from benchmarks.rivals.workload import PARAMETERS, PRINCIPAL, ROLE, TOOL, calls, initiate_refund

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
"""


def enforcer(grants: int) -> casbin.Enforcer:
    """One role with `grants` tools; ours is the last of them."""
    model = Model()
    model.load_model_from_text(MODEL)
    built = casbin.Enforcer(model)
    built.enable_auto_save(False)
    built.add_policies([[ROLE, f"tool_{number}", "call"] for number in range(grants - 1)] + [[ROLE, TOOL, "call"]])
    built.add_role_for_user(PRINCIPAL, ROLE)
    return built


def _median_us(turn: Callable[[], object], turns: int, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(turns):
            turn()
        times.append((time.perf_counter_ns() - began) / turns / 1000)
    return statistics.median(times)


def decision_us(grants: int, turns: int, rounds: int) -> float:
    judge = enforcer(grants)
    if not judge.enforce(PRINCIPAL, TOOL, "call") or judge.enforce("mallory", TOOL, "call"):
        raise SystemExit("casbin does not decide as the benchmark expects")
    return _median_us(lambda: judge.enforce(PRINCIPAL, TOOL, "call"), turns, rounds)


def call_us(turns: int, rounds: int) -> float:
    """A whole call: decode, enforce, validate, look up, call, encode, one log line kept in memory."""
    judge, texts, tools = enforcer(10), calls(turns), {TOOL: initiate_refund}
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        cache_logger_on_first_use=True,
    )

    def every_call() -> None:
        for text in texts:
            arguments = json.loads(text)
            if not judge.enforce(PRINCIPAL, TOOL, "call"):
                raise SystemExit("casbin refused a legal call")
            jsonschema.validate(arguments, PARAMETERS)
            json.dumps(tools[TOOL](**arguments))
            log.info("call", principal=PRINCIPAL, tool=TOOL, arguments=arguments)

    return _median_us(every_call, 1, rounds) / turns


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "name": f"casbin {version('casbin')} + jsonschema {version('jsonschema')} + structlog",
                "decision_10_us": decision_us(10, 300, 9),
                "decision_10k_us": decision_us(10_000, 1, 3),
                "call_us": call_us(200, 7),
            }
        )
    )
