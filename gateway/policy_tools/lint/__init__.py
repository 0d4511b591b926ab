"""What is legal in a policy and probably not meant: `toolgate policy lint`.

A finding is an `error` where a safety mechanism does nothing or a wall has a hole, a `warning` where people or models
will stumble. Every finding has a stable code, a place and a mend. Loading has already refused what can never be right.
docs/lint.md lists the codes.
"""

from __future__ import annotations

from typing import Final

from gateway.authorize.casbin_oracle import checked_grants
from gateway.policy.policy_set import PolicySet
from gateway.policy_tools.lint import access, contracts, patterns
from gateway.policy_tools.lint.alike import alike
from gateway.policy_tools.lint.expressions import expressions
from gateway.policy_tools.lint.finding import At as At
from gateway.policy_tools.lint.finding import Finding as Finding
from gateway.wiring import compile_contracts, named_roots

MOST_TOOLS: Final = 10  # visible to one role; models choose worse among more (OpenAI's function calling guide)
_OF_ONE_CONTRACT: Final = (contracts.safety, contracts.pointers, contracts.words, patterns.patterns, expressions)


def lint(policy: PolicySet, *, most_tools: int = MOST_TOOLS) -> list[Finding]:
    """Every finding, errors first, then by place. Raises PolicyError where the policy cannot be compiled at all."""
    grants = checked_grants(policy.access)
    compile_contracts(policy, dict.fromkeys(named_roots(policy), ""))
    subjects = access.Subjects(policy.access)
    found = [
        *access.rows(policy, subjects),
        *access.roles(policy, subjects, most_tools),
        *access.tools(policy, subjects, grants),
        *access.versions(policy, grants),
        *alike(policy),
        *patterns.secret_patterns(policy),
        *contracts.parallel(policy),
    ]
    for loaded in policy.contracts.values():
        for check in _OF_ONE_CONTRACT:
            found += check(loaded)
    return sorted(found, key=lambda each: (each.level != "error", each.place, each.code))
