"""House rules that no linter holds: small files, reasons beside broad handlers, docstrings, nothing of one machine."""

from __future__ import annotations

import ast
import re

from tests.architecture.source import ROOT, Module, modules, report, tracked

MAX_LINES = 400
CODE = ("gateway", "sandbox", "examples", "benchmarks", "scripts")


def test_no_file_is_long() -> None:
    found = [
        f"{module.path} has {len(module.lines)} lines"
        for module in modules(*CODE, "tests")
        if len(module.lines) > MAX_LINES
    ]
    assert not found, report(found, f"A file past {MAX_LINES} lines is asking to be two:")


def test_every_module_says_what_it_guarantees() -> None:
    found = [
        module.path for module in modules(*CODE, "tests") if module.tree.body and not ast.get_docstring(module.tree)
    ]
    assert not found, report(found, "Every module has a docstring:")


def test_a_broad_handler_gives_its_reason() -> None:
    """`except Exception`, `except BaseException` and a bare one raise again or say on their line why not."""
    found = [
        f"{module.path}:{node.lineno} {module.lines[node.lineno - 1].strip()}"
        for module in modules(*CODE)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler)
        and _is_broad(node)
        and not isinstance(node.body[-1], ast.Raise)
        and not _reason(module, node)
    ]
    assert not found, report(found, "Catching everything needs a reason (three words or more) on its line:")


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind).split(".")[-1] in {"Exception", "BaseException"} for kind in caught)


def _reason(module: Module, handler: ast.ExceptHandler) -> bool:
    first = handler.body[0].lineno
    header = "\n".join(module.lines[handler.lineno - 1 : max(first - 1, handler.lineno)])
    comment = re.sub(r"noqa:\s*[A-Z0-9, ]+", "", header.partition("#")[2])
    return len(re.findall(r"[A-Za-z]{2,}", comment)) >= 3


def test_only_the_command_line_prints() -> None:
    found = [
        f"{module.path}:{node.lineno}"
        for module in modules("gateway")
        if not module.path.startswith("gateway/cli/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert not found, report(found, "A library does not print:")


# Addresses of package indexes, and folders of one person's machine. (Brackets keep the pattern from finding itself.)
_FOREIGN = re.compile(
    r"""index[-_]url|find[-_]links|[/]simple/?["'\s]|python[h]osted|registry\s*=\s*["']?https?[:]"""
    r"""|(?<![\w.])/(?:home|Users)/[a-z][\w.-]*/\.?\w+/|[.]pyenv|(?<![\w.])[/]root/\w""",
    re.IGNORECASE,
)


def test_nothing_of_one_machine_is_committed() -> None:
    here = str(ROOT) if len(ROOT.parts) > 2 else None  # a checkout at /app says nothing about its owner
    found = []
    for path in tracked():
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if _FOREIGN.search(line) or (here and here in line):
                found.append(f"{path}:{number} {line.strip()[:120]}")
    assert not found, report(found, "A path of this machine or the address of a package index:")
