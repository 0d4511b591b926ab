"""`toolgate policy explain`, `impact` and `unused`: what a policy decides of calls, imagined or recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, paragraph, print_json, problem, safe, styled

if TYPE_CHECKING:  # the command line loads what a command needs when it runs
    from gateway.policy_tools.dry import Verdict
    from gateway.policy_tools.explain import Explanation

_ID: Final = re.compile(r"(?:call|req)_[0-9a-f]{32}")

Log = Annotated[
    Path | None,
    typer.Option("--log", help="The audit folder to replay. Default: the deployment's own.", show_default=False),
]


def believed(log: Path | None, policies: Path, home: Path | None) -> tuple[Path, list[str] | None]:
    """The audit folder, and the origins in it that count: the enrolled ones, or all of a folder that was named."""
    from gateway.audit.intents import origins_of_log
    from gateway.settings import locate
    from gateway.starting import enrolled_origins

    if log is not None:
        return log, None
    where = locate(policies, home)
    there = origins_of_log(where.audit)
    enrolled = enrolled_origins(where)
    for stranger in sorted(set(there) - set(enrolled)):
        problem(f"the origin {stranger} is left out: nobody enrolled it, so its records prove nothing")
    return where.audit, enrolled


def impact(
    candidate: Annotated[Path, typer.Argument(help="The policy folder that would be applied.")],
    log: Log = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show so many single calls.")] = 10,
    as_json: Json = False,
) -> None:
    """Which recorded calls a candidate would decide otherwise. Exit code 1 if there are any."""
    from gateway.policy.loader import load
    from gateway.policy_tools.impact import impact as impact_of

    found = impact_of(load(candidate, locked=False), *believed(log, policies, home))
    if as_json:
        print_json(
            {
                "judged": found.judged,
                "same": found.same,
                "undecidable": dict(found.undecidable),
                "changes": [
                    {
                        "call": change.call.call_id,
                        "place": f"{change.call.origin}#{change.call.seq}",
                        "tool": change.call.question.tool,
                        "principal": change.call.question.principal,
                        "roles": list(change.call.roles),
                        "before": change.call.decision,
                        "after": change.after,
                        "rule": change.rule or None,
                    }
                    for change in found.changes
                ],
            }
        )
    else:
        typer.echo(
            f"{found.judged} recorded calls judged again: {found.same} as before, {len(found.changes)} otherwise"
        )
        for (kind, tool, who, rule), count in found.groups():
            word = styled(kind, "bad" if kind.startswith("deny") else "warn")
            typer.echo(f"  {count:5}  {word}  {safe(tool)} by {safe(who)}{f'  ({rule})' if rule else ''}")
        for change in found.changes[:limit]:
            place = f"{safe(change.call.origin)}#{change.call.seq}"
            typer.echo(styled(f"         {place}  {safe(change.call.call_id)}", "dim"))
        for why, count in found.undecidable.most_common():
            typer.echo(f"  {count:5}  undecidable: {safe(why)}")
    if found.changes:
        raise typer.Exit(1)


def unused(
    log: Log = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_patch: Annotated[
        bool, typer.Option("--patch", help="Print policy.csv without the unused rows, as a patch.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Grants, tools and rules that no recorded call used: candidates for removal."""
    from gateway.policy.loader import load
    from gateway.policy_tools.recorded import RecordedCalls
    from gateway.policy_tools.unused import patch
    from gateway.policy_tools.unused import unused as unused_in

    policy = load(policies, locked=False)
    found = unused_in(policy, RecordedCalls(*believed(log, policies, home)))
    if found.unreadable:
        problem(f"{found.unreadable} record(s) cannot be read, and may have been uses: see `toolgate audit verify`")
    if as_patch:
        typer.echo(patch(policy, found), nl=False)
        return
    if as_json:
        told: dict[str, object] = {"grants": found.grants, "tools": list(found.tools), "rules": list(found.rules)}
        print_json(told | {"unreadable": found.unreadable})
        return
    for grant in found.grants:
        typer.echo(f"  grant  {safe(grant)}")
    for tool in found.tools:
        typer.echo(f"  tool   {safe(tool)}")
    for rule in found.rules:
        typer.echo(f"  rule   {safe(rule)}")
    if not (found.grants or found.tools or found.rules):
        typer.echo("every grant, tool and rule was used")


