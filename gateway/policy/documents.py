"""The policy files as types: one pydantic model per document, and nothing that is not in a file.

`tools/*.yaml` is a `Contract`, `settings.yaml` a `Settings`, `approvers.yaml` an `Approvers`. Unknown keys are errors;
every default is the safe one. What these models cannot check alone (JSON Schema, CEL, references between files)
is checked by `policy.loader` and, once compiled, by `validate`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from gateway.domain.ids import check_id
from gateway.policy.answer_documents import AnswerCheck as AnswerCheck
from gateway.policy.answer_documents import OpenAISettings as OpenAISettings
from gateway.policy.budget_documents import Budget, BudgetName, ValuePath
from gateway.policy.free_text import MAX_GRAMMAR, check_free_text
from gateway.policy.guard_documents import EmailGuard as EmailGuard
from gateway.policy.guard_documents import Guard as Guard
from gateway.policy.guard_documents import PathGuard as PathGuard
from gateway.policy.model import TOOL_NAME as TOOL_NAME
from gateway.policy.model import Document as Document
from gateway.policy.model import Misplaced as Misplaced
from gateway.policy.model import Slug as Slug
from gateway.policy.model import ToolName as ToolName
from gateway.policy.prepare import Prepare, check_prepare

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Label = Literal["trusted", "untrusted", "private"]


class Rule(Document):
    """A CEL expression that must hold, over `args`, `principal`, `session`, `facts` and `now`.

    If it is false the call is denied, or needs a person with `otherwise: escalate`. An error always denies.
    """

    id: Slug
    require: Text = Field(description="CEL, of type bool. True lets the call go on.")
    otherwise: Literal["deny", "escalate"] = "deny"
    tell_model: Text = Field(description="What the model reads. It must reveal nothing the principal may not know.")
    tell_people: Text | None = Field(default=None, description="What an approver or operator reads.")
    suggestion: Text | None = Field(default=None, description="What the model could do instead.")
    candidates: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*([.][A-Za-z_][A-Za-z0-9_]*)*$")] | None = (
        Field(
            default=None,
            description="`fact` or `fact.field`: a list of what this principal could have meant, offered to the model. "
            "The fact takes no arguments, so that the offer says nothing about what was asked for.",
        )
    )


class Fact(Document):
    """A value the host looks up while judging: a registered provider, called with some of the arguments."""

    provider: Slug
    args: tuple[str, ...] = Field(default=(), description="Names of parameters handed to the provider.")
    deadline_s: Seconds = 5.0


class Approval(Document):
    """Whom a call waits for. Without this block, `risk: high` still needs one approver for every call."""

    when: Literal["always", "rules", "never"] = Field(
        default="rules", description="`rules`: only when a rule escalates. `never` cannot be combined with one."
    )
    approvers: Annotated[int, Field(ge=0, le=10)] = Field(default=1, description="Distinct people, not the requester.")
    confirm: bool = Field(default=False, description="The requester confirms too, through the host application.")
    expires_s: Annotated[int, Field(ge=10, le=30 * 86_400)] = 4 * 3600
    show_facts: bool = True

    @model_validator(mode="after")
    def _asks_somebody(self) -> Approval:
        if self.when != "never" and self.approvers == 0 and not self.confirm:
            raise ValueError("an approval needs at least one approver or `confirm: true`")
        return self


class Limits(Document):
    """Counted per tool. `repeats` is how often one principal may make the very same call in one conversation."""

    per_minute: Annotated[int, Field(ge=1)] | None = None
    per_conversation: Annotated[int, Field(ge=1)] | None = None
    repeats: Annotated[int, Field(ge=1)] | None = None


class Execution(Document):
    """How the tool is run."""

    inline: bool = Field(default=False, description="Run a sync function on the caller's thread, without a deadline.")
    deadline_s: Seconds = 30.0
    sandbox: Slug | None = Field(default=None, description="Profile in sandbox/: a container for `code` and its files.")
    stateful: bool = Field(
        default=False, description="Variables and files live on between the calls of one conversation."
    )
    retries: Annotated[int, Field(ge=0, le=3)] = Field(
        default=0, description="After 1 s, 2 s, 4 s. Only with `idempotent: true`."
    )
    fallback: ToolName | None = Field(
        default=None,
        description="Tool called instead once this one has failed. Only for a call that may be made twice: after a "
        "timeout both may have acted, so both together must do no harm.",
    )


class Result(Document):
    """What may come back. `labels` and `secrets` use JSON Pointers (RFC 6901) into the result."""

    schema_: dict[str, object] | None = Field(default=None, alias="schema")
    max_bytes: Annotated[int, Field(ge=64, le=4 * 1024 * 1024)] = 64 * 1024
    labels: dict[str, Label] = Field(default_factory=dict)
    secrets: tuple[str, ...] = Field(default=(), description="Masked before the model sees the result.")
    keep: bool = Field(default=False, description="Keep what was released whole, encrypted, beside the log.")


class Contract(Document):
    """One tool: what the model is told of it, which calls are legal, who must agree, how it runs."""

    tool: ToolName
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")] = "1"
    replaces: ToolName | None = Field(
        default=None,
        description="The tool of which this is the next version: new conversations are offered this one instead.",
    )
    code_version: str | None = Field(default=None, description="Changes the contract's digest with your tool's code.")
    description: Text
    prepare: Prepare | None = Field(
        default=None,
        description="The model is shown two tools: this drafts a call and changes nothing, and `tool` takes only a "
        "`draft`, once the requester has confirmed it. Needs `approval: {when: always, confirm: true}`.",
    )
    risk: Literal["low", "medium", "high"]
    effect: Literal["none", "internal", "external"]
    parameters: dict[str, object] = Field(description="JSON Schema 2020-12 of type object.")
    tags: tuple[Slug, ...] = ()
    idempotent: bool = False
    authority: tuple[str, ...] = Field(default=(), description="Parameters that say who, where or how much.")
    secrets: tuple[str, ...] = Field(default=(), description="Parameters that are never logged or released.")
    personal: tuple[str, ...] = Field(default=(), description="Parameters that are personal data.")
    facts: Annotated[dict[Slug, Fact], Field(max_length=16)] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    guards: dict[str, Guard] = Field(default_factory=dict)
    limits: Limits = Limits()
    charges: dict[BudgetName, Annotated[int, Field(ge=1)] | ValuePath] = Field(
        default_factory=dict,
        description="Budgets of settings.yaml that a call spends: where the value stands (`args.amount`), or a number.",
    )
    approval: Approval | None = None
    effect_key: tuple[str, ...] = Field(default=(), description="Parameters naming what an unknown outcome holds.")
    serialize_by: tuple[str, ...] = Field(
        default=(), description="Parameters naming what only one call touches at once."
    )
    ordered: bool = Field(
        default=False, description="Calls of one conversation run in the order the model gave them, one by one."
    )
    ask_user: dict[str, Text] = Field(
        default_factory=dict,
        description="By parameter: what the model should ask the user for when it is missing, instead of guessing.",
    )
    free_text: bool = Field(
        default=False,
        description="A custom tool: the model writes free text, which is the one parameter `input`. Its `pattern`, "
        "from ^ to $, or `grammar` is sent with the tool and enforced here.",
    )
    grammar: Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR)] | None = Field(
        default=None, description="Of free text: a grammar in Lark's syntax, LALR(1), that the whole text must fit."
    )
    hands_over: bool = Field(
        default=False, description="The conversation goes to a person: once the tool has run, `run()` stops."
    )
    execution: Execution = Execution()
    result: Result = Result()

    @model_validator(mode="after")
    def _names_its_own_parameters(self) -> Contract:
        properties = self.parameters.get("properties")
        known = tuple(properties) if isinstance(properties, dict) else ()
        named: list[tuple[str, tuple[str | int, ...]]] = []
        for field in ("authority", "secrets", "personal", "effect_key", "serialize_by"):
            named += [(name, (field, index)) for index, name in enumerate(getattr(self, field))]
        named += [(name, (field, name)) for field in ("guards", "ask_user") for name in getattr(self, field)]
        for fact_name, fact in self.facts.items():
            named += [(name, ("facts", fact_name, "args", index)) for index, name in enumerate(fact.args)]
        for name, path in named:
            if name not in known:
                where = "`" + ".".join(str(part) for part in path if isinstance(part, str)) + "`"
                raise Misplaced(f"{where} names {name!r}, but {self.tool} has only {', '.join(known) or 'none'}", *path)
        return self

    @model_validator(mode="after")
    def _hangs_together(self) -> Contract:
        ids = [rule.id for rule in self.rules]
        for index, one in enumerate(ids):
            if one in ids[:index]:
                raise Misplaced(f"two rules have the id {one!r}", "rules", index, "id")
        for index, rule in enumerate(self.rules):
            if rule.candidates is not None:
                self._may_offer(rule, index)
        if self.execution.retries and not self.idempotent:
            message = "`retries` needs `idempotent: true`: only such a call may be made twice"
            raise Misplaced(message, "execution", "retries")
        if self.execution.fallback and not (self.idempotent or self.effect == "none"):
            message = (
                "`fallback` needs `idempotent: true` or `effect: none`: a call that failed may have had its effect"
            )
            raise Misplaced(message, "execution", "fallback")
        if self.execution.inline and self.execution.sandbox:
            raise Misplaced("`inline` and `sandbox` exclude each other. Remove one", "execution", "inline")
        if self.execution.stateful and (self.execution.sandbox is None or self.serialize_by):
            message = "`stateful` needs a `sandbox`, and takes turns by itself: remove `serialize_by`"
            raise Misplaced(message, "execution", "stateful")
        escalates = any(rule.otherwise == "escalate" for rule in self.rules)
        if escalates and self.approval is not None and self.approval.when == "never":
            message = "`when: never` contradicts a rule with `otherwise: escalate`. Use `when: rules`"
            raise Misplaced(message, "approval", "when")
        check_free_text(self.parameters, self.grammar, free_text=self.free_text)
        check_prepare(self)
        return self

    def _may_offer(self, rule: Rule, index: int) -> None:
        """What is offered may depend on who asks and never on what was asked for: else it tells what exists (I7)."""
        name = str(rule.candidates).partition(".")[0]
        if name not in self.facts or self.facts[name].args:
            message = f"`candidates` names a fact that takes no arguments; {name!r} is none of this contract's"
            if name in self.facts:
                message = (
                    f"the fact {name!r} takes arguments, so what it offers would tell what exists. Use one without"
                )
            raise Misplaced(message, "rules", index, "candidates")
        if rule.otherwise != "deny":
            raise Misplaced("`candidates` are offered by a rule that denies", "rules", index, "candidates")

    @property
    def clearance(self) -> Approval:
        """The approval block in force: high risk without one means one approver, always."""
        if self.approval is not None:
            return self.approval
        return Approval(when="always" if self.risk == "high" else "rules")

    @property
    def may_park(self) -> bool:
        """Whether a call may have to wait: for people, or for an earlier call that does."""
        escalates = any(rule.otherwise == "escalate" for rule in self.rules)
        return self.clearance.when == "always" or self.clearance.confirm or escalates or self.ordered


class LoopLimits(Document):
    """Limits of one conversation, whatever the tool."""

    calls_per_conversation: Annotated[int, Field(ge=1)] = 200
    turns_per_run: Annotated[int, Field(ge=1)] = 40
    repeats: Annotated[int, Field(ge=1)] = 5
    consecutive_denials: Annotated[int, Field(ge=1)] = 8
    concurrent_calls: Annotated[int, Field(ge=1)] = 64
    depth: Annotated[int, Field(ge=0, le=8)] = 2
    pending_requests: Annotated[int, Field(ge=1)] = 20
    truncated_retries: Annotated[int, Field(ge=0, le=3)] = Field(
        default=1, description="How often `run()` asks again, with twice the tokens, when its own limit cut a turn off."
    )


class ArgumentLimits(Document):
    """Bounds of the strict parser, per call."""

    max_bytes: Annotated[int, Field(ge=2)] = 1_000_000
    max_depth: Annotated[int, Field(ge=1, le=200)] = 64


class WitnessSettings(Document):
    """Who remembers the last checkpoint for us. Exactly one of `folder` and `url`."""

    folder: str | None = None
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/[^\s]*)?$")] | None = None
    key: str | None = Field(default=None, description="The witness's C2SP verifier key.")
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 3.0
    required: bool = False

    @model_validator(mode="after")
    def _is_one_place(self) -> WitnessSettings:
        if (self.folder is None) == (self.url is None):
            raise Misplaced("a witness is either a `folder` or a `url`. Keep one of them")
        if self.key is not None and self.url is None:
            raise Misplaced("a folder signs nothing: remove `key`, or name a `url`", "key")
        return self


class AuditSettings(Document):
    """Where evidence is sealed. `preview_chars: 0` keeps results out of the log."""

    checkpoint_every: Annotated[int, Field(ge=1)] = 64
    checkpoint_seconds: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    rotate_mb: Annotated[int, Field(ge=1, le=4096)] = 64
    rotate_hours: Annotated[float, Field(gt=0)] = 24.0
    preview_chars: Annotated[int, Field(ge=0, le=4096)] = 256
    witness: WitnessSettings | None = None


class Observe(Document):
    """Permission for observe mode: nothing is denied, everything is decided and recorded as it would have been.

    It takes both this and `observe=True` where the gateway is made; a gateway that does not ask enforces. With
    this block `policy.csv` may be empty.
    """

    arguments: Literal["shapes", "values"] = Field(
        description="What is recorded of calls without a contract, where nothing says what is secret: `shapes` are "
        "JSON types and keyed digests, `values` are arguments and results as they are."
    )


class Settings(Document):
    """`settings.yaml`: limits and defaults for the whole deployment. Every key may be left out."""

    loop: LoopLimits = LoopLimits()
    arguments: ArgumentLimits = ArgumentLimits()
    audit: AuditSettings = AuditSettings()
    answer: AnswerCheck = AnswerCheck()
    observe: Observe | None = Field(
        default=None, description="Permits observe mode to gateways that ask for it. Nothing is denied by those."
    )
    openai: OpenAISettings = Field(default=OpenAISettings(), description="What requests to a model may be.")
    provider_tools: tuple[str, ...] = Field(
        default=(),
        description="Tools the provider may execute itself, by name: `web_search`, `code_interpreter`, "
        "`mcp:<server_url>`. Every other one is taken out of requests.",
    )
    budgets: dict[BudgetName, Budget] = Field(
        default_factory=dict, description="How much calls may spend in a time; contracts charge them with `charges`."
    )
    roots: dict[Slug, str] = Field(default_factory=dict, description="Folders path guards may name.")
    secret_patterns: tuple[str, ...] = Field(
        default=(), description="More regular expressions (Python's `re`) masked in results, beside the built-in ones."
    )

    @field_validator("secret_patterns")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                found = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if found.search("") is not None:
                raise ValueError(f"{pattern!r} matches nothing at all, so it would mask between all characters")
        return patterns


def _person(value: str) -> str:
    if value.startswith(("user:", "role:")):
        raise ValueError(f"an approver is written without a prefix: {value.partition(':')[2]!a}, not {value!a}")
    return check_id("an approver's id", value)


class Approver(Document):
    """One person who may vote, and the public half of her key. What she may approve is said in policy.csv."""

    id: Annotated[str, AfterValidator(_person)]
    key: Annotated[str, StringConstraints(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]
    dev: bool = Field(default=False, description="A key made with --dev: every vote is recorded as such.")


class Approvers(Document):
    """`approvers.yaml`: public keys, so that they stand under the policy digest."""

    approvers: tuple[Approver, ...] = ()

    @model_validator(mode="after")
    def _one_person_one_key(self) -> Approvers:
        for index, one in enumerate(self.approvers):
            for other in self.approvers[:index]:
                if one.id == other.id:
                    raise Misplaced(f"the approver {one.id!r} stands here twice", "approvers", index, "id")
                if one.key == other.key:
                    message = f"{one.id!r} and {other.id!r} share one key, so one person could vote twice"
                    raise Misplaced(message, "approvers", index, "key")
        return self
