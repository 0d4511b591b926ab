"""`toolgate policy`: check a policy, put it into force, see what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.policy_change import apply, diff
from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, print_json, safe, styled, table
from gateway.cli.scaffold import scaffold

app = typer.Typer(help="The policy files: check them, apply them, see what is in force.", no_args_is_help=True)

app.command()(apply)
app.command()(diff)
app.command()(scaffold)


@app.command()
def check(policies: Policies = DEFAULT_POLICIES, as_json: Json = False) -> None:
    """Read every file as a gateway would, applied or not. Exit code 2 names what is wrong, with file and line."""
    from gateway.policy_tools.apply import candidate

    found = candidate(policies)
    if as_json:
        print_json({"digest": found.digest, "files": dict(found.files), "tools": sorted(found.contracts)})
    else:
        typer.echo(f"{styled('good', 'good')}: {len(found.contracts)} tools, {len(found.files)} files, {found.digest}")


@app.command()
def status(policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """What was applied, whether the files were edited since, and what each running gateway runs."""
    from dataclasses import asdict

    from gateway.office import Office
    from gateway.policy_tools.apply import status as in_force

    with Office.open(policies, home) as office:
        found = in_force(office, Path(policies))
    if as_json:
        print_json(asdict(found))
        return
    if found.lock is None:
        typer.echo("no policy was ever applied here: what stands in the folder counts at each start")
    else:
        typer.echo(f"applied {found.lock.digest}\n  by {safe(found.lock.applied_by)} at {safe(found.lock.applied_at)}")
        if found.edited:
            typer.echo(styled("  the files were edited since; the edits are not in force", "warn"))
    rows = [(safe(w.origin), str(w.pid), w.digest[:19], safe(w.fault) or "follows") for w in found.workers]
    if rows:
        table(rows, ("gateway", "pid", "runs", "state"))
    else:
        typer.echo("no gateway is running")


@app.command("test")
def run_tests(
    policies: Policies = DEFAULT_POLICIES,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the results as JUnit XML too.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the decision tables in tests/. Exit code 1 if a case does not come out as expected."""
    from gateway.policy.loader import load
    from gateway.policy_tools.present import junit_xml, report_as_json
    from gateway.policy_tools.tables import read_tables, run_tables

    report = run_tables(load(policies, locked=False), read_tables(policies))
    if junit is not None:
        junit.write_text(junit_xml(report), encoding="utf-8")
    if as_json:
        print_json(report_as_json(report))
    else:
        for result in report.results:
            if result.problem:
                place = f"{result.file}:{result.line}"
                typer.echo(
                    f"{styled('failed', 'bad')}  {place}  {safe(result.case.name)}\n        {safe(result.problem)}"
                )
        failed = sum(1 for result in report.results if result.problem)
        typer.echo(f"{len(report.results) - failed} of {len(report.results)} cases as expected")
        met = report.rules - len(report.unmet_rules), report.grants - len(report.unmet_grants)
        typer.echo(f"rules that decided a case: {met[0]} of {report.rules}; grants used: {met[1]} of {report.grants}")
        for untested in (*report.unmet_rules, *report.unmet_grants):
            typer.echo(f"  {styled('untested', 'warn')}: {untested}")
        if not report.results:
            typer.echo("there are no tables: write tests/<name>.yaml in the policy folder")
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def explain(
    tool: Annotated[str, typer.Argument(help="The tool that would be called.")],
    arguments: Annotated[str, typer.Argument(help="The arguments, as JSON.")] = "{}",
    principal: Annotated[str, typer.Option("--as", help="Who would call it.")] = "",
    on_behalf_of: Annotated[str | None, typer.Option("--for", help="On whose behalf.", show_default=False)] = None,
    facts: Annotated[str, typer.Option("--facts", help="Facts by name, as JSON.")] = "{}",
    policies: Policies = DEFAULT_POLICIES,
    as_json: Json = False,
) -> None:
    """What would become of a call, step by step, and which line decides. For operators: never show it to a model."""
    import json

    from gateway.policy.loader import load
    from gateway.policy_tools.dry import DryRun, Question
    from gateway.policy_tools.present import verdict_as_json

    try:
        given = json.loads(facts)
    except ValueError as error:
        raise typer.BadParameter(f"--facts is not JSON: {error}") from error
    with DryRun(load(policies, locked=False)) as run:
        verdict = run.judge(Question(principal, tool, arguments, on_behalf_of, facts=given))
    if as_json:
        print_json(verdict_as_json(verdict))
        return
    for passed in verdict.passed:
        typer.echo(f"  {styled('passed', 'good')}  {passed.step:12} {safe(passed.why)}")
    colour = {"allow": "good", "deny": "bad", "escalate": "warn"}[verdict.decision]
    typer.echo(f"{styled(verdict.decision.upper(), colour)} {safe(verdict.reason)}".rstrip())
    refusal = verdict.refusal
    if refusal is not None:
        typer.echo(
            f"  at step {int(refusal.step)} {refusal.step.name.lower()}: {safe(refusal.detail or refusal.message)}"
        )
        typer.echo(f"  the model reads: {safe(refusal.message)} {safe(refusal.suggestion)}")
    for need in verdict.needs:
        typer.echo(f"  needs {safe(need)}")
    for rule in verdict.rules:
        typer.echo(f"  decided by {rule}")