def explain(
    call: Annotated[
        str, typer.Argument(help="The tool that would be called, or the id of a recorded call or request.")
    ],
    arguments: Annotated[str, typer.Argument(help="The arguments, as JSON.")] = "{}",
    principal: Annotated[str, typer.Option("--as", help="Who would call it.")] = "",
    on_behalf_of: Annotated[str | None, typer.Option("--for", help="On whose behalf.", show_default=False)] = None,
    facts: Annotated[str, typer.Option("--facts", help="Facts by name, as JSON.")] = "{}",
    left: Annotated[str, typer.Option("--left", help="What budgets have left by name, as JSON.")] = "{}",
    log: Log = None,
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    as_json: Json = False,
) -> None:
    """What becomes of a call, step by step, which line decides, and what would have to change. Never for a model."""
    import json

    from gateway.policy.loader import load
    from gateway.policy_tools.dry import DryRun, Question, facts_given
    from gateway.policy_tools.nearest import nearest
    from gateway.policy_tools.present import verdict_as_json

    if _ID.fullmatch(call) and not principal:
        _explain_recorded(call, log, policies, home, as_json=as_json)
        return
    if not principal:
        raise typer.BadParameter("say who would call it with --as, or give the whole id of a recorded call or request")
    try:
        given, budgets = json.loads(facts), json.loads(left)
    except ValueError as error:
        raise typer.BadParameter(f"--facts or --left is not JSON: {error}") from error
    with DryRun(load(policies, locked=False)) as run:
        tool = run.governing(call)
        asked = Question(principal, tool, arguments, on_behalf_of, facts=facts_given(given), left=budgets)
        verdict = run.judge(asked)
        changes = nearest(run, asked, verdict)
    if as_json:
        print_json(verdict_as_json(verdict) | {"would_allow_it": list(changes)})
        return
    _show(verdict, changes)


def _explain_recorded(named: str, log: Path | None, policies: Path, home: Path | None, *, as_json: bool) -> None:
    from gateway.policy.loader import load
    from gateway.policy.lock import read_lock
    from gateway.policy_tools.explain import explain as explain_past
    from gateway.policy_tools.explain import find
    from gateway.policy_tools.kept import kept
    from gateway.policy_tools.present import verdict_as_json
    from gateway.settings import locate

    where = locate(policies, home)
    audit, origins = believed(log, policies, home)
    past = find(audit, named, origins)
    if past is None:
        typer.echo(f"no log under {audit} has {named}; --log names another folder", err=True)
        raise typer.Exit(1)
    found = explain_past(past, load(policies, locked=False), kept(where.state, read_lock(policies)))
    if as_json:
        verdict = verdict_as_json(found.verdict) if found.verdict is not None else None
        print_json(
            {
                "call": past.call.call_id,
                "place": f"{past.call.origin}#{past.call.seq}",
                "time": past.time,
                "principal": past.call.question.principal,
                "tool": past.call.question.tool,
                "recorded": {
                    "decision": past.call.decision,
                    "reason": past.call.reason or None,
                    "only_observed": past.observed,
                    "step": past.step,
                    "detail": past.detail or None,
                    "rule": past.rule or None,
                    "grant": past.grant or None,
                    "policy": past.digest,
                },
                "judged_again": {"under": found.under, "policy": found.digest, "verdict": verdict},
                "why_not": found.why_not or None,
                "would_allow_it": list(found.changes),
            }
        )
        return
    _show_past(found)


def _show_past(found: Explanation) -> None:
    past = found.past
    asked = past.call.question
    behalf = f" for {asked.on_behalf_of}" if asked.on_behalf_of else ""
    paragraph(f"{safe(past.call.origin)}#{past.call.seq}  {safe(past.time)}  {safe(past.call.call_id)}", indent=0)
    paragraph(f"{safe(asked.principal)} called {safe(asked.tool)}{safe(behalf)}")
    said = "only observed, so it ran; would have been" if past.observed else "recorded"
    typer.echo(f"{said}: {_coloured(past.call.decision)} {safe(past.call.reason)}".rstrip())
    if past.detail:
        paragraph(f"at step {past.step}: {safe(past.detail)}")
    for word, line in (("granted by", past.grant), ("decided by", past.rule), ("contract", past.contract)):
        if line:
            paragraph(f"{word} {safe(line)}")
    if found.under == "the same policy":
        typer.echo("the policy has not changed since; judged again:")
    else:
        typer.echo(f"the policy has changed since: {safe(past.digest[:19])} then")
        typer.echo(f"judged again under {found.under} ({found.digest[:19]}):")
    if found.verdict is None:
        paragraph(f"cannot be judged again: {safe(found.why_not)}")
        return
    _show(found.verdict, found.changes)


def _coloured(decision: str) -> str:
    return styled(decision.upper(), {"allow": "good", "deny": "bad", "escalate": "warn"}[decision])


def _show(verdict: Verdict, changes: tuple[str, ...]) -> None:
    for passed in verdict.passed:
        paragraph(f"passed  {passed.step:12} {safe(passed.why)}", "passed", "good", hang=4)
    typer.echo(f"{_coloured(verdict.decision)} {safe(verdict.reason)}".rstrip())
    refusal = verdict.refusal
    if refusal is not None:
        paragraph(f"at step {int(refusal.step)} {refusal.step.name.lower()}: {safe(refusal.detail or refusal.message)}")
        paragraph(f"the model reads: {safe(refusal.message)} {safe(refusal.suggestion)}")
    for need in verdict.needs:
        paragraph(f"needs {safe(need)}")
    for rule in verdict.rules:
        paragraph(f"decided by {rule}")
    if changes:
        typer.echo("it would be allowed if")
    for change in changes:
        paragraph(safe(change))
