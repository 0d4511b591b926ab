"""The SQL guard on a real PostgreSQL, as a role that may read everything: only the guard stands between."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.validate.guards import GuardRefused
from tests.unit.validate.test_guard_sql import SCHEMA, USEFUL, statement


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A cluster of its own, over a Unix socket; the role may read everything."""
    tools = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    if not tools or shutil.which("psql") is None:
        pytest.skip("no PostgreSQL here")
    folder = Path("/tmp") / f"guards-pg-{os.getpid()}"  # a socket's path is short, and its owner must reach it
    folder.mkdir(mode=0o700)
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # postgres refuses to run as root
        who = {"user": "nobody", "group": "nogroup"}
        shutil.chown(folder, **who)
    data = folder / "data"

    def run(*command: str | Path) -> None:
        subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=folder, timeout=100, **who)

    try:
        run(tools[0] / "initdb", "-D", data, "-A", "trust", "-U", "owner", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run(tools[0] / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:

            def ask(text: str) -> str:
                asked = ["psql", "-X", "-h", str(folder), "-U", "owner", "-At", "-v", "ON_ERROR_STOP=1", "postgres"]
                done = subprocess.run(asked, input=text, capture_output=True, text=True, timeout=20, check=False)
                return done.stdout + done.stderr

            ask(SCHEMA)
            yield ask
        finally:
            run(tools[0] / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_on_postgres_a_useful_statement_runs(postgres: Callable[[str], str]) -> None:
    for text, _ in USEFUL:
        said = postgres(f"SET default_transaction_read_only = on; {statement(text, 'postgres').text}")
        assert "ERROR" not in said, (text, said)


def test_on_postgres_what_passes_leaks_nothing(postgres: Callable[[str], str]) -> None:
    assert "canary" in postgres("SELECT * FROM secrets")
    for text in (
        "SELECT customers FROM customers",
        "SELECT customers.* FROM customers",
        "SELECT name FROM customers WHERE name = 'x\\' UNION SELECT word FROM secrets --'",
        "SELECT name AS secrets FROM customers",
        "SELECT secrets FROM customers AS secrets",
        'SELECT "a"";SELECT word FROM secrets;--" FROM customers',
        "SELECT 'a'';SELECT word FROM secrets;--' FROM customers",
        "SELECT name FROM customers WHERE name IN ((SELECT name FROM customers))",
    ):
        try:
            made = statement(text, "postgres")
        except GuardRefused:
            continue
        assert "canary" not in postgres(made.text)