@app.command()
def lint(
    policies: Policies = DEFAULT_POLICIES,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings too.")] = False,
    most_tools: Annotated[int, typer.Option("--most-tools", min=1, help="More visible to a role are a finding.")] = 10,
    as_json: Json = False,
) -> None:
    """What is legal and probably not meant. Exit code 1 if there are errors."""
    from dataclasses import asdict

    from gateway.policy.loader import load
    from gateway.policy_tools.lint import lint as findings_of

    findings = findings_of(load(policies, locked=False), most_tools=most_tools)
    if as_json:
        print_json([asdict(finding) | asdict(finding.place) | {"place": str(finding.place)} for finding in findings])
    else:
        for finding in findings:
            word = styled(finding.level, "bad" if finding.level == "error" else "warn")
            typer.echo(f"{finding.place}: {word} {finding.code}: {safe(finding.what)}\n    {safe(finding.mend)}")
        typer.echo("nothing to find" if not findings else f"{len(findings)} finding(s)")
    if any(finding.level == "error" for finding in findings) or (strict and findings):
        raise typer.Exit(1)


Log = Annotated[
    Path | None,
    typer.Option("--log", help="The audit folder to replay. Default: the deployment's own.", show_default=False),
]


@app.command()
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
    from gateway.policy_tools.impact import recorded_calls
    from gateway.settings import locate

    audit = log or locate(policies, home).audit
    found = impact_of(load(candidate, locked=False), recorded_calls(audit))
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


@app.command()
def unused(log: Log = None, policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False) -> None:
    """Grants and tools that no recorded call used: candidates for removal."""
    from gateway.policy.loader import load
    from gateway.policy_tools.impact import recorded_calls
    from gateway.policy_tools.impact import unused as unused_in
    from gateway.settings import locate

    grants, tools = unused_in(load(policies, locked=False), recorded_calls(log or locate(policies, home).audit))
    if as_json:
        print_json({"grants": grants, "tools": tools})
        return
    for grant in grants:
        typer.echo(f"  grant  {safe(grant)}")
    for tool in tools:
        typer.echo(f"  tool   {safe(tool)}")
    typer.echo("every grant and tool was used" if not grants and not tools else "nobody used these in the log")


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where to write the JSON Schemas.")] = Path("schemas"),
) -> None:
    """Write the JSON Schema of each document, so that editors complete and check policy files."""
    import json

    from gateway.policy import documents
    from gateway.policy_tools.tables import Table

    folder.mkdir(parents=True, exist_ok=True)
    models: dict[str, type[documents.Document]] = {
        "contract": documents.Contract,
        "settings": documents.Settings,
        "approvers": documents.Approvers,
        "table": Table,
    }
    for name, model in models.items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(model.model_json_schema(by_alias=True), indent=2) + "\n", encoding="utf-8")
        typer.echo(f"wrote {path}")
    typer.echo("first line of a contract: # yaml-language-server: $schema=<path>/contract.schema.json")
