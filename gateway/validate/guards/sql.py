"""`sql`: one SELECT, parsed in its own dialect, over listed tables and functions, written anew (CWE-89).

Deny by default: every node of the tree must be of a known harmless kind, every table listed or a WITH above it, and
every name before a bracket in the text that will run a listed function. The tool gets that text, written from the
tree, never what was sent: comments, odd quoting and whatever the parser overlooked do not reach the database.
"""

from __future__ import annotations

import threading
from typing import Final, final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from gateway.policy.guard_documents import SqlGuard
from gateway.validate.guards.refusal import GuardRefused
from gateway.validate.guards.statement import Statement
from gateway.validate.guards.text import hidden

MAX_SQL_CHARS = 4096  # and a parser's recursion stays bounded

_PLAIN: Final = frozenset({
    exp.Select, exp.Subquery, exp.Union, exp.Intersect, exp.Except, exp.With, exp.CTE, exp.TableAlias,
    exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset, exp.Distinct,
    exp.Star, exp.Alias, exp.Column, exp.Identifier, exp.Table, exp.Literal, exp.Null, exp.Boolean, exp.Paren,
    exp.Tuple, exp.And, exp.Or, exp.Not, exp.Neg, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is,
    exp.Between, exp.In, exp.Like, exp.ILike, exp.Escape, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.DPipe,
    exp.Case, exp.Exists, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Window, exp.WindowSpec, exp.Filter,
    exp.Interval, exp.Var, exp.TsOrDsToTimestamp, exp.TsOrDsToDate,
})  # fmt: skip
_ROOTS: Final = (exp.Select, exp.Union, exp.Intersect, exp.Except)
_ARGS: Final[dict[type[exp.Expression], frozenset[str]]] = {  # with anything else they mean more
    exp.Select: frozenset({
        "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "offset", "distinct", "with_",
    }),
    exp.Table: frozenset({"this", "db", "alias"}),
    exp.In: frozenset({"this", "expressions", "query"}),  # SQLite reads `x IN secrets` as a table
    exp.CTE: frozenset({"this", "alias"}),
    exp.Subquery: frozenset({"this", "alias"}),
    **dict.fromkeys(
        (exp.Union, exp.Intersect, exp.Except),
        frozenset({"this", "expression", "distinct", "order", "limit", "offset", "with_"}),
    ),
}  # fmt: skip
_TYPES: Final = frozenset(
    exp.DataType.Type[name]
    for name in (
        "INT", "BIGINT", "SMALLINT", "TEXT", "VARCHAR", "CHAR", "DECIMAL", "FLOAT", "DOUBLE", "BOOLEAN", "DATE", "TIME",
        "TIMESTAMP", "TIMESTAMPTZ", "UUID",
    )
)  # fmt: skip
_UNITS: Final = frozenset(
    f"{unit}{many}"
    for unit in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND")
    for many in ("", "S")
) | {"EPOCH", "DOW", "DOY", "ISODOW", "ISOYEAR"}
_EASY: Final = _PLAIN - {exp.Identifier, exp.With, exp.DataType, exp.Var, *_ARGS}
_WITHOUT_BRACKETS: Final[dict[type[exp.Expression], frozenset[str]]] = {
    exp.CurrentDate: frozenset({"current_date"}),
    exp.CurrentTimestamp: frozenset({"current_timestamp", "now"}),
}
_BEFORE_BRACKETS: Final = frozenset({  # words that are no function, where a bracket may follow
    "ALL", "AND", "AS", "BETWEEN", "BY", "CASE", "CAST", "CHAR", "DECIMAL", "DISTINCT", "ELSE", "ESCAPE", "EXCEPT",
    "EXISTS", "FILTER", "FROM", "HAVING", "ILIKE", "IN", "INTERSECT", "IS", "JOIN", "LIKE", "LIMIT", "NOT", "OFFSET",
    "ON", "OR", "OVER", "SELECT", "THEN", "UNION", "USING", "VARCHAR", "WHEN", "WHERE",
})  # fmt: skip

_HOW = "Write one SELECT over the tables you were told of, with simple functions."


class _Tools(threading.local):
    """Tokeniser, parser and writer of one thread: making them anew costs a fifth of a check."""

    def __init__(self, dialect: sqlglot.Dialect) -> None:
        self._dialect = dialect
        self.renew()

    def renew(self) -> None:
        """After an error, so that nothing of one statement is left in the next."""
        self.tokenizer = self._dialect.tokenizer()
        self.parser = self._dialect.parser()
        self.writer = self._dialect.generator(comments=False)


