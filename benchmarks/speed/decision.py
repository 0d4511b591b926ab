"""Step 2, authorize: may this principal see and call this tool? With 10 grants and with 100,000, turn and turn about.

The 100,000 are `see` and `call` rows for 500 tools, for each of 100 roles.
"""

from __future__ import annotations

from benchmarks.speed.timing import Batch, medians
from gateway.authorize.grants import Grants, compile_grants
from gateway.authorize.stage import Authorize
from gateway.clock import SystemClock
from gateway.domain.call import AuthorizedCall, CallContext, ContractRef, ParsedCall
from gateway.domain.decision import Provenance
from gateway.domain.ids import Principal
from gateway.policy.casbin_files import AccessPolicy, GrantRow, RoleRow


def measure() -> dict[str, float]:
    """Microseconds a decision, by number of grants."""
    return medians({"10": _asking(roles=1, tools=5), "100000": _asking(roles=100, tools=500)}, batch=5000, rounds=41)


def _grants(roles: int, tools: int) -> Grants:
    """`roles` x `tools` x 2 rows; `user-<n>` holds `role:r<n>`."""
    pairs = [(role, tool) for role in range(roles) for tool in range(tools)]
    rows = tuple(
        GrantRow(f"role:r{role}", f"tool_{tool}", action, allow=True, line=number + 1)
        for number, (role, tool) in enumerate(pairs)
        for action in ("see", "call")
    )
    held = tuple(RoleRow(f"user:user-{role}", f"role:r{role}", role + 1) for role in range(roles))
    return compile_grants(AccessPolicy(rows, held, "", ""))


def _asking(roles: int, tools: int) -> Batch:
    contracts = {
        name: ContractRef(name, "1", "sha256:0", "low", "none", Provenance(f"tools/{name}.yaml", 1))
        for name in (f"tool_{tool}" for tool in range(tools))
    }
    step = Authorize(_grants(roles, tools), contracts)
    who = Principal(f"user-{roles - 1}")
    context = CallContext("call_1", "call_1", who, None, "c", "sha256:0", SystemClock().now(), 0)
    asked = ParsedCall(context, f"tool_{tools - 1}", {}, simple=True, wire=b"{}", wire_digest="")
    if not isinstance(step(asked), AuthorizedCall):
        raise SystemExit("the benchmark's own principal is not granted its tool")

    def run(turns: int) -> None:
        for _ in range(turns):
            step(asked)

    return run
