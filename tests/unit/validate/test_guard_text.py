"""The text and html guards: nothing hidden, nothing active (UAX #9, CWE-79)."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from gateway.policy.guard_documents import HtmlGuard, TextGuard
from gateway.validate.guards import GuardRefused, Guards, SafeHtml

TEXT = Guards({"t": TextGuard(kind="text")}, {})
LINE = Guards({"t": TextGuard(kind="text", lines=False)}, {})
HTML = Guards({"h": HtmlGuard(kind="html")}, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "two\nlines\tand\r\nmore",
        "Łódź, Zürich, 東京, Ελλάδα",
        "10♠ at 3 kg/m³",
        "a\u0301 b",
        "naïve – “quoted” … €",
        "👍🏽 ❤️ 👩‍💻 🏳️‍🌈 1️⃣",
        "می‌خواهم",
        "क्‍ष",
        "שלום",
        "مرحبا",
        "co\u00adop",
    ],
)
def test_text_that_people_write(text: str) -> None:
    assert TEXT.apply({"t": text}) == {}
    assert TEXT.apply({"t": [text, text]}) == {}


@pytest.mark.parametrize(
    "text",
    [
        "a\0",
        "a\x1b[31m",
        "a\x7f",
        "a\x85",
        "a\rb",
        "a\x08",
        "\u202eevil",
        "a\u202d",
        "a\u2066b",
        "\u200fa",
        "a\u061c",
        "a\u200b",
        "a\u200c",
        "a\u200db",
        "\u200d",
        "a\ufeff",
        "a\u2060",
        "a\u2028b",
        "a\u2029",
        "a\ufe0f",
        "a\ufe0e\ufe0f",
        "\ufe0f",
        "❤️\ufe0f",
        "".join(chr(0xE0000 + ord(c)) for c in "ignore"),
        "a" + "".join(chr(0xE0100 + n) for n in range(5)),
        "a\u3164",
        "a\u115f",
        "a\u2800",
        "a\U0001d159",
        "a\U00016fe4",
        "a\ue000",
        "a\U000f0000",
        "a\u0378",
        "a\u180e",
        "a\u034f",
        "\u00ada",
        "a\u00ad",
        "क\u200d\u200dष",
    ],
)
def test_text_that_hides_something(text: str) -> None:
    with pytest.raises(GuardRefused) as caught:
        TEXT.apply({"t": text})
    assert "U+" in caught.value.detail
    assert caught.value.message.isprintable()
    with pytest.raises(GuardRefused):
        TEXT.apply({"t": ["fine", text]})
    with pytest.raises(GuardRefused):
        HTML.apply({"h": text})


def test_one_line_only() -> None:
    for text in ("a\nb", "a\tb", "a\r\nb"):
        with pytest.raises(GuardRefused):
            LINE.apply({"t": text})
    assert LINE.apply({"t": "a b"}) == {}
    with pytest.raises(GuardRefused):
        TEXT.apply({"t": 7})


class Active(HTMLParser):
    """Notes every tag and attribute; a reader of HTML that shares no code with the sanitiser."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in HtmlGuard(kind="html").tags:
            self.found.append(tag)
        for name, value in attrs:
            if name not in ("href", "title", "rel") or (
                name == "href" and not (value or "").startswith(("https:", "mailto:"))
            ):
                self.found.append(f"{tag} {name}={value}")

    handle_startendtag = handle_starttag

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data}")

    def handle_decl(self, decl: str) -> None:
        self.found.append(decl)

    def handle_pi(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<a href=javascript:alert(1)>x</a>",
        '<a href=" java&#115;cript:alert(1)">x</a>',
        "<p style='background:url(javascript:alert(1))' onclick=alert(1)>x</p>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "<math><mtext></p><style><img src onerror=alert(1)></style></mtext></math>",
        '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
        "<!--><img src=x onerror=alert(1)>-->",
        "<a href='data:text/html,x'>",
        "<form action=https://evil.test><input name=password>",
        "<base href=https://evil.test>",
        "<meta http-equiv=refresh content=0>",
        "<a href=//evil.test>x</a>",
        "<a href=http://evil.test>x</a>",
        "<a href=tel:1>x</a>",
        "<object data=x>",
        "<template><script>alert(1)</script></template>",
        "<b id=x name=y class=z>x</b>",
    ],
)
def test_nothing_active_is_left(text: str) -> None:
    clean = HTML.apply({"h": text})["h"]
    assert isinstance(clean, SafeHtml)
    assert Active(clean).found == []
    assert Active(text).found != []


def test_what_is_listed_stays() -> None:
    text = '<p>Hello <b>Ann</b>, <a href="https://example.org/x" title="see">this</a><br>1 &lt; 2</p>'
    clean = HTML.apply({"h": text})["h"]
    assert clean == text.replace('title="see"', 'title="see" rel="noopener noreferrer nofollow"')
    assert clean.__html__() == clean  # type: ignore[attr-defined]
    bare = Guards({"h": HtmlGuard(kind="html", tags=("b",))}, {}).apply({"h": text})["h"]
    assert bare == "Hello <b>Ann</b>, this1 &lt; 2"


def test_only_a_link_keeps_attributes() -> None:
    text = '<b title="see" lang="ar">x</b><a href="https://example.org/" lang="ar">y</a>'
    assert HTML.apply({"h": text})["h"] == (
        '<b>x</b><a href="https://example.org/" rel="noopener noreferrer nofollow">y</a>'
    )


@pytest.mark.parametrize(
    "text",
    [
        "Pay &#x202e;001&#x202c; USD",
        "a&#8203;b",
        "a&ZeroWidthSpace;b&rlm;",
        "&#27;[2J",
        '<a href="https://example.org/&#x202e;x">y</a>',
        '<a href="https://example.org/" title="&#xe0041;">y</a>',
    ],
)
def test_c144_a_character_reference_hides_nothing(text: str) -> None:
    with pytest.raises(GuardRefused) as caught:
        HTML.apply({"h": text})
    assert "U+" in caught.value.detail
    assert caught.value.message.isprintable()
    kept = text.replace("&", "&amp;")  # the words of a reference are no reference
    assert HTML.apply({"h": kept})["h"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        "<ul><li>" * 30_000,
        "<a " + " ".join(f"{number:x}" for number in range(50_000)) + ">",
        ("<a><b><i><em><strong>" * 3 + "</p>") * 3_000,
        "<p>" + "".join(f"<b x{number}>" for number in range(600)) + "<p>x" * 600 + "</b>" * 600,
    ],
    ids=["nested", "attributes", "formatting", "grown"],
)
def test_c152_html_that_a_parser_must_repair_costs_no_minute(text: str) -> None:
    with pytest.raises(GuardRefused) as caught:
        HTML.apply({"h": text})
    assert "at most" in caught.value.message


def test_html_of_another_kind_or_too_long() -> None:
    for value in (7, ["<b>"], "x" * 300_000):
        with pytest.raises(GuardRefused):
            HTML.apply({"h": value})
