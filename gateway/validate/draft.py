"""Step 4 of a call that names a draft: its one argument, held to a schema like any other tool's."""

from __future__ import annotations

from gateway.domain.call import LimitedCall
from gateway.domain.decision import ReasonCode, Refusal, Step
from gateway.policy.prepare import DRAFT_PARAMETERS
from gateway.validate.schema import compile_schema

_SCHEMA = compile_schema(DRAFT_PARAMETERS, where="parameters")
_SUGGESTION = "Give `draft` alone, as preparing gave it. To change anything, prepare it anew."


def named_draft(call: LimitedCall) -> str | Refusal:
    """The id it names, whatever that may be the id of."""
    problems = _SCHEMA.problems(call.parsed.arguments)
    if problems:
        said = "The arguments do not fit: " + "; ".join(map(str, problems)) + "."
        return Refusal(Step.VALIDATE, ReasonCode.SCHEMA, said, _SUGGESTION)
    return str(call.parsed.arguments["draft"])
