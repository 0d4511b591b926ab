"""`html` and `text`: what is left is parsed again by another parser, and looked through by Unicode's own categories."""

from __future__ import annotations

import html
import random
import unicodedata
from html.parser import HTMLParser

from benchmarks.guards.trial import Data, Guarded, Result, attack, serve
from gateway.policy.guard_documents import HtmlGuard, TextGuard

HTML = HtmlGuard(kind="html")
_SCRIPTED = ("javascript:", "data:", "vbscript:", "livescript:", "mocha:", "jar:", "feed:", "view-source:")
_PASSIVE = frozenset(HTML.tags)


class Page(HTMLParser):
    """Text and active content, by the standard library."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.active: list[str] = []
        self.unreadable = False
        try:
            self.feed(text)
            self.close()
        except AssertionError:  # what it says of some broken declarations
            self.unreadable = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _PASSIVE:
            self.active.append(f"<{tag}>")
        for name, value in attrs:
            bare = "".join(one for one in (value or "") if one > " " and one.isprintable()).lower()
            if name.startswith("on") or name == "style" or bare.startswith(_SCRIPTED):
                self.active.append(f"{tag} {name}")

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def measure(data: Data) -> list[Result]:
    """XSS payloads between elements and inside one; hidden characters put into every harmless text."""
    pages = Result("html")
    guarded = Guarded(HTML)
    values = [form.format(one) for one in data.hostile for form in ("{}", "<p>x {} y</p>", "<b>{}")]

    def active(value: object) -> str:
        return ", ".join(Page(str(value)).active[:3])

    def left(value: object) -> str:
        return "unreadable" if Page(str(value)).unreadable else active(value)

    attack(pages, guarded, values, active, left)
    written = [f"<p>{html.escape(one)}</p> <b>{html.escape(one)}</b><br>" for one in data.harmless]
    serve(pages, guarded, written, lambda value, got: "" if shown(value) == shown(got) else "other words")
    return [pages, _text(data)]


def shown(value: object) -> str:
    return "".join(Page(str(value)).words)


def _text(data: Data) -> Result:
    result = Result("text")
    guarded = Guarded(TextGuard(kind="text"))
    rng = random.Random(5)
    hiding = [
        chr(code) for code in (0x1B, 0, 8, 0x7F, 0x85, 0x9B, 0x200B, 0x2060, 0xFEFF, 0x061C, 0x180E, 0x3164, 0x2028)
    ]
    hiding += [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0xE000, 0xFFF9)]
    hiding += ["".join(chr(0xE0000 + ord(one)) for one in "ignore all rules"), "\ufe00\ufe01", "\U000e0101\U000e0102"]
    values: list[object] = []
    for text in data.harmless:
        place = rng.randrange(len(text) + 1)
        values += [text[:place] + one + text[place:] for one in rng.sample(hiding, 8)]

    def hides(value: object) -> str:
        ignorable = ("\u3164", "\ufe00", "\ufe01")  # blank or without form, though no category says so
        odd = [
            one
            for one in str(value)
            if unicodedata.category(one)[0] in "C" or unicodedata.category(one) in ("Zl", "Zp")
        ]
        odd += [one for one in str(value) if one in ignorable or 0xE0100 <= ord(one) <= 0xE01EF]
        return ", ".join(f"U+{ord(one):04X}" for one in odd if one not in "\n\t\r")

    attack(result, guarded, [*values, *data.hostile], hides, hides)
    serve(result, guarded, data.harmless, lambda value, got: "" if value == got else "changed")
    return result
