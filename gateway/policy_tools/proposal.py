"""A policy folder to start from, made of tools that already exist: `toolgate policy scaffold`.

Deny by default: nobody is granted what nobody was seen to do. Every guess is marked where it stands, a folder that
holds anything is never written to, and what was written has been loaded and its tables run before this returns.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import orjson

from gateway.domain.errors import PolicyError, SettingsError, UsageError
from gateway.policy.casbin_files import POLICY
from gateway.policy.documents import Contract
from gateway.policy.generate import dump_contract_yaml, dump_yaml
from gateway.policy.loader import load, read_contract
from gateway.policy_tools.tables import FOLDER, Report, read_tables, run_tables
from gateway.validate.schema import compile_schema

TODO: Final = "TODO: what it does, and when to use it"  # short enough that lint asks for more
CASES_PER_TOOL: Final = 20
_STARTER: Final = Path(__file__).resolve().parent.parent / "starter_policies"
_GUESSED: Final = re.compile(r"^(risk|effect|secrets|rules):( ?.*)$", re.MULTILINE)
_HEAD: Final = "# Proposed by `toolgate policy scaffold`. Read it; what says `guess` or TODO is for you to decide.\n"


@final
@dataclass(frozen=True, slots=True)
class Seen:
    """One call that really happened. `whole` is false where the log does not hold all arguments as they were."""

    principal: str
    on_behalf_of: str | None
    tool: str
    arguments: Mapping[str, Any]
    whole: bool = True


@final
@dataclass(slots=True)
class Proposal:
    """Contracts by tool, the calls seen, and what could not be proposed: (name, why)."""

    contracts: dict[str, Contract] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def add(self, contract: Contract) -> None:
        """Take one more tool. Raises UsageError where there is one of this name, or no file could say it."""
        if contract.tool in self.contracts:
            raise UsageError("another tool has this name already")
        try:
            file = f"tools/{contract.tool}.yaml"
            read_contract(dump_contract_yaml(contract).encode(), file=file)
            compile_schema(contract.parameters, file=file)
        except PolicyError as error:
            raise UsageError(str(error)) from error
        self.contracts[contract.tool] = contract


def write(proposal: Proposal, folder: Path) -> Report:
    """Write the folder whole or not at all, once it loads. Raises SettingsError or PolicyError.

    A case that fails in the report is a call that was seen and would be denied, by the contract of a module, say.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is not empty; name a new folder with --to")
    if not proposal.contracts:
        raise SettingsError("nothing to write: no tool was found that a contract can be made of")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as draft:
        report = _written(proposal, Path(draft, folder.name))
        if folder.exists():
            folder.rmdir()
        Path(draft, folder.name).rename(folder)
    return report


def _written(proposal: Proposal, folder: Path) -> Report:
    (folder / "tools").mkdir(parents=True)
    (folder / FOLDER).mkdir()
    for name in ("model.conf", "settings.yaml", "approvers.yaml"):
        shutil.copyfile(_STARTER / name, folder / name)
    for name, contract in sorted(proposal.contracts.items()):
        text = _GUESSED.sub(r"\1:\2  # a guess: check it", dump_contract_yaml(contract))
        (folder / "tools" / f"{name}.yaml").write_text(_HEAD + text, encoding="utf-8")
    (folder / POLICY).write_text(_grants(proposal), encoding="utf-8")
    for name, table in _tables(proposal).items():
        (folder / FOLDER / name).write_text(_HEAD + dump_yaml(table, ascii_only=True), encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # files that others may write are refused when they are loaded
    return run_tables(load(folder, locked=False), read_tables(folder))


def _grants(proposal: Proposal) -> str:
    """policy.csv: one role for all who were seen to call the same tools; without a log, every row a comment."""
    lines = [
        _HEAD.rstrip(),
        "#   p, user:ID | role:NAME, tool, see | call | approve, allow | deny      (a deny row always wins)",
        "#   g, user:ID | role:NAME, role:NAME                                     (the first holds the second)",
        "",
    ]
    called: dict[str, set[str]] = defaultdict(set)
    for call in proposal.seen:
        called[call.principal].add(call.tool)
    together: dict[frozenset[str], list[str]] = defaultdict(list)
    for principal, tools in sorted(called.items()):
        together[frozenset(tools)].append(principal)
    for number, (same, principals) in enumerate(sorted(together.items(), key=lambda item: item[1]), start=1):
        lines.append(f"# Seen to call these {len(same)} tools. Give the role a name of yours.")
        lines += [f"g, user:{principal}, role:observed-{number}" for principal in principals]
        for tool in sorted(same):
            lines += [f"p, role:observed-{number}, {tool}, {action}, allow" for action in ("see", "call")]
        lines.append("")
    unused = sorted(set(proposal.contracts) - {call.tool for call in proposal.seen})
    if unused:
        lines.append(
            "# Nobody may use these yet. Give somebody the role (g, user:SOMEBODY, role:agent), and write allow"
        )
        lines.append("# where it may.")
        lines += [f"p, role:agent, {tool}, {action}, deny" for tool in unused for action in ("see", "call")]
    return "\n".join(lines).rstrip() + "\n"


def _tables(proposal: Proposal) -> dict[str, dict[str, Any]]:
    nobody = [
        {"name": f"nobody calls {tool} without a grant", "principal": "nobody", "call": {"tool": tool}}
        | {"expect": "deny", "reason": "not_granted"}
        for tool in sorted(proposal.contracts)
    ]
    tables: dict[str, dict[str, Any]] = {"access.yaml": {"table": "deny by default", "cases": nobody}}
    cases: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known: set[bytes] = set()
    for call in proposal.seen:
        this = orjson.dumps([call.principal, call.on_behalf_of, call.tool, call.arguments], option=orjson.OPT_SORT_KEYS)
        secret = set(proposal.contracts[call.tool].secrets) & set(call.arguments)
        if not call.whole or secret or this in known or len(cases[call.tool]) >= CASES_PER_TOOL:
            continue
        known.add(this)
        waits = proposal.contracts[call.tool].clearance.when == "always"
        case: dict[str, Any] = {"name": f"seen: call {len(cases[call.tool]) + 1}", "principal": call.principal}
        if call.on_behalf_of is not None:
            case["on_behalf_of"] = call.on_behalf_of
        case["call"] = {"tool": call.tool, "arguments": dict(call.arguments)}
        cases[call.tool].append(case | {"expect": "escalate" if waits else "allow"})
    for tool, rows in cases.items():
        if rows:
            tables[f"seen-{tool}.yaml"] = {"table": f"calls of {tool} that were seen", "tool": tool, "cases": rows}
    return tables
