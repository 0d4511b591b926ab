"""Plain Casbin over the same files: the second opinion on what `grants.py` compiled, and the only import of `casbin`.

Casbin reads both texts with its own parser and decides with its own matcher, so a mistake of our reader or our
compiler shows as a disagreement. It is asked at load, for a bounded sample, and in the property tests, never for a
call: `enforce` scans every row (about 6 us each), and on CPython 3.11 it raised SystemError under threads (C029).
`FastEnforcer` is not used: it gave wrong answers under threads and with deny rows.
"""

from __future__ import annotations

import random
from itertools import islice, product
from typing import Final, final

from gateway.authorize.grants import Granted, Grants, compile_grants
from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import ACTIONS, POLICY, AccessPolicy, Action, GrantRow

SAMPLE: Final = 200
MAX_ROWS_SCANNED: Final = 50_000  # about 0.3 s of Casbin
ASKED_OF_A_TOOL: Final = 4  # where a policy is too long to be handed over whole

Question = tuple[str, str, Action]


@final
class CasbinOracle:
    """A `casbin.Enforcer` built from the texts of the policy files.

    `tools`: it need answer for these alone, so p rows that say another in their third field are left out. Casbin
    reads a row in 13 us and compares it in 6 us.
    """

    def __init__(self, access: AccessPolicy, tools: frozenset[str] | None = None) -> None:
        import casbin  # here, because it takes 40 ms and is needed only where a policy is loaded

        class Rows(casbin.persist.Adapter):  # type: ignore[misc]  # casbin has no types
            """Casbin's file adapter, over text that was read once."""

            def load_policy(self, model: object) -> None:
                for line in access.policy_text.split("\n"):
                    if tools is None or _concerns(line, tools):
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
    """Compare up to 200 decisions; of a long policy, decisions about some of its tools. Returns how many.

    They are chosen by the policy's own text, so a policy that fails, fails every time. Casbin failing is a refusal,
    like Casbin disagreeing. Raises PolicyError.
    """
    whole = len(access.grants) * SAMPLE <= MAX_ROWS_SCANNED
    chosen = _chosen(grants, access) if whole else _chosen_by_tool(grants, access)
    try:
        oracle = CasbinOracle(access, None if whole else frozenset(tool for _, tool, _ in chosen))
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
    principals = _asked(grants)
    tools = (*sorted({row.tool for row in access.grants}), "no_such_tool")
    if not access.grants or len(principals) * len(tools) * len(ACTIONS) <= SAMPLE:
        return list(islice(product(principals, tools, ACTIONS), SAMPLE))
    dice = random.Random(access.policy_text)  # noqa: S311 - a repeatable sample, nothing secret
    holders = _holders(access)
    rows = dice.choices(access.grants, k=SAMPLE - 1)
    return [*(_about(row, principals, holders, dice) for row in rows), (principals[-1], tools[-1], "call")]


def _chosen_by_tool(grants: Grants, access: AccessPolicy) -> list[Question]:
    """A few questions about each of some tools: as many tools as Casbin may scan the rows of."""
    rows: dict[str, list[GrantRow]] = {}
    for row in access.grants:
        rows.setdefault(row.tool, []).append(row)
    principals, holders = _asked(grants), _holders(access)
    dice = random.Random(access.policy_text)  # noqa: S311 - a repeatable sample, nothing secret
    questions: list[Question] = [(principals[-1], "no_such_tool", "call")]
    scanned = 0
    for tool in dice.sample(sorted(rows), k=len(rows)):
        scanned += len(rows[tool])
        count = min(ASKED_OF_A_TOOL, max(2, MAX_ROWS_SCANNED // scanned))
        if len(questions) > 1 and scanned * (len(questions) + count) > MAX_ROWS_SCANNED:
            break
        questions += [_about(row, principals, holders, dice) for row in dice.choices(rows[tool], k=count)]
    return questions


def _asked(grants: Grants) -> tuple[str, ...]:
    return (*grants.principals(), "nobody in this policy")


def _holders(access: AccessPolicy) -> dict[str, list[str]]:
    """The people that each subject stands for itself: a user for herself, a role for those who hold it directly."""
    found = {row.subject: [row.subject[5:]] for row in access.grants if row.subject.startswith("user:")}
    for link in access.roles:
        if link.member.startswith("user:"):
            found.setdefault(link.role, []).append(link.member[5:])
    return found


def _about(row: GrantRow, principals: tuple[str, ...], holders: dict[str, list[str]], dice: random.Random) -> Question:
    """A question about the row's tool and action: of somebody whom it concerns, or of anybody."""
    concerned = holders.get(row.subject) if dice.random() < 0.5 else None
    return dice.choice(concerned or principals), row.tool, row.action


def _concerns(line: str, tools: frozenset[str]) -> bool:
    """Whether a row may bear on one of `tools`: any row but a p row that names another."""
    fields = line.split(",")
    return fields[0].strip() != "p" or len(fields) < 3 or fields[2].strip() in tools
