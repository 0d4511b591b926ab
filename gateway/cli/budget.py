"""`toolgate budget`: what is spent of a budget, what is held, and what is left."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.present import DEFAULT_POLICIES, Json, Policies, Root, print_json, safe, table

Name = Annotated[str, typer.Argument(help="A budget of settings.yaml.", show_default=False)]
Of = Annotated[
    list[str] | None,
    typer.Option("--of", help="Only the account so named: PATH=VALUE for each path of `per`.", show_default=False),
]


def budget(
    name: Name, of: Of = None, policies: Policies = DEFAULT_POLICIES, home: Root = None, as_json: Json = False
) -> None:
    """What the accounts of a budget have spent and hold now, and what is left.

    Accounts are named by keyed digests. To find whose one is, name it with --of.
    """
    from gateway.domain.charge import in_words
    from gateway.office import Office

    with Office.open(policies, home) as office:
        found, accounts = office.budget(name, _named(of))
    rows = [
        {
            "account": each.account,
            "spent": in_words(each.spent),
            "running": in_words(each.reserved),
            "unknown": in_words(each.unknown),
            "left": in_words(max(0, found.units - each.used)),
            "calls": list(each.calls),
        }
        for each in accounts
    ]
    if as_json:
        print_json({"budget": name, "max": in_words(found.units), "window_s": found.window_s, "accounts": rows})
        return
    typer.echo(f"{safe(name)}: {in_words(found.units)} in {found.window_s} s")
    if not rows:
        typer.echo("nothing is spent" + (" of this account" if of else ""))
        return
    columns = ("account", "spent", "running", "unknown", "left")
    table(((_short(str(row["account"])), *(str(row[each]) for each in columns[1:])) for row in rows), columns)
    for call in (call for each in accounts for call in each.calls):
        typer.echo(f"find out what became of {safe(call)}, then: toolgate audit settle")


def _short(text: str) -> str:
    """Of a keyed digest enough to tell it from others."""
    return safe(text.rpartition(":")[2])[:12]


def _named(of: list[str] | None) -> dict[str, str] | None:
    if of is None:
        return None
    if bad := next((each for each in of if "=" not in each), None):
        raise typer.BadParameter(f"{bad!a} is not PATH=VALUE")
    return dict(each.split("=", 1) for each in of)
