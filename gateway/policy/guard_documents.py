"""The guards a contract may put on an argument, one model a kind, each saying what it protects and what it cannot.

`hands` is what the tool gets in place of the argument. A guard that hands over nothing of its own is *advisory*: what
was checked is a string, and the tool still decides what to do with it. docs/guards.md is held to these words.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gateway.policy.currencies import PLACES
from gateway.policy.model import Document, Misplaced, Slug

V = TypeVar("V", bound=Sized)


def _some(value: V) -> V:
    if not value:
        raise ValueError("name at least one")
    return value


HostPattern = Annotated[
    str, StringConstraints(pattern=r"^([*][.])?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z][a-z0-9-]*$")
]
TableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}([.][A-Za-z_][A-Za-z0-9_$]{0,62})?$")
]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Flag = Annotated[str, StringConstraints(pattern=r"^--?[A-Za-z0-9][A-Za-z0-9-]{0,63}$")]
Words = Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...], AfterValidator(_some)]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._+-]+)+$")]
AmountText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,15}([.][0-9]{1,4})?$")]
Tag = Literal[
    "a", "b", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre",
    "s", "small", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
]  # fmt: skip

_RUN_WHAT_THEY_ARE_TOLD: Final = re.compile(
    r"(ba|da|z|k|c|tc|fi)?sh|busybox|env|xargs|sudo|su|doas|nohup|timeout|nice|setsid|watch|find|ssh|awk|gawk|mawk"
    r"|sed|perl|ruby|node|php|lua|tclsh|expect|make|git|tar|vi|vim|ed|gdb|(python|pypy)[0-9.]*"
)


class GuardModel(Document):
    """A guard. `takes`: one string, one string or each of a list (`each`), or a list of strings (`list`).

    `mutable` is what an approver is told of an argument that names what nobody here can hold still (C133).
    """

    takes: ClassVar[Literal["one", "each", "list"]] = "one"
    hands: ClassVar[str | None] = None
    blocks: ClassVar[bool] = False
    mutable: ClassVar[str] = ""
    protects: ClassVar[str]
    cannot: ClassVar[str]

    @classmethod
    def advisory(cls) -> bool:
        """True if the tool still receives what the model wrote."""
        return cls.hands is None


class PathGuard(GuardModel):
    """The argument is a path beneath one root. The tool receives the opened file, never the string."""

    hands: ClassVar[str | None] = "OpenedFile"
    blocks: ClassVar[bool] = True
    protects: ClassVar[str] = "Only a regular file beneath the root is read, even if a link is swapped in meanwhile."
    cannot: ClassVar[str] = "It does not see hard links and bind mounts made by somebody who may write in the root."

    kind: Literal["path"]
    root: Slug = Field(description="Name of a root folder, given in settings.yaml or by the host.")
    max_bytes: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024


class UrlGuard(GuardModel):
    """The argument is an http(s) address. The tool receives a client pinned to the checked internet address."""

    hands: ClassVar[str | None] = "PinnedClient"
    blocks: ClassVar[bool] = True
    mutable: ClassVar[str] = "what stands at this address may change after you agree"
    protects: ClassVar[str] = (
        "Only a listed host at a public address is connected to, the address that was checked, redirects included."
    )
    cannot: ClassVar[str] = (
        "It does not see what a listed host does with the request, nor private networks behind public addresses."
    )

    kind: Literal["url"] = Field(description="Connect to the address that was checked, or refuse.")
    hosts: tuple[HostPattern, ...] = Field(
        default=(), description="Names that may be asked, in lower case. `*.example.org` is every name beneath it."
    )
    any_public_host: bool = Field(default=False, description="Any name with a public address, instead of `hosts`.")
    schemes: Annotated[tuple[Literal["https", "http"], ...], AfterValidator(_some)] = Field(
        default=("https",), description="How it may be asked."
    )
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=(), description="Ports that may be asked. Left out: 443 and 80, as the scheme has it."
    )
    redirects: Annotated[int, Field(ge=0, le=5)] = Field(default=3, description="How many are followed, each checked.")
    max_bytes: Annotated[int, Field(ge=1)] = Field(default=4 * 1024 * 1024, description="A longer body is refused.")
    timeout_s: Annotated[float, Field(gt=0, le=300)] = Field(default=10.0, description="Seconds for all of it.")

    @model_validator(mode="after")
    def _says_where(self) -> UrlGuard:
        if bool(self.hosts) == self.any_public_host:
            raise Misplaced("name the `hosts`, or say `any_public_host: true`: exactly one of them", "hosts")
        return self


class SqlGuard(GuardModel):
    """The argument is one SELECT over named tables and functions. The tool receives the statement written anew."""

    hands: ClassVar[str | None] = "Statement"
    protects: ClassVar[str] = "One statement, which only reads, only listed tables, and calls only listed functions."
    cannot: ClassVar[str] = (
        "It does not see what a view or a function of yours does, and bounds neither time nor rows: "
        "run it on a read-only connection with a timeout, as a role that may read these tables only."
    )

    kind: Literal["sql"] = Field(description="Read one statement as the database would.")
    dialect: Literal["sqlite", "postgres", "mysql"] = Field(description="The database that will run it.")
    tables: Annotated[tuple[TableName, ...], AfterValidator(_some)] = Field(
        description="What may be read, as it must be written: `orders` is not `public.orders`."
    )
    functions: tuple[FunctionName, ...] = Field(
        default=(
            "abs", "avg", "coalesce", "count", "current_date", "current_timestamp", "extract", "length", "lower", "max",
            "min", "nullif", "round", "substring", "sum", "trim", "upper",
        ),
        description="What may be called, in lower case, instead of these.",
    )  # fmt: skip


class Program(Document):
    """One program and what may be said to it."""

    path: AbsolutePath = Field(description="The file that is run.")
    flags: dict[Flag, Literal["none", "integer", "word"] | Words] = Field(
        default_factory=dict,
        description="By flag what follows: `none`, `integer`, `word` (letters, digits, `._-`), or the words allowed.",
    )
    operands: Literal["word", "text"] | Words = Field(
        default="word", description="What the rest may be: `word`, `text` (one printable line), or the words allowed."
    )
    max_operands: Annotated[int, Field(ge=0, le=64)] = Field(default=0, description="How many there may be.")

    @model_validator(mode="after")
    def _runs_nothing_else(self) -> Program:
        name = self.path.rpartition("/")[2]
        if _RUN_WHAT_THEY_ARE_TOLD.fullmatch(name):
            raise Misplaced(
                f"{name!r} runs, or writes, what its arguments say. Name a program that does one thing", "path"
            )
        if any(part in (".", "..") for part in self.path.split("/")):
            raise Misplaced("write the path without `.` and `..`", "path")
        return self


class ArgvGuard(GuardModel):
    """The argument is a list: a program and its arguments. The tool receives an argv tuple, for use without a shell."""

    takes: ClassVar[Literal["one", "each", "list"]] = "list"
    hands: ClassVar[str | None] = "Argv"
    protects: ClassVar[str] = "Only a listed program runs, with listed flags; no text becomes a flag or a command."
    cannot: ClassVar[str] = (
        "It does not see what the program does with its operands: paths need a path guard, untrusted code a sandbox."
    )

    kind: Literal["argv"] = Field(description="A program and its arguments, without a shell.")
    programs: Annotated[dict[Slug, Program], AfterValidator(_some)] = Field(
        description="By the name the model writes first."
    )


class HtmlGuard(GuardModel):
    """The argument is HTML. The tool receives it sanitised: listed tags, no script, style or event handler."""

    hands: ClassVar[str | None] = "SafeHtml"
    blocks: ClassVar[bool] = True
    protects: ClassVar[str] = "Nothing in it runs, loads or styles, where it is used as the content of an element."
    cannot: ClassVar[str] = (
        "It is not safe inside an attribute, a script or a style, and what its words say is not looked at."
    )

    kind: Literal["html"] = Field(description="Take out whatever is not listed.")
    tags: tuple[Tag, ...] = Field(
        default=("a", "b", "blockquote", "br", "code", "em", "i", "li", "ol", "p", "pre", "strong", "ul"),
        description="Tags that stay. Only `a` keeps attributes: `href` (https, mailto) and `title`.",
    )


class TextGuard(GuardModel):
    """The argument is text for people: no control, bidirectional or invisible character. Advisory."""

    takes: ClassVar[Literal["one", "each", "list"]] = "each"
    protects: ClassVar[str] = "What a person sees is all there is: nothing hidden, nothing that turns the text around."
    cannot: ClassVar[str] = "It does not make the text safe to paste into HTML, SQL or a shell, nor judge what it says."

    kind: Literal["text"] = Field(description="No hidden characters.")
    lines: bool = Field(default=True, description="Line feeds and tabs are allowed.")


class EmailGuard(GuardModel):
    """The argument is one plain mail address. Advisory: the tool still receives a string."""

    takes: ClassVar[Literal["one", "each", "list"]] = "each"
    protects: ClassVar[str] = "One address, which every mail program reads alike, at a listed domain if any is listed."
    cannot: ClassVar[str] = "It does not know who reads there."

    kind: Literal["email"]
    domains: tuple[HostPattern, ...] = Field(
        default=(), description="Domains that may be written to, in lower case; `*.example.org` for those beneath."
    )


class IdentifierGuard(GuardModel):
    """The argument is the name of a thing, in a grammar of plain ASCII. Advisory: the tool still receives a string."""

    takes: ClassVar[Literal["one", "each", "list"]] = "each"
    mutable: ClassVar[str] = "what this names may change after you agree"
    protects: ClassVar[str] = "No character in it means anything to a query, a path, a page or a shell."
    cannot: ClassVar[str] = "It does not know whether the thing exists or whose it is: write a rule over a fact."

    kind: Literal["identifier"] = Field(description="`prefix`, then characters of one kind, from end to end.")
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9#_-]{0,16}$")] = Field(
        default="", description="What each begins with, such as `#W`."
    )
    chars: Literal["digits", "hex", "letters", "alphanumeric"] = Field(
        default="alphanumeric", description="What follows. ASCII only; `hex` is in lower case."
    )
    separators: Annotated[str, StringConstraints(pattern=r"^[._-]{0,3}$")] = Field(
        default="", description="Characters that may stand, one at a time, between others."
    )
    min_chars: Annotated[int, Field(ge=1, le=256)] = Field(default=1, description="Fewest characters after the prefix.")
    max_chars: Annotated[int, Field(ge=1, le=256)] = Field(default=64, description="Most characters after the prefix.")

    @model_validator(mode="after")
    def _is_possible(self) -> IdentifierGuard:
        if self.min_chars > self.max_chars:
            raise Misplaced("no name has at least `min_chars` and at most `max_chars`", "min_chars")
        return self


class MoneyGuard(GuardModel):
    """The argument is an amount as a decimal string. The tool receives an exact amount with its currency."""

    hands: ClassVar[str | None] = "Money"
    protects: ClassVar[str] = "One exact amount in a listed currency and within the bounds; no float ever holds it."
    cannot: ClassVar[str] = "It does not know whether the amount is right, and bounds no sum over calls."

    kind: Literal["money"] = Field(description='An exact amount: `"12.50 EUR"`, or `"12.50"` with one currency.')
    currencies: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")], ...], AfterValidator(_some)
    ] = Field(description="ISO 4217 codes.")
    min: AmountText | None = Field(default=None, description="Least amount, as a string. Left out: nothing below 0.")
    max: AmountText = Field(description="Greatest amount, as a string, in any of the currencies.")

    @model_validator(mode="after")
    def _is_possible(self) -> MoneyGuard:
        for index, code in enumerate(self.currencies):
            if code not in PLACES:
                raise Misplaced(f"{code!r} is no currency of ISO 4217 that has minor units", "currencies", index)
        if self.min is not None and Decimal(self.min) > Decimal(self.max):
            raise Misplaced("no amount is at least `min` and at most `max`", "min")
        return self


Guard = Annotated[
    PathGuard | UrlGuard | SqlGuard | ArgvGuard | HtmlGuard | TextGuard | EmailGuard | IdentifierGuard | MoneyGuard,
    Field(discriminator="kind"),
]
KINDS: Final = (
    PathGuard, UrlGuard, SqlGuard, ArgvGuard, HtmlGuard, TextGuard, EmailGuard, IdentifierGuard, MoneyGuard,
)  # fmt: skip
