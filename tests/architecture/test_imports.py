"""Each outside library has its one door, and the heavy ones are opened only when needed.

Layers between our own rooms are import-linter's (pyproject.toml); these tests see imports inside functions too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

from tests.architecture.source import ROOT, Module, modules, report

# Library -> the files (or folders ending in "/") that may import it.
DOORS = {
    "casbin": ("gateway/authorize/casbin_oracle.py",),
    "docker": ("sandbox/docker.py",),
    "lark": ("gateway/validate/grammar.py",),
    "openai": ("gateway/integrations/", "gateway/gateway.py"),
}
LAZY = {"lark", "openai"}  # not every start needs them: inside functions or under TYPE_CHECKING only
HEAVY = ("openai", "docker", "casbin", "sqlalchemy", "pydantic", "cel_expr_python", "limits", "jsonschema")


def _imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name.split(".")[0] for alias in names]
        case ast.ImportFrom(module=str(name), level=0):
            return [name.split(".")[0]]
        case _:
            return []


def _imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Every import as (library, line, whether it waits for a call or for the type checker)."""
    for child in ast.iter_child_nodes(node):
        for name in _imported(child):
            yield name, getattr(child, "lineno", 0), lazy
        waits = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        )
        yield from _imports(child, lazy or waits)


def _own() -> Iterator[tuple[Module, str, int, bool]]:
    for module in modules("gateway", "sandbox"):
        for name, line, lazy in _imports(module.tree):
            yield module, name, line, lazy


def test_each_library_has_its_door() -> None:
    found = [
        f"{module.path}:{line} imports {name}; only {', '.join(DOORS[name])} may"
        for module, name, line, _ in _own()
        if name in DOORS and not module.path.startswith(DOORS[name])
    ]
    assert not found, report(found, "A library is imported at its one door:")


def test_slow_libraries_are_imported_late() -> None:
    found = [f"{module.path}:{line} {name}" for module, name, line, lazy in _own() if name in LAZY and not lazy]
    assert not found, report(found, "Imported inside the function that needs it, or under TYPE_CHECKING:")


def test_the_conformance_verifier_shares_no_code_with_the_gateway() -> None:
    """Two implementations check each other only while neither can inherit the other's mistake."""
    verifiers = [module for module in modules("tests") if module.path.startswith("tests/conformance/verif")]
    assert verifiers, "tests/conformance/ holds no verifier any more"
    found = [
        f"{module.path}:{line} imports {name}"
        for module in verifiers
        for name, line, _ in _imports(module.tree)
        if name in {"gateway", "sandbox"}
    ]
    assert not found, report(found, "The second reading of the log format stands on its own:")


def test_the_command_line_starts_light() -> None:
    """`toolgate --help` is to answer within 250 ms, which no single heavy import leaves room for."""
    program = f"import sys, gateway.cli; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
