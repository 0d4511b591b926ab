"""The composition root: the only place where adapters are made and stages put together.

`open_runtime` makes what lives as long as the process; `compile_policy` makes one `Policy` from one `PolicySet` and
what the runtime holds, whole or not at all (I6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gateway.admit import Admit, Breaker
from gateway.audit.cadence import Cadence
from gateway.audit.cosignature import WitnessKey
from gateway.audit.encode import encode
from gateway.audit.errors import NoteInvalid
from gateway.audit.keeper import Witnessing
from gateway.audit.kept import KeptResults
from gateway.audit.log import AuditLog
from gateway.audit.newest import newest_record_ns
from gateway.audit.note import Signer
from gateway.audit.origin import EnrolledHosts, enroll, load_keyrings, load_signer, load_trusted
from gateway.audit.port import Log
from gateway.audit.stage import Record
from gateway.audit.subjects import SubjectKeys
from gateway.audit.witness import Book, HttpWitness, Witness
from gateway.authorize.casbin_oracle import checked_grants
from gateway.authorize.stage import Authorize
from gateway.clear.desk import Desk
from gateway.clear.markers import SpentMarkers
from gateway.clear.port import Rules
from gateway.clear.stage import Clear
from gateway.clear.store import RequestStore
from gateway.clock import SystemClock
from gateway.domain.call import CallContext
from gateway.domain.errors import SettingsError
from gateway.domain.event import LogRepaired
from gateway.domain.instant import Clock
from gateway.execute.check import checked
from gateway.execute.code import open_runners
from gateway.execute.port import CodeRunner
from gateway.execute.registry import Registry
from gateway.execute.stage import Door, Execute, longest_s
from gateway.execute.watch import Watchers
from gateway.keys import Keys, check_apart
from gateway.limit.counters import Counters
from gateway.limit.stage import Limit
from gateway.observe import Observing, Uncontracted, open_door, open_exit, permission
from gateway.parse.stage import Parse
from gateway.pipeline import Beside, Passage, Stages
from gateway.policy.budget_documents import Budget
from gateway.policy.collecting import without_collecting
from gateway.policy.documents import AuditSettings, Contract, PathGuard, WitnessSettings
from gateway.policy.policy_set import LoadedContract, PolicySet
from gateway.policy.prepare import faces
from gateway.policy.versions import lines
from gateway.release import Exit, Release, Secrets
from gateway.serialize import KeyedLocks, Order
from gateway.session import Policy
from gateway.settings import Home, prepare
from gateway.shapes.models import request_rules
from gateway.shapes.tools import ToolLists
from gateway.starting import one_start_at_a_time, reconcile_dead
from gateway.state.budgets import BudgetLedger
from gateway.state.database import Database
from gateway.state.epoch import PolicyEpoch
from gateway.state.kill_switches import KillSwitches
from gateway.validate.contract import CompiledContract
from gateway.validate.facts import Facts
from gateway.validate.guards.network import Network
from gateway.validate.schema import compile_schema
from gateway.validate.stage import Validate
from gateway.waiting import OwnLoop, Workers

WORKER_THREADS = 64  # sync tools at once; as many calls as one gateway admits by default


@final
@dataclass(slots=True)
class Runtime:
    """What lives as long as the process, whatever the policy says."""

    home: Home
    origin: str
    keys: Keys
    subjects: SubjectKeys
    kept: KeptResults
    signer: Signer
    clock: Clock
    log: Log
    database: Database
    kill_switches: KillSwitches
    epoch: PolicyEpoch
    store: RequestStore
    registry: Registry
    facts: Facts
    secrets: Secrets
    counters: Counters
    breaker: Breaker
    locks: KeyedLocks
    order: Order
    workers: Workers
    own: ThreadPoolExecutor
    own_loop: OwnLoop
    roots: dict[str, str]
    observe: bool
    runners: Mapping[str, CodeRunner]
    no_runner: Mapping[str, str]
    watchers: Watchers
    created: tuple[str, ...]
    beside: Beside | None = None

    def close(self) -> None:
        """Sign the log and give everything back. Idempotent."""
        self.own_loop.close()
        self.watchers.close()
        for runner in self.runners.values():
            runner.close()
        self.workers.close()
        self.own.shutdown(wait=True)
        self.kill_switches.close()
        self.database.close()
        self.log.close()


def open_runtime(
    where: Home,
    policy: PolicySet,
    *,
    origin: str,
    roots: Mapping[str, Path],
    log: Log | None = None,
    observe: bool = False,
) -> Runtime:
    """Take the origin, open keys, log and database, and let the log explain what a crash left behind.

    `observe` holds as long as the process lives; no policy can change it. `log` replaces the log on disk, for
    measurements. Raises ToolgateError; then nothing is left open.
    """
    created = prepare(where)
    check_apart(where.keys, (where.state, where.audit))
    clock = SystemClock()
    keys = Keys.create(where.keys / "deployment")
    subjects = SubjectKeys(where.keys / "subjects", keys)
    signer = _enrolled(where, origin)
    with ExitStack() as undo:
        with one_start_at_a_time(where):
            if log is None:
                log = open_log(where, origin, clock, policy.settings.audit, observe=observe)
            undo.callback(log.close)
            database = Database(where.database)
            undo.callback(database.close)
            store = RequestStore(database, SpentMarkers(where.spent))
            reconcile_dead(store, where, own=log if isinstance(log, AuditLog) else None)
        opened, unopened = open_runners(policy.sandbox_profiles, keys.digest.id)
        runners, no_runner = checked(opened, unopened, policy.sandbox_profiles, state=where.state, owner=keys.digest.id)
        runtime = Runtime(
            home=where,
            origin=origin,
            keys=keys,
            subjects=subjects,
            kept=KeptResults(where.state / "results", subjects),
            signer=signer,
            clock=clock,
            log=log,
            database=database,
            kill_switches=KillSwitches(database, clock),
            epoch=PolicyEpoch(database, clock),
            store=store,
            registry=Registry(),
            facts=Facts(),
            secrets=Secrets(),
            counters=Counters(),
            breaker=Breaker(),
            locks=KeyedLocks(),
            order=Order(),
            workers=Workers(WORKER_THREADS),
            own=ThreadPoolExecutor(max_workers=4, thread_name_prefix="toolgate-own"),
            own_loop=OwnLoop(),
            roots={name: str(path) for name, path in roots.items()},
            observe=observe,
            runners=runners,
            no_runner=no_runner,
            watchers=Watchers(),
            created=created,
        )
        undo.pop_all()
        return runtime


def _enrolled(where: Home, origin: str) -> Signer:
    """This origin's signer; the first start enrols it. A key that went missing is never quietly replaced."""
    if origin not in load_trusted(where.trust):
        enroll(origin, where.keys, where.trust)
    return load_signer(origin, where.keys, where.trust)


