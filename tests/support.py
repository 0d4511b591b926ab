"""A whole gateway over a policy folder written for one test: real files, keys, database and log.

    with gateway_with(tmp_path, tool(look_up), tool(pay, effect_key=["order"])) as gateway: ...

The conventions: `ana` (role support) sees and calls every tool, `bob` and `carol` may approve any.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import Gateway, Principal, Session, ToolCall
from gateway.audit.files import Files
from gateway.audit.log import AuditLog
from gateway.audit.origin import enroll, load_signer, load_trusted
from gateway.audit.port import Log
from gateway.clock import SystemClock
from gateway.domain.call import Denied, Outcome, Released
from gateway.domain.decision import ReasonCode
from gateway.keys import public_text
from gateway.office import Office
from gateway.settings import locate, prepare
from tests.fakes.audit_desk import repaired
from tests.unit.policy.folders import MODEL_TEXT

ANA = Principal("ana")
APPROVERS = ("bob", "carol")
ORIGIN = "gw"
_KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True)
class Tool:
    """A function and its contract. `fn` is None for a tool that runs elsewhere, or is not registered."""

    contract: dict[str, Any]
    fn: Callable[..., Any] | None

    @property
    def name(self) -> str:
        return str(self.contract["tool"])


def tool(fn: Callable[..., Any] | None = None, *, name: str = "", **fields: Any) -> Tool:
    """`fn` under a contract made from its signature: low risk, no effect; `fields` override and add."""
    named = name or str(getattr(fn, "__name__", ""))
    contract: dict[str, Any] = {"tool": named, "description": f"Test tool {named}.", "risk": "low", "effect": "none"}
    contract["parameters"] = {"type": "object", "properties": {}, "additionalProperties": False}
    if fn is not None:
        found = inspect.signature(fn, eval_str=True).parameters
        contract["parameters"]["properties"] = {
            each: {"type": _KINDS[get_origin(one.annotation) or one.annotation]} for each, one in found.items()
        }
        contract["parameters"]["required"] = [each for each, one in found.items() if one.default is one.empty]
    return Tool(contract | fields, fn)


def write_policies(
    folder: Path,
    tools: Iterable[Tool],
    *,
    settings: Mapping[str, Any] | None = None,
    rows: Iterable[str] = (),
    hidden: Iterable[str] = (),
    approvers: Mapping[str, str] | None = None,
) -> Path:
    """A policy folder. `hidden` tools get `call` without `see`; `rows` are added to policy.csv."""
    (folder / "tools").mkdir(parents=True, exist_ok=True)
    (folder / "model.conf").write_text(MODEL_TEXT)
    lines = ["g, user:ana, role:support", *(f"g, user:{each}, role:lead" for each in APPROVERS), *rows]
    kept = frozenset(hidden)
    for each in tools:
        (folder / "tools" / f"{each.name}.yaml").write_text(json.dumps(each.contract))
        lines.append(f"p, role:support, {each.name}, call, allow")
        lines.append(f"p, role:lead, {each.name}, approve, allow")
        if each.name not in kept:
            lines.append(f"p, role:support, {each.name}, see, allow")
    (folder / "policy.csv").write_text("\n".join(lines) + "\n")
    (folder / "settings.yaml").write_text(json.dumps(dict(settings or {})))
    enrolled = [{"id": person, "key": key} for person, key in (approvers or {}).items()]
    (folder / "approvers.yaml").write_text(json.dumps({"approvers": enrolled}))
    return folder


def person(folder: Path, name: str) -> Ed25519PrivateKey:
    """Somebody's own key, made when first asked for."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = folder / name
    if not kept.exists():
        kept.write_bytes(Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(kept.read_bytes())


def policies_for(base: Path, *tools: Tool, **more: Any) -> Path:
    """The policy folder of the deployment below `base`, with the approvers' keys enrolled."""
    keys = {name: public_text(person(base / "people", name)) for name in APPROVERS}
    return write_policies(base / "policies", tools, approvers=keys, **more)


def open_gateway(base: Path, *tools: Tool, origin: str = ORIGIN, log: Log | None = None) -> Gateway:
    """A gateway over the policies that stand below `base`: a restart, or another process."""
    gateway = Gateway.from_policies(base / "policies", home=base / "home", origin=origin, log=log)
    for each in tools:
        if each.fn is not None:
            gateway.register(each.fn, name=each.name)
    return gateway


def log_on(base: Path, files: Files, origin: str = ORIGIN) -> AuditLog:
    """The real log of a deployment below `base`, on a disk of the test's own."""
    where = locate(base / "policies", base / "home")
    prepare(where)
    if origin not in load_trusted(where.trust):
        enroll(origin, where.keys, where.trust)
    signer = load_signer(origin, where.keys, where.trust)
    return AuditLog(where.audit, where.checkpoints, signer, SystemClock(), report=repaired, files=files)


@contextmanager
def gateway_with(base: Path, *tools: Tool, log: Log | None = None, **more: Any) -> Iterator[Gateway]:
    """Write the policies, open a gateway over them, close it afterwards."""
    policies_for(base, *tools, **more)
    with open_gateway(base, *tools, log=log) as gateway:
        yield gateway


def vote(base: Path, *request_ids: str, by: str = "bob", verdict: Any = "approve", comment: str = "") -> None:
    """An approver looks at each request and signs, as the command line does."""
    with Office.open(base / "policies", base / "home") as office:
        desk = office.desk()
        for request_id in request_ids:
            view = desk.show(request_id)
            assert view is not None
            ballot = desk.ballot(
                request_id,
                verdict,
                voter=by,
                sign_with=person(base / "people", by).sign,
                comment=comment,
                shown=view.digest,
            )
            office.record(desk.event(ballot))
            desk.cast(ballot)


_calls = iter(range(10**9))


def ask(name: str, /, **arguments: object) -> ToolCall:
    """One call as a model would make it, with an id of its own."""
    return ToolCall(f"c{next(_calls)}", name, json.dumps(arguments))


def one(session: Session, name: str, /, **arguments: object) -> Outcome:
    """Judge one call, blocking."""
    return session.judge_sync([ask(name, **arguments)])[0]


def reason(outcome: Outcome) -> ReasonCode:
    assert isinstance(outcome, Denied), outcome
    return outcome.refusal.reason


def result(outcome: Outcome) -> Any:
    """What a released call gave, without its mark."""
    assert isinstance(outcome, Released), outcome
    assert outcome.failure is None, outcome
    (value,) = json.loads(outcome.content).values()
    return value


def records(base: Path, kind: str = "", origin: str = ORIGIN) -> list[dict[str, Any]]:
    """The records of one origin, of one kind if named, oldest first."""
    segment = base / "home" / "audit" / origin / "00000000.jsonl"
    found = [json.loads(line) for line in segment.read_bytes().splitlines()]
    return [each for each in found if kind in ("", each["kind"])]
