"""Plain Casbin over the same files: the second opinion on what `grants.py` compiled, and the only import of `casbin`.

Casbin reads both texts with its own parser and decides with its own matcher, so a mistake of our reader or our
compiler shows as a disagreement. It is asked at load, for a bounded sample, and in the property tests, never for a
call: `enforce` scans every row (about 6 us each), and on CPython 3.11 it raised SystemError under threads (C029).
`FastEnforcer` is not used: it gave wrong answers under threads and with deny rows.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Final, final

from gateway.authorize.grants import Granted, Grants, compile_grants
from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import ACTIONS, POLICY, AccessPolicy, Action

SAMPLE: Final = 200
MAX_ROWS_SCANNED: Final = 50_000  # about 0.3 s of Casbin

Question = tuple[str, str, Action]


@final
class CasbinOracle:
    """A `casbin.Enforcer` built from the texts of the policy files."""

    def __init__(self, access: AccessPolicy) -> None:
        import casbin  # here, because it takes 40 ms and is needed only where a policy is loaded

        class Rows(casbin.persist.Adapter):  # type: ignore[misc]  # casbin has no types
            """Casbin's file adapter, over text that was read once."""

            def load_policy(self, model: object) -> None:
                for line in access.policy_text.split("\n"):
                    casbin.persist.load_policy_line(line.strip(), model)

        self._enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=access.model_text), Rows())

    def allows(self, principal_id: str, tool: str, action: str) -> bool:
        """Casbin's answer. Raises whatever Casbin raises."""
        return self._enforcer.enforce(f"user:{principal_id}", tool, action) is True


def checked_grants(access: AccessPolicy) -> Grants:
    """Compile, and let Casbin confirm a sample of the decisions. Raises PolicyError where the two disagree."""
    grants = compile_grants(access)
    cross_check(grants, access)
    return grants


def cross_check(grants: Grants, access: AccessPolicy) -> int:
    """Compare up to 200 decisions, fewer for a long policy. Returns how many.

    They are chosen by the policy's own text, so a policy that fails, fails every time. Casbin failing is a refusal,
    like Casbin disagreeing. Raises PolicyError.
    """
    chosen = _chosen(grants, access)
    try:
        oracle = CasbinOracle(access)
        answers = [oracle.allows(*question) for question in chosen]
    except Exception as error:
        message = f"Casbin could not confirm this policy ({type(error).__name__}: {error}); nothing is loaded"
        raise PolicyError(message, file=POLICY) from error
    for (principal_id, tool, action), casbin_says in zip(chosen, answers, strict=True):
        if isinstance(grants.decide(principal_id, tool, action), Granted) is not casbin_says:
            question = f"may user:{principal_id} {action} {tool}"
            message = f"Casbin and Toolgate disagree: {question}? Please report this policy; nothing is loaded"
            raise PolicyError(message, file=POLICY)
    return len(chosen)


def _chosen(grants: Grants, access: AccessPolicy) -> list[Question]:
    """Every question there is if they are few, else a sample. A name that no row has is always among them."""
    principals = (*grants.principals(), "nobody in this policy")
    tools = (*sorted({row.tool for row in access.grants}), "no_such_tool")
    count = max(2, min(SAMPLE, MAX_ROWS_SCANNED // len(access.grants)))
    if len(principals) * len(tools) * len(ACTIONS) <= count:
        return list(product(principals, tools, ACTIONS))
    dice = random.Random(access.policy_text)  # noqa: S311 - a repeatable sample, nothing secret
    questions: list[Question] = []
    for row in dice.choices(access.grants, k=count - 1):
        own = row.subject.removeprefix("user:") if row.subject.startswith("user:") and dice.random() < 0.5 else None
        questions.append((own or dice.choice(principals), row.tool, row.action))
    return [*questions, (principals[-1], tools[-1], "call")]