def open_log(where: Home, origin: str, clock: Clock, settings: AuditSettings, *, observe: bool = False) -> AuditLog:
    """Take `origin` for this process. Raises OriginBusy, LogDamaged, NotRecorded, KeyProblem."""
    named = settings.witness
    return AuditLog(
        where.audit,
        where.checkpoints,
        _enrolled(where, origin),
        clock,
        keys=load_keyrings(where.trust)[origin],
        report=lambda aside: encode(
            LogRepaired(f"{aside.size} bytes that stood where record {aside.seq} belongs", (aside.path.name,)),
            observe=observe,
        ),
        cadence=Cadence(
            records=settings.checkpoint_every,
            seconds=settings.checkpoint_seconds,
            rotate_bytes=settings.rotate_mb << 20,
            rotate_seconds=settings.rotate_hours * 3600,
        ),
        witnessing=_witnessing(where, named) if named is not None else None,
    )


def _witnessing(where: Home, named: WitnessSettings) -> Witnessing:
    try:
        keys = (WitnessKey.parse(named.key),) if named.key is not None else ()
    except NoteInvalid as error:
        raise SettingsError(f"settings.yaml, audit.witness.key: {error.why}") from error
    return Witnessing(open_witness(where, named), keys=keys, required=named.required, close_s=2 * named.timeout_s)


def open_witness(where: Home, named: WitnessSettings) -> Witness:
    """The witness that the policy names. Nothing is asked of it yet."""
    if named.url is not None:
        return HttpWitness(named.url, named.timeout_s)
    return Book(Path(str(named.folder)).expanduser(), lambda: load_keyrings(where.trust))


def clearing_rules(
    policy: PolicySet, authorize: Authorize, where: Home, sandbox_of: Callable[[str, CallContext], str | None]
) -> Rules:
    """The policy as far as it concerns approvals. `sandbox_of` says in what a tool would run for this caller."""
    return Rules(
        contracts={tool: loaded.contract for tool, loaded in policy.contracts.items()},
        approvers=policy.approvers.approvers,
        may_approve=authorize.may_approve,
        trusted_hosts=EnrolledHosts(where.trust),
        sandbox_of=sandbox_of,
        pending_requests=policy.settings.loop.pending_requests,
    )


def newest_in(where: Home) -> Callable[[], int]:
    """The wall time of the newest record, whenever it is asked for."""
    return lambda: newest_record_ns(where.audit)


