"""The command tree, and the one place where an error becomes an exit code and a line that says what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli import approvals, approvers, audit, budget, custody, doctor, init, kill, policy, sandbox
from gateway.cli.present import Group, problem

app = typer.Typer(
    name="toolgate",
    cls=Group,
    help="Toolgate decides whether an agent's tool call happens, and keeps evidence of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(name="init")(init.init)
app.command(name="doctor")(doctor.doctor)
app.add_typer(approvals.app, name="approvals")
app.add_typer(approvers.app, name="approvers")
custody.register(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.command(name="budget")(budget.budget)
app.add_typer(kill.app, name="kill")
app.add_typer(sandbox.app, name="sandbox")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"toolgate {version('toolgate')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the command."""


def run() -> None:
    try:
        app()
    except Exception as error:  # every error of ours ends as one line and an exit code; any other is raised again
        from gateway.domain.errors import ToolgateError

        if not isinstance(error, ToolgateError | OSError):
            raise  # a mistake of ours: the traceback is what a report needs
        problem(str(error))
        sys.exit(2)
