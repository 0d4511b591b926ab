"""`toolgate doctor`: everything that must be true before a start, one line each."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, paragraph, print_json, safe

_STYLES = {"ok": "good", "warning": "warn", "failed": "bad"}


def doctor(
    policies: Policies = DEFAULT_POLICIES,
    home: Root = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings too.")] = False,
    as_json: Json = False,
) -> None:
    """Look at everything that must be true before a start, and say what to do where it is not. Changes nothing."""
    from dataclasses import asdict

    from gateway.doctor import examine

    checks = examine(policies, home)
    if as_json:
        print_json([asdict(each) for each in checks])
    else:
        width = max(len(each.name) for each in checks)
        for each in checks:
            said = f"{each.verdict:8} {each.name:{width}} {safe(each.said)}"
            paragraph(said, each.verdict, _STYLES[each.verdict], indent=0, hang=10 + width)
            paragraph(safe(each.mend), indent=9, hang=0)
    worst = {each.verdict for each in checks}
    if "failed" in worst or (strict and "warning" in worst):
        raise typer.Exit(1)
