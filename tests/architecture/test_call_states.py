"""The type chain of gateway/domain/call.py holds: a state is built in its own stage, never copied and never changed.

mypy catches a wrong order of steps; what it cannot see is a later state built by hand, which is what these tests hold.
Unit tests and benchmarks of one step may build states: they stand in for the step before.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import ROOT, Module, called_name, modules, report

# Where each state may be built: a file, or a folder ending in "/".
BUILT_IN = {
    "CallContext": ("gateway/session.py", "gateway/pipeline.py", "gateway/policy_tools/dry.py"),
    "RawCall": ("gateway/session.py", "gateway/pipeline.py", "gateway/policy_tools/dry.py"),
    "ParsedCall": ("gateway/parse/",),
    "AuthorizedCall": ("gateway/authorize/",),
    "LimitedCall": ("gateway/limit/",),
    "ShapedCall": ("gateway/validate/",),
    "ValidatedCall": ("gateway/validate/",),
    "ClearedCall": ("gateway/clear/",),
    "Parked": ("gateway/clear/",),
    "ObservedCall": ("gateway/observe.py",),
    "StartedCall": ("gateway/audit/",),
    "Executed": ("gateway/execute/",),
    "Released": ("gateway/release.py",),
    "Denied": ("gateway/pipeline.py",),
    "Unknown": ("gateway/pipeline.py",),
}
NOT_STATES = {"ContractRef", "Failure", "ToolCall"}  # plain values that several rooms name

CODE = ("gateway", "sandbox", "examples", "scripts")


def _definitions() -> dict[str, ast.ClassDef]:
    tree = ast.parse((ROOT / "gateway/domain/call.py").read_text(encoding="utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {node.name: node for node in classes if "dataclass" in "".join(map(ast.unparse, node.decorator_list))}


def _fields() -> dict[str, dict[str, str]]:
    """For each state, its fields and the state (or other type, as written) that each holds."""
    return {
        name: {
            line.target.id: ast.unparse(line.annotation)
            for line in node.body
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        }
        for name, node in _definitions().items()
        if name in BUILT_IN
    }


def _imports_states(module: Module) -> Iterator[ast.alias]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "gateway.domain.call":
            yield from (alias for alias in node.names if alias.name in BUILT_IN)


def test_every_state_has_its_stage() -> None:
    assert set(_definitions()) == set(BUILT_IN) | NOT_STATES


def test_a_state_is_built_only_in_its_own_stage() -> None:
    found = [
        f"{module.path}:{node.lineno} builds {called_name(node)}; only {', '.join(allowed)} may"
        for module in modules(*CODE)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (allowed := BUILT_IN.get(called_name(node)))
        and (called_name(node) in {alias.name for alias in _imports_states(module)} or _qualified(node))
        and not module.path.startswith(allowed)
    ]
    assert not found, report(found, "A state of a call is built where its step is taken:")


def _qualified(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value).endswith("call")


def test_only_observe_mode_goes_on_regardless() -> None:
    """A step that is taken whatever it says: the stages that define it, and the one passage that may."""
    found = {
        module.path
        for module in modules(*CODE)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "regardless"
    }
    assert found == {"gateway/observe.py", "gateway/limit/stage.py"}


def test_a_state_keeps_its_name() -> None:
    """An alias would hide a construction from the test above."""
    found = [
        f"{module.path}: {alias.name} as {alias.asname}"
        for module in modules(*CODE)
        for alias in _imports_states(module)
        if alias.asname
    ]
    assert not found, report(found, "Import the states of a call under their own names:")


def test_no_state_is_copied_or_conjured() -> None:
    """Files that know a state use neither `replace` nor `copy` nor `__new__` nor `setattr`."""
    banned = {"replace": "dataclasses", "copy": "copy", "deepcopy": "copy"}
    found = []
    for module in modules(*CODE):
        if not any(_imports_states(module)):
            continue
        for node in ast.walk(module.tree):
            match node:
                case ast.ImportFrom(module=("dataclasses" | "copy") as home, names=names):
                    found += [f"{module.path}:{node.lineno} {n.name}" for n in names if banned.get(n.name) == home]
                case ast.Attribute(attr="replace" | "copy" | "deepcopy", value=ast.Name(id="dataclasses" | "copy")):
                    found.append(f"{module.path}:{node.lineno} {ast.unparse(node)}")
                case ast.Attribute(attr="__new__" | "__setattr__" | "__replace__") | ast.Name(id="setattr"):
                    found.append(f"{module.path}:{node.lineno} {ast.unparse(node)}")
                case _:
                    pass
    assert not found, report(found, "A state of a call is never copied with changes nor built around its constructor:")


_MUTATORS = {
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "popitem",
    "clear",
    "update",
    "setdefault",
    "add",
    "discard",
}


def test_no_state_is_changed() -> None:
    """Nothing is assigned to a field of a state, nor put into a dict or list that a state holds.

    What holds a state is read off annotations, constructions and aliases of fields (`ctx = call.ctx`) in one function.
    """
    fields = _fields()
    found = []
    for module in modules(*CODE):
        for function in ast.walk(module.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                held = _holders(function, fields)
                found += [
                    f"{module.path}:{place.lineno} {ast.unparse(place)}"
                    for node in ast.walk(function)
                    for place in _changed_places(node)
                    if _state_of(place.value, held, fields)
                ]
    assert not found, report(sorted(set(found)), "A state of a call is never changed after it was built:")


def _holders(function: ast.FunctionDef | ast.AsyncFunctionDef, fields: dict[str, dict[str, str]]) -> dict[str, str]:
    held: dict[str, str] = {}
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        _note(held, argument.arg, argument.annotation, fields)
    for node in ast.walk(function):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                _note(held, name, annotation, fields)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call) if called_name(call) in fields:
                held[name] = called_name(call)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if state := _state_of(value, held, fields):
                held[name] = state
            case _:
                pass
    return held


def _note(held: dict[str, str], name: str, annotation: ast.expr | None, fields: dict[str, dict[str, str]]) -> None:
    """A union of states counts as its first: enough to know that the name holds one."""
    for part in ast.walk(annotation) if annotation else ():
        if isinstance(part, ast.Name) and part.id in fields:
            held.setdefault(name, part.id)


def _state_of(value: ast.expr, held: dict[str, str], fields: dict[str, dict[str, str]]) -> str | None:
    match value:
        case ast.Name(id=name):
            return held.get(name)
        case ast.Attribute(value=inner, attr=attribute):
            owner = _state_of(inner, held, fields)
            kind = fields[owner].get(attribute, "") if owner else ""
            return kind if kind in fields else None
        case _:
            return None


def _changed_places(node: ast.AST) -> Iterator[ast.Attribute]:
    targets: list[ast.expr] = []
    match node:
        case ast.Assign(targets=found) | ast.Delete(targets=found):
            for target in found:
                targets += target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.For(target=target):
            targets.append(target)
        case ast.Call(func=ast.Attribute(attr=method, value=value)) if method in _MUTATORS:
            targets.append(value)
        case _:
            return
    for target in targets:
        inside = target
        while isinstance(inside, ast.Subscript | ast.Starred):
            inside = inside.value
        if isinstance(inside, ast.Attribute):
            yield inside
