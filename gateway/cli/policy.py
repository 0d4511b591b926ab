"""`toolgate policy`: check a policy, put it into force, see what is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.policy_change import apply, diff
from gateway.cli.policy_replay import explain, impact, unused
from gateway.cli.present import (
    DEFAULT_POLICIES,
    Group,
    Json,
    Policies,
    Root,
    paragraph,
    print_json,
    safe,
    styled,
    table,
)
from gateway.cli.scaffold import scaffold
from gateway.cli.standing import standing_lines

app = typer.Typer(
    cls=Group, help="The policy files: check them, apply them, see what is in force.", no_args_is_help=True
)

app.command()(apply)
app.command()(diff)
app.command()(explain)
app.command()(impact)
app.command()(unused)
app.command()(scaffold)


@app.command()
def check(policies: Policies = DEFAULT_POLICIES, as_json: Json = False) -> None:
    """Read every file as a gateway would, applied or not. Exit code 2 names what is wrong, with file and line."""
    from gateway.policy_tools.apply import candidate

    found = candidate(policies)
    if as_json:
        print_json({"digest": found.digest, "files": dict(found.files), "tools": sorted(found.contracts)})
    else:
        said = f"good: {len(found.contracts)} tools, {len(found.files)} files, {found.digest}"
        paragraph(said, "good", "good", indent=0)


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
    if found.lock is None and found.epoch is not None:
        typer.echo(styled(f"{found.epoch} is in force, and {policies} has no lock", "bad"))
        typer.echo("  until `toolgate policy apply` writes one, gateways refuse every call; or name another --policies")
    elif found.lock is None:
        typer.echo("no policy was ever applied here: what stands in the folder counts at each start")
    else:
        typer.echo(f"applied {found.lock.digest}\n  by {safe(found.lock.applied_by)} at {safe(found.lock.applied_at)}")
        if found.edited:
            typer.echo(styled("  the files were edited since; the edits are not in force", "warn"))
    rows = [
        (safe(w.origin), str(w.pid), safe(w.version), w.mode.upper(), w.digest[:19], "kept" if w.fault else "follows")
        for w in found.workers
    ]
    if not rows:
        typer.echo("no gateway is running")
        return
    table(rows, ("gateway", "pid", "version", "mode", "runs", "state"))
    for line in standing_lines(found.workers):
        typer.echo(line)


@app.command("test")
def run_tests(
    policies: Policies = DEFAULT_POLICIES,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the results as JUnit XML too.", show_default=False)
    ] = None,
    least: Annotated[
        float, typer.Option("--least", min=0, max=100, help="Per cent of rules and grants that cases must meet.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Run the decision tables in tests/. Exit code 1 if a case does not come out as expected, or too little is met."""
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
        for word, counts in (("rules", report.rules), ("grants", report.grants)):
            met = sum(1 for count in counts.values() if count)
            typer.echo(f"{word} that some case met: {met} of {len(counts)}")
        for untested in (*report.unmet_rules, *report.unmet_grants):
            typer.echo(f"  {styled('untested', 'warn')}: {untested}")
        if not report.results:
            typer.echo("there are no tables: write tests/<name>.yaml in the policy folder")
    if report.coverage < least:
        typer.echo(f"{report.coverage:.0f}% of rules and grants are met, {least:.0f}% are asked for", err=True)
    if not report.ok or report.coverage < least:
        raise typer.Exit(1)


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
            word = "bad" if finding.level == "error" else "warn"
            paragraph(f"{finding.place}: {finding.level} {finding.code}: {safe(finding.what)}", finding.level, word, 0)
            paragraph(safe(finding.mend), indent=4, hang=0)
        typer.echo("nothing to find" if not findings else f"{len(findings)} finding(s)")
    if any(finding.level == "error" for finding in findings) or (strict and findings):
        raise typer.Exit(1)


@app.command()
def schema(
    folder: Annotated[
        Path | None, typer.Argument(help="Where to. Default: schemas/ in the policy folder.", show_default=False)
    ] = None,
    policies: Policies = DEFAULT_POLICIES,
    as_json: Json = False,
) -> None:
    """Write the JSON Schema of each document, so that editors complete and check policy files."""
    from gateway.policy.folder import must_exist
    from gateway.policy_tools.schemas import FOLDER, modeline, write_schemas

    if folder is None:
        must_exist(policies)
    written = list(write_schemas(folder or policies / FOLDER))
    first = modeline("contract", deep=True)
    if as_json:
        print_json({"wrote": written, "first_line": first})
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"first line of a file in tools/: {first}")