@without_collecting()
def compile_policy(policy: PolicySet, runtime: Runtime) -> Policy:
    """One policy version, compiled: every stage, every contract, every tool list. Raises PolicyError."""
    settings = policy.settings
    observe = permission(policy) if runtime.observe else None
    contracts = {tool: loaded.contract for tool, loaded in policy.contracts.items()}
    versions = lines(contracts)
    grants = checked_grants(policy.access)
    authorize = Authorize(grants, policy.refs())
    compiled = compile_contracts(policy, runtime.roots)
    boxes = {
        tool: runtime.runners[contract.execution.sandbox].identity()
        for tool, contract in contracts.items()
        if contract.execution.sandbox in runtime.runners and contract.execution.sandbox is not None
    }
    record = Record(
        runtime.log,
        runtime.keys.digest,
        preview_chars=settings.audit.preview_chars,
        sandboxes=boxes,
        authority={tool: contract.authority for tool, contract in contracts.items()},
        personal={tool: each.personal for tool, each in compiled.items() if each.personals},
        subjects=runtime.subjects,
        kept={tool: runtime.kept for tool, contract in contracts.items() if contract.result.keep},
        labels={tool: dict(contract.result.labels) for tool, contract in contracts.items()},
        roles=authorize.roles,
        observe=observe,
    )
    doors = {tool: _door(contract, compiled[tool], runtime) for tool, contract in contracts.items()}
    exits = {tool: _exit(each, compiled[tool]) for tool, each in contracts.items()}
    if observe is not None:
        doors = Uncontracted(doors, open_door())
        exits = Uncontracted(exits, open_exit(values=observe.arguments == "values"))
    execute = Execute(runtime.registry, doors, runtime.watchers)
    rules = clearing_rules(policy, authorize, runtime.home, execute.sandbox_of)
    newest = newest_in(runtime.home)
    stages = Stages(
        digest=policy.digest,
        admit=Admit(
            runtime.kill_switches,
            runtime.breaker,
            concurrent_calls=settings.loop.concurrent_calls,
            depth=settings.loop.depth,
            lines=versions,
        ),
        parse=Parse(settings.arguments, runtime.keys.digest),
        authorize=authorize,
        limit=Limit(settings.loop, {tool: each.limits for tool, each in contracts.items()}, runtime.counters, versions),
        validate=Validate(
            compiled,
            runtime.keys.digest,
            runtime.facts,
            spell=runtime.keys.spellings,
            ledger=BudgetLedger(runtime.database, runtime.clock),
            lines=versions,
        ),
        clear=Clear(
            runtime.store,
            rules,
            sealer=runtime.keys,
            clock=runtime.clock,
            origin=runtime.origin,
            newest_log_ns=newest,
        ),
        record=record,
        execute=execute,
        release=Release(exits, runtime.secrets, withholds=observe is None),
        locks=runtime.locks,
        order=runtime.order,
        beside=runtime.beside,
        ordered={tool: longest_s(each.execution) for tool, each in contracts.items() if each.ordered},
    )
    runtime.secrets.look_for(settings.secret_patterns)
    runtime.breaker.most = settings.loop.consecutive_denials
    return Policy(
        stages=stages,
        tools=ToolLists(contracts),
        desk=Desk(runtime.store, rules, sealer=runtime.keys, clock=runtime.clock, newest_log_ns=newest),
        inline=Uncontracted({tool: each.execution.inline for tool, each in contracts.items()}, observe is not None),
        turns_per_run=settings.loop.turns_per_run,
        repeats=settings.loop.repeats,
        on_secret=settings.answer.on_secret,
        deliver_with=settings.answer.deliver_with,
        requests=request_rules(settings, contracts),
        faces=faces(contracts),
        passage=Passage if observe is None else Observing,
    )


def compile_contracts(
    policy: PolicySet, roots: Mapping[str, str], network: Network | None = None
) -> dict[str, CompiledContract]:
    """Every contract, compiled. `roots` stand beside those of settings.yaml. Raises PolicyError."""
    known = policy.settings.roots | dict(roots)
    budgets = policy.settings.budgets
    return {tool: _compiled(loaded, known, network, budgets) for tool, loaded in policy.contracts.items()}


def named_roots(policy: PolicySet) -> frozenset[str]:
    """The folders that path guards name: settings.yaml or the host gives them."""
    guards = [guard for loaded in policy.contracts.values() for guard in loaded.contract.guards.values()]
    return frozenset(guard.root for guard in guards if isinstance(guard, PathGuard))


def _compiled(
    loaded: LoadedContract, roots: Mapping[str, str], network: Network | None, budgets: Mapping[str, Budget]
) -> CompiledContract:
    contract = loaded.contract
    lines = {rule.id: loaded.provenance("rules", i).line for i, rule in enumerate(contract.rules)}
    for part in ("parameters", "approval"):
        lines[part] = loaded.provenance(part).line
    return CompiledContract.build(contract, loaded.ref, roots=roots, lines=lines, network=network, budgets=budgets)


def _door(contract: Contract, compiled: CompiledContract, runtime: Runtime) -> Door:
    profile = contract.execution.sandbox
    return Door(
        execution=contract.execution,
        repeatable=contract.idempotent or contract.effect == "none",
        fresh=compiled.fresh,
        runner=runtime.runners.get(profile) if profile is not None else None,
        why_no_runner=runtime.no_runner.get(profile, f"no profile {profile!r}") if profile is not None else "",
    )


def _exit(contract: Contract, own: CompiledContract) -> Exit:
    if contract.result.schema_ is None:
        return Exit(contract.result, None, own.quotable)
    compiled = compile_schema(contract.result.schema_, where="result/schema", root_object=False)

    def problems(value: Any) -> str | None:
        found = compiled.problems(value)
        return "; ".join(str(problem) for problem in found) if found else None

    return Exit(contract.result, problems, own.quotable)
