"""`html`: sanitised by ammonia (nh3), which reads as browsers do; only listed tags and no scripts stay (CWE-79).

Characters that nobody sees are refused, also where a character reference stands for one, so that what an approver reads
is what the page will say.
"""

from __future__ import annotations

from typing import Final, final

import nh3

from gateway.policy.guard_documents import HtmlGuard
from gateway.validate.guards.refusal import GuardRefused
from gateway.validate.guards.text import hidden

# A browser's parser repairs what is left open, in quadratic time and space: so large, a second at worst (CWE-407).
MAX_HTML_CHARS = 64 * 1024
MAX_TAGS = 2_000
MAX_CLEAN_CHARS = 256 * 1024
_ATTRIBUTES: Final[dict[str, set[str]]] = {"a": {"href", "title"}, "*": set()}
_SCHEMES: Final = {"https", "mailto"}
_HOW: Final = "Write it with visible characters only."


@final
class SafeHtml(str):
    """Sanitised HTML, for the content of an element. Template engines that know `__html__` keep it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


@final
class HtmlCheck:
    """Sanitises one piece of HTML."""

    def __init__(self, guard: HtmlGuard) -> None:
        self._cleaner = nh3.Cleaner(
            tags=set(guard.tags),
            attributes={tag: names for tag, names in _ATTRIBUTES.items() if tag in guard.tags or tag == "*"},
            url_schemes=set(_SCHEMES),
            url_relative="deny",
            link_rel="noopener noreferrer nofollow",
        )

    def __call__(self, name: str, value: object) -> SafeHtml:
        if not isinstance(value, str) or len(value) > MAX_HTML_CHARS or value.count("<") > MAX_TAGS:
            raise _too_much(name)
        place = hidden(value)
        if place is not None:
            raise GuardRefused(
                f"{name}: has a hidden or control character at position {place + 1}.", _HOW, _which(name, value, place)
            )
        cleaned = self._cleaner.clean(value)
        if len(cleaned) > MAX_CLEAN_CHARS:
            raise _too_much(name)
        place = hidden(cleaned)
        if place is not None:  # `&#x202e;`, `&zwnj;`: the sanitiser reads them as a browser does
            raise GuardRefused(f"{name}: stands for a hidden or control character.", _HOW, _which(name, cleaned, place))
        return SafeHtml(cleaned)


def _too_much(name: str) -> GuardRefused:
    return GuardRefused(
        f"{name}: must be HTML of at most {MAX_HTML_CHARS} characters and {MAX_TAGS} tags.", "Send less."
    )


def _which(name: str, text: str, place: int) -> str:
    return f"{name}: U+{ord(text[place]):04X} at position {place + 1}"