@final
class SqlCheck:
    """Reads one statement."""

    def __init__(self, guard: SqlGuard) -> None:
        self._tools = _Tools(sqlglot.Dialect.get_or_raise(guard.dialect))
        self._folds = {"sqlite": "both", "postgres": "unquoted", "mysql": "none"}[guard.dialect]
        fold = str.lower if self._folds == "both" else str
        self._tables = frozenset(fold(table) for table in guard.tables)
        self._functions = frozenset(guard.functions)

    def __call__(self, name: str, value: object) -> Statement:
        if not isinstance(value, str) or not value or len(value) > MAX_SQL_CHARS:
            raise GuardRefused(f"{name}: must be one statement of at most {MAX_SQL_CHARS} characters.", _HOW)
        if hidden(value) is not None:
            raise GuardRefused(f"{name}: has a hidden or control character.", _HOW)
        try:
            return self._statement(name, value)
        except (SqlglotError, RecursionError, ValueError) as error:
            self._tools.renew()
            detail = f"{name}: {type(error).__name__}"  # the message would quote the statement
            raise GuardRefused(f"{name}: is no statement that can be read.", _HOW, detail) from error

    def _statement(self, name: str, value: str) -> Statement:
        tools = self._tools
        trees = tools.parser.parse(tools.tokenizer.tokenize(value), value)
        tree = trees[0] if len(trees) == 1 else None
        if not isinstance(tree, _ROOTS):
            raise GuardRefused(f"{name}: must be one SELECT.", _HOW)
        tables, calls = self._judged(name, tree)
        text = tools.writer.generate(tree, copy=False)
        self._called(name, text, calls)
        return Statement(text, tables)

    def _judged(self, name: str, tree: exp.Expression) -> tuple[frozenset[str], int]:
        """The tables that are read, and how many functions are called. Raises GuardRefused.

        A WITH may stand at the top only, and each of its names is known from the next one on: what a name means is
        then the same to every database. Names get quotes, so that none is read as a keyword.
        """
        top = tree.args.get("with_")
        above: set[str] = set()
        tables: set[str] = set()
        calls = 0
        if top is not None:
            if top.args.get("recursive"):
                raise GuardRefused(f"{name}: must not be recursive.", _HOW)
            tree.set("with_", None)
        for part in (*(top.expressions if top is not None else ()), tree):
            for node in part.walk():
                kind = type(node)
                if kind in _EASY:
                    continue
                if kind is exp.Identifier:
                    self._quote(node)
                elif kind not in _PLAIN:
                    calls += self._is_call(name, node)
                else:
                    _in_its_place(name, node)
                    if kind is exp.Table:
                        tables.update({self._table(name, node)} - above)
            if part is not tree:
                alias = self._folded(part.args["alias"].this)
                if alias in above or alias in self._tables:
                    raise GuardRefused(f"{name}: must give each WITH a name of its own.", _HOW)
                above.add(alias)
        if top is not None:
            tree.set("with_", top)
        if not tables <= self._tables:
            detail = f"{name}: not listed: {', '.join(sorted(tables - self._tables))}"
            raise GuardRefused(f"{name}: reads a table that may not be read.", _HOW, detail)
        return frozenset(tables), calls

    def _quote(self, identifier: exp.Expression) -> None:
        if self._folds == "unquoted" and not identifier.args.get("quoted"):
            identifier.args["this"] = str(identifier.this).lower()
        identifier.args["quoted"] = True

    def _table(self, name: str, node: exp.Expression) -> str:
        if not isinstance(node.this, exp.Identifier):  # a function in place of a table
            raise GuardRefused(f"{name}: reads a table that may not be read.", _HOW)
        schema = node.args.get("db")
        return (f"{self._folded(schema)}." if schema else "") + self._folded(node.this)

    def _folded(self, identifier: exp.Expression) -> str:
        """The name as the database compares it."""
        text = str(identifier.this)
        if self._folds == "both" or (self._folds == "unquoted" and not identifier.args.get("quoted")):
            return text.lower()
        return text

    def _is_call(self, name: str, node: exp.Expression) -> int:
        """1 for a function with brackets, 0 for one without. Raises GuardRefused for anything else."""
        kind = type(node)
        bare = _WITHOUT_BRACKETS.get(kind)
        if bare is not None and bare & self._functions and not node.args.get("this"):
            return 0
        if kind is exp.If and isinstance(node.parent, exp.Case):  # a WHEN
            return 0
        if bare is None and isinstance(node, exp.Func):
            return 1
        raise GuardRefused(f"{name}: says more than a plain SELECT may.", _HOW, f"{name}: {kind.__name__}")

    def _called(self, name: str, text: str, calls: int) -> None:
        """Every name before a bracket must be a listed function, and there must be as many as the tree has."""
        if "(" not in text and not calls:
            return
        found = 0
        before = None
        for token in self._tools.tokenizer.tokenize(text):
            if token.token_type is sqlglot.TokenType.L_PAREN and before is not None:
                word = before.text
                if before.token_type is sqlglot.TokenType.IDENTIFIER:
                    raise GuardRefused(f"{name}: has a quoted name before a bracket.", _HOW)
                if (word[:1].isalpha() or word[:1] == "_") and word.upper() not in _BEFORE_BRACKETS:
                    found += 1
                    if word.lower() not in self._functions:
                        detail = f"{name}: function {word.lower()} is not listed"
                        raise GuardRefused(f"{name}: calls a function that may not be called.", _HOW, detail)
            before = token
        if found != calls:
            raise GuardRefused(f"{name}: has a function in a form that cannot be checked.", _HOW)


def _in_its_place(name: str, node: exp.Expression) -> None:
    """Known kinds, but not everywhere and not with everything. Raises GuardRefused."""
    kind = type(node)
    if kind is exp.With:  # its names would be seen where a table of that name is meant
        raise GuardRefused(f"{name}: WITH may stand at the beginning only.", _HOW)
    if kind is exp.DataType:
        if node.this not in _TYPES:
            raise GuardRefused(f"{name}: casts to a type that is not allowed.", _HOW)
    elif kind is exp.Var:  # written as it came, without quotes
        if str(node.this).upper() not in _UNITS:
            raise GuardRefused(f"{name}: says more than a plain SELECT may.", _HOW, f"{name}: a bare word")
    elif any(found and key not in _ARGS[kind] for key, found in node.args.items()) or (
        kind is exp.Select and not node.expressions
    ):
        raise GuardRefused(f"{name}: says more than a plain SELECT may.", _HOW, f"{name}: {kind.__name__}")
