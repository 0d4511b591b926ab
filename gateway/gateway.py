"""The public object: one gateway for one policy folder, in one process.

gateway = Gateway.from_policies("policies/")
gateway.register(get_order_status)
session = gateway.session(Principal("ana"), conversation="c-1")
messages += session.dispatch_sync(message.tool_calls)
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, final, overload

from gateway.alarm import alarm
from gateway.audit.encode import clip
from gateway.audit.port import Log
from gateway.domain.errors import AuditUnavailable, ContractMismatch, PolicyError, ToolgateError, UsageError
from gateway.domain.event import (
    DenialsCoalesced,
    Event,
    PolicyLoaded,
    PolicyRefused,
    ProcessStarted,
    ProcessStopped,
)
from gateway.domain.ids import Principal, check_id, new_id
from gateway.domain.scope import Scope
from gateway.execute.registry import ToolRef
from gateway.execute.watch import CodeOutput
from gateway.follow import Follower
from gateway.observe import permission
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicySet
from gateway.policy.signature import signature_mismatches
from gateway.session import Defer, Engine, Policy, Session
from gateway.settings import check_origin, default_origin, locate
from gateway.state.epoch import Worker
from gateway.waiting import Blocking, drive
from gateway.wiring import Runtime, compile_policy, open_runtime

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

    from gateway.policy_tools.shadow import Shadow

OBSERVING = "observe mode: nothing is denied; every call is decided, recorded as it would have been, and let through"

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound="OpenAI | AsyncOpenAI")


@final
class Gateway:
    """Decides, runs and records every tool call of this process. Close it, or use it as a context manager."""

    def __init__(
        self, path: Path, policy_set: PolicySet, policy: Policy, runtime: Runtime, beside: Shadow | None = None
    ) -> None:
        """Use `from_policies`."""
        self._path = path
        self._set = policy_set
        self._policy = policy
        self._runtime = runtime
        self._beside = beside
        self._closed = False
        self._pid = os.getpid()
        self._reloading = threading.Lock()
        self._telling = threading.Lock()
        self._follower: Follower | None = None
        now = runtime.clock.now().wall_ns
        mode = "observe" if runtime.observe else "enforce"
        self._standing = Worker(runtime.origin, os.getpid(), _version(), mode, policy_set.digest, now)
        self._engine = Engine(
            policy=lambda: self._policy,
            clock=runtime.clock,
            key=runtime.keys.digest,
            workers=runtime.workers,
            own=runtime.own,
            own_loop=runtime.own_loop,
            host_key_id=runtime.signer.verifier.key_id.hex(),
            host_sign=runtime.signer.sign_bytes,
            seal=runtime.keys,
            record=policy.stages.record,
        )

    @classmethod
    def from_policies(
        cls,
        path: str | Path,
        *,
        home: str | Path | None = None,
        origin: str | None = None,
        roots: Mapping[str, str | Path] | None = None,
        log: Log | None = None,
        observe: bool = False,
        shadow: str | Path | None = None,
    ) -> Self:
        """Load `path`, check it, and open this process's place in the audit log.

        `home` is where state, keys and log live (default: TOOLGATE_HOME, else `.toolgate` beside the policies).
        `origin` names this process in the log; two live processes need two names. `roots` names the folders that path
        guards may open files beneath. `log` replaces the log on disk, for measurements only.

        With `observe=True` NOTHING IS DENIED: every call is decided, recorded as it would have been, and let through
        (docs/howto/observe.md). The policy must permit it too, with `observe:` in settings.yaml. `shadow` is the folder
        of a candidate policy to be judged beside this one: differences are recorded, and nothing else comes of it.

        Raises PolicyError (a file is wrong), SettingsError (an unsafe start), AuditUnavailable (the log).
        """
        if type(observe) is not bool:
            raise UsageError(f"`observe` is True or False, written in the code, not a {type(observe).__name__}")
        policy_set = load(path)
        if observe:
            permission(policy_set)
        where = locate(Path(path), None if home is None else Path(home))
        runtime = open_runtime(
            where,
            policy_set,
            origin=check_origin(origin or default_origin()),
            roots={name: Path(folder) for name, folder in (roots or {}).items()},
            log=log,
            observe=observe,
        )
        if observe:
            alarm().warning("observing", effect=OBSERVING, home=str(where.state.parent))
        beside = None
        try:
            if shadow is not None:
                from gateway.policy_tools.shadow import Shadow  # brings the tools of policy writers, which are many

                beside = runtime.beside = Shadow(Path(shadow))
            gateway = cls(Path(path), policy_set, compile_policy(policy_set, runtime), runtime, beside)
            notes = (OBSERVING,) if observe else ()
            key = runtime.keys.digest.id
            gateway._note(ProcessStarted(os.getpid(), socket.gethostname(), _version(), policy_set.digest, key, notes))
            gateway._note(PolicyLoaded(policy_set.digest, dict(policy_set.files)))
            for expired in gateway._policy.desk.expire():
                gateway._note(expired)
            if beside is not None:
                beside.start(
                    lambda: gateway._set,
                    lambda: gateway._policy.stages.record,
                    gateway._note,
                    gateway._report,
                )
            gateway._report()
        except BaseException:
            runtime.close()
            raise
        if runtime.created:
            alarm().info(
                "first_start",
                home=str(where.state.parent),
                created=runtime.created,
                production="set TOOLGATE_KEYS, TOOLGATE_CHECKPOINTS and TOOLGATE_TRUST to places of their own: "
                "whoever can write the log must not be able to write what it is checked against",
            )
        gateway._follower = Follower(Path(path), gateway.reload)
        atexit.register(gateway._at_exit)  # after the log's own, so before it: exit functions run in reverse
        return gateway

    # tools

    @overload
    def tool(self, function: F) -> ToolRef: ...

    @overload
    def tool(self, *, name: str) -> Callable[[F], ToolRef]: ...

    def tool(self, function: F | None = None, *, name: str | None = None) -> ToolRef | Callable[[F], ToolRef]:
        """Decorator: the function becomes a governed tool, and its name a `ToolRef` that cannot be called (I11)."""
        if function is not None:
            return self.register(function)
        return lambda fn: self.register(fn, name=name)

    def register(self, function: Callable[..., Any], *, name: str | None = None) -> ToolRef:
        """Govern `function` by the contract `tools/<name>.yaml`. Raises ContractMismatch if the two disagree.

        A tool whose calls may wait for a person belongs at the top of a module: after a restart another process has
        to register the same function. A closure or lambda raises an alarm and is registered all the same.
        """
        tool = name or str(getattr(function, "__name__", type(function).__name__))
        self._check(self._set, tool, function)
        made = self._runtime.registry.add(tool, function)
        if tool in self._set.contracts and self._set.contracts[tool].contract.may_park:
            self._runtime.registry.check_importable(tool)
        return made

    def register_fact(self, name: str, provider: Callable[..., Any]) -> None:
        """Let rules ask `provider` for a fact. It gets a `FactContext` and the arguments the contract names."""
        self._runtime.facts.register(name, provider)

    def declare_secret(self, name: str, value: str) -> None:
        """`value` must never reach a model: it is masked in results and refused in final answers."""
        if len(value) < 8:
            raise UsageError(f"the secret {name!r} is shorter than 8 characters; masking it would mask ordinary words")
        self._runtime.secrets.declare(name, value)

    # the policy

    def reload(self) -> bool:
        """Take over what stands in the policy folder now, whole or not at all (I6). True if it is in force.

        Called by itself when `toolgate policy apply` has written the lock, and on SIGHUP. On any error the last good
        set stays in force, and the error is recorded, raised as an alarm, and shown by `toolgate policy status`.
        """
        with self._reloading:
            runtime, before = self._runtime, self._set.digest
            if self._beside is not None:
                self._beside.load()
            try:
                found = load(self._path)
                if found.digest == before:
                    self._report(fault="", fault_wall_ns=0)
                    return True
                if found.sandbox_profiles != self._set.sandbox_profiles:
                    raise PolicyError("a sandbox profile has changed: start the gateway again", file="sandbox/")
                compiled = compile_policy(found, runtime)
                for tool in runtime.registry.names():
                    self._check(found, tool, runtime.registry.function(tool))
            except ToolgateError as error:
                alarm().error("policy_refused", fault=str(error), effect=f"{before} stays in force")
                self._note(PolicyRefused(before, clip(str(error))))
                self._report(fault=clip(str(error)), fault_wall_ns=runtime.clock.now().wall_ns)
                return False
            self._note(PolicyLoaded(found.digest, dict(found.files)))
            self._set, self._policy = found, compiled
            now = runtime.clock.now().wall_ns
            self._report(digest=found.digest, since_wall_ns=now, fault="", fault_wall_ns=0)
            return True

    def _report(self, **changed: Any) -> None:
        """Say in the shared database what this process runs, for `toolgate policy status`."""
        shadow = asdict(self._beside.tally) if self._beside is not None else None
        with self._telling:
            if self._closed:
                return
            self._standing = replace(self._standing, shadow=shadow, **changed)
            self._runtime.epoch.report(self._standing)

    def _check(self, policy_set: PolicySet, tool: str, function: Callable[..., Any]) -> None:
        """Raise ContractMismatch unless `function` can stand for `tool` under this policy.

        In observe mode a tool may have no contract; one it has must fit all the same.
        """
        loaded = policy_set.contracts.get(tool)
        if loaded is None and self._runtime.observe:
            return
        if loaded is None:
            raise ContractMismatch(f"{tool!r} has no contract: write tools/{tool}.yaml, or register it by another name")
        if loaded.contract.execution.sandbox is not None:
            raise ContractMismatch(f"{tool!r} runs in a sandbox, so no function of this process can stand for it")
        problems = signature_mismatches(loaded.contract, function)
        if problems:
            raise ContractMismatch(f"{tool!r} and {loaded.ref.source} disagree: {'; '.join(problems)}")

    def artifact(self, sha256: str) -> bytes | None:
        """A file that sandboxed code gave back, by the digest in the tool's result; None once it is forgotten.

        Held in memory by this process, the oldest forgotten first. The code's claim: treat it like an upload.
        """
        found = (runner.artifact(sha256) for runner in self._runtime.runners.values())
        return next((content for content in found if content is not None), None)

    def watch_code(self, watcher: Callable[[CodeOutput], None] | None) -> None:
        """Tell `watcher` what sandboxed code prints, as it comes, in a thread of its own; None: nobody any more.

        For operators: safe to print, not redacted, and never for an agent, which gets it after release.
        """
        self._runtime.watchers.watch(watcher)

    # conversations

    def session(
        self,
        principal: Principal,
        *,
        conversation: str | None = None,
        on_behalf_of: Principal | None = None,
        defer: Defer = "answer",
        scope: Scope | None = None,
    ) -> Session:
        """One conversation of one authenticated principal.

        `defer` says what happens to a call that waits for a person: `answer` tells the model that it is pending,
        `pause` holds the whole turn back until it is decided. `scope` narrows the session to a task: fewer tools, or
        bounds on their arguments, and never more than the principal has.
        """
        if type(principal) is not Principal:
            raise UsageError(f"a session belongs to a Principal, not to a {type(principal).__name__}")
        if on_behalf_of is not None and type(on_behalf_of) is not Principal:
            raise UsageError(f"a principal acts on behalf of a Principal, not of a {type(on_behalf_of).__name__}")
        if defer not in ("answer", "pause"):
            raise UsageError(f"`defer` is 'answer' or 'pause', not {defer!r}")
        if scope is not None:
            if type(scope) is not Scope:
                raise UsageError(f"a session is narrowed by a Scope, not by a {type(scope).__name__}")
            self._policy.stages.validate.check_scope(scope)
        name = check_id("a conversation id", conversation) if conversation is not None else new_id("conversation")
        return Session(self._engine, principal, name, on_behalf_of, defer, scope)

    @staticmethod
    def openai(client: C, session: Session) -> C:
        """An `openai` client, wrapped in place: the same class and methods, governed (`integrations.openai.wrap`)."""
        from gateway.integrations.openai import wrap  # brings the client library, which is slow to import

        return wrap(client, session)

    # the process

    @property
    def policy_digest(self) -> str:
        """Of every file of the policy in force here: `sha256:` and 64 hex digits, as records name it."""
        return self._set.digest

    @property
    def observing(self) -> bool:
        """True in observe mode: nothing is denied in this process."""
        return self._runtime.observe

    @property
    def healthy(self) -> bool:
        """False while the audit log cannot be written: every call is denied until it can."""
        return self._policy.stages.record.healthy

    @property
    def concerns(self) -> tuple[str, ...]:
        """What an operator should look at although calls go on, such as a witness that cannot be reached."""
        return self._runtime.log.concerns

    @property
    def home(self) -> Path:
        """The folder that holds state, keys and log."""
        return self._runtime.home.state.parent

    @property
    def unavailable(self) -> dict[str, str]:
        """Granted tools that cannot run in this process, and why."""
        stages = self._policy.stages
        found = {tool: stages.execute.unready(tool) for tool in self._set.contracts}
        return {tool: refusal.detail for tool, refusal in found.items() if refusal is not None}

    def close(self) -> None:
        """Record the stop, sign the log, give everything back. Idempotent."""
        self._close("closed")

    def _at_exit(self) -> None:
        """A program that ends without closing: its stop is a record too. A forked child is not the program."""
        if os.getpid() != self._pid:
            return
        try:
            self._close("exit")
        except AuditUnavailable as fault:  # an exit function can raise nothing to anybody, nor change the exit status
            alarm().error("stop_not_recorded", fault=str(fault))

    def _close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        if self._follower is not None:
            self._follower.close()
        if self._beside is not None:
            self._beside.close()
        try:
            self._runtime.epoch.gone(self._runtime.origin)
            for principal, conversation, count in self._runtime.breaker.drain():
                self._note(DenialsCoalesced(principal, conversation, count))
            self._note(ProcessStopped(reason))
        finally:
            self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note(self, event: Event) -> None:
        drive(self._policy.stages.record.event(event, Blocking(self._runtime.workers, self._runtime.own_loop)))


def _version() -> str:
    try:
        return version("toolgate")
    except PackageNotFoundError:
        return "unpackaged"
