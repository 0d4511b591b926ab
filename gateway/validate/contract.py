"""One contract, compiled at load: schema, rules, guards, what its parameters mean. What is wrong is a PolicyError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

from gateway.domain.call import ContractRef
from gateway.domain.decision import Obligation, Provenance
from gateway.domain.errors import PolicyError
from gateway.domain.masking import Masker, leaves
from gateway.policy.budget_documents import Budget
from gateway.policy.documents import Contract, Fact, Rule
from gateway.validate.charges import Charges
from gateway.validate.grammar import Grammar
from gateway.validate.guards import Guards
from gateway.validate.guards.network import Network
from gateway.validate.rules import CompiledRule, check_names
from gateway.validate.schema import CompiledSchema, compile_schema
from gateway.validate.vocabulary import Node


@final
@dataclass(frozen=True, slots=True)
class ContractRule:
    """A rule of a contract and where it stands; `asks` is what it asks for where it escalates."""

    rule: Rule
    compiled: CompiledRule
    source: Provenance
    asks: Obligation


@final
@dataclass(frozen=True, slots=True)
class CompiledContract:
    """What step 4 needs of one tool. `always` is asked of every call.

    `reads` are the variables that its rules name, taken together. `shares` names the sandbox in which calls of one
    conversation find what those before them left.
    """

    ref: ContractRef
    schema: CompiledSchema
    rules: tuple[ContractRule, ...]
    reads: frozenset[str]
    facts: Mapping[str, Fact]
    charges: Charges
    guards: Guards
    secrets: frozenset[str]
    personals: frozenset[str]
    effect_key: tuple[str, ...]
    serialize_by: tuple[str, ...]
    shares: str | None
    always: tuple[Obligation, ...]
    ask_user: Mapping[str, str]
    grammar: Grammar | None

    @classmethod
    def build(
        cls,
        contract: Contract,
        ref: ContractRef,
        *,
        roots: Mapping[str, str] | None = None,
        lines: Mapping[str, int] | None = None,
        network: Network | None = None,
        budgets: Mapping[str, Budget] | None = None,
    ) -> CompiledContract:
        """Compile and check. `lines` gives the line of a rule by its id, and of `parameters` and `approval`.

        `roots` are the folders for path guards, `network` what URL guards ask, `budgets` those of settings.yaml. Raises
        PolicyError with the file, and the line where it is known.
        """
        lines = lines or {}
        source = ref.source
        schema = compile_schema(contract.parameters, file=source.file, line=lines.get("parameters", source.line))
        try:
            guards = Guards(contract.guards, roots or {}, network=network)
            _check_guarded(contract, schema)
            _check_keys(contract, schema)
            grammar = Grammar(contract.grammar) if contract.grammar is not None else None
        except PolicyError as error:
            raise PolicyError(error.message, file=source.file, line=source.line) from error
        secrets = frozenset(contract.secrets)
        rules = tuple(_compile_rule(rule, contract, schema, source.file, lines) for rule in contract.rules)
        return cls(
            ref=ref,
            schema=schema,
            rules=rules,
            reads=frozenset().union(*(rule.compiled.reads for rule in rules)),
            facts=contract.facts,
            charges=Charges(contract, budgets or {}),
            guards=guards,
            secrets=secrets,
            personals=frozenset(contract.personal) - secrets,
            effect_key=tuple(sorted(contract.effect_key)),
            serialize_by=tuple(sorted(contract.serialize_by)),
            shares=contract.execution.sandbox if contract.execution.stateful else None,
            always=_always(contract, Provenance(source.file, lines.get("approval", source.line), "approval")),
            ask_user=contract.ask_user,
            grammar=grammar,
        )

    @property
    def fresh(self) -> Callable[[bytes], dict[str, Any]]:
        """Decodes effective bytes for the tool: a new object each time (I1)."""
        return self.schema.fresh

    def holding_nothing(self) -> CompiledContract:
        """For dry runs, which hold neither locks nor effects: step 4 gives them no names. Nothing is decided by one."""
        return replace(self, effect_key=(), serialize_by=(), shares=None)

    def quotable(self, detail: str) -> str:
        """`detail` for a record, unless it might quote an argument that must not stand there (I10)."""
        if not (self.secrets or self.personals):
            return detail
        kind, _, _ = detail.partition(": ")  # of an exception, its type says enough to go on with
        why = "(not quoted: the contract has secret or personal parameters)"
        return f"{kind} {why}" if kind.isidentifier() else why

    def secret_values(self, effective: bytes) -> tuple[object, ...]:
        """The values of the secret parameters that were given."""
        if not self.secrets:
            return ()
        given = self.fresh(effective)
        return tuple(given[name] for name in sorted(self.secrets) if given.get(name) is not None)

    def tellable(self, facts: dict[str, object], effective: bytes) -> dict[str, object]:
        """The facts as people and records may see them: a provider may repeat the secret it was asked about (I10)."""
        if not self.secrets or not facts:
            return facts
        told: dict[str, object] = Masker(frozenset().union(*map(leaves, self.secret_values(effective)))).value(facts)
        return told

    def personal(self, effective: bytes) -> dict[str, object] | None:
        """The personal parameters that were given, to be recorded apart; None if the contract declares none."""
        if not self.personals:
            return None
        return {name: value for name, value in self.fresh(effective).items() if name in self.personals}


def _compile_rule(
    rule: Rule, contract: Contract, schema: CompiledSchema, file: str, lines: Mapping[str, int]
) -> ContractRule:
    source = Provenance(file, lines.get(rule.id, 0), rule.id)
    try:
        check_names(rule.require, frozenset(schema.properties), frozenset(contract.facts), frozenset(contract.charges))
        kind = "approval" if contract.clearance.approvers else "confirmation"
        asks = Obligation(kind, rule.tell_people or rule.tell_model, source)
        return ContractRule(rule, CompiledRule(rule.require), source, asks)
    except PolicyError as error:
        raise PolicyError(f"rule `{rule.id}`: {error.message}", file=file, line=source.line) from error


def _always(contract: Contract, source: Provenance) -> tuple[Obligation, ...]:
    clearance = contract.clearance
    asked = []
    if clearance.when == "always" and clearance.approvers:
        asked.append(Obligation("approval", f"Every call of {contract.tool} needs another person.", source))
    if clearance.confirm:
        asked.append(Obligation("confirmation", f"The requester confirms every call of {contract.tool}.", source))
    return tuple(asked)


def _check_keys(contract: Contract, schema: CompiledSchema) -> None:
    """A key that a call may leave out would let it slip past whoever holds the key."""
    for field in ("effect_key", "serialize_by"):
        for name in getattr(contract, field):
            if name not in schema.required and "default" not in schema.properties[name]:
                raise PolicyError(f"`{field}` names {name!r}, which a call may leave out: make it `required`")


def _check_guarded(contract: Contract, schema: CompiledSchema) -> None:
    definitions: Node = schema.closed.get("$defs", {})
    for name, guard in contract.guards.items():
        node = schema.properties[name]
        found = _types(node, definitions)
        listed = found == {"array"} and isinstance(node.get("items"), dict)
        if listed and guard.takes != "one":
            found = _types(node["items"], definitions)
        if found - {"null"} != {"string"} or (guard.takes == "list" and not listed):
            wanted = "an array of type string" if guard.takes == "list" else "of type string"
            raise PolicyError(f"`guards` names {name!r}, which must be {wanted}")


def _types(node: Node, definitions: Node) -> set[str]:
    """The types a schema accepts; empty if it does not say."""
    if "$ref" in node:
        return _types(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in node:
            found = [_types(branch, definitions) for branch in node[keyword]]
            return set().union(*found) if all(found) else set()
    types = node.get("type", [])
    return {types} if isinstance(types, str) else set(types)
