"""`toolgate audit match`: a keyed digest shows nothing, and to the key's holder exactly one value (I10)."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.keys import Keys
from gateway.settings import locate
from tests.support import ANA, Tool, ask, gateway_with, one, open_gateway, records, result, tool


def shut(pin: str, note: str) -> str:
    return "shut"


def look(n: int) -> int:
    return n


def close(pin: object, note: str) -> str:
    return "closed"


KINDS = [
    {"type": "string"},
    {"type": "integer"},
    {"type": "boolean"},
    {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}, "b": {"type": "integer"}}},
]
PARAMETERS = {
    "type": "object",
    "properties": {"pin": {"anyOf": KINDS}, "note": {"type": "string"}},
    "required": ["pin", "note"],
    "additionalProperties": False,
}
CLOSE = Tool(tool(name="close", secrets=["pin"], personal=["note"], parameters=PARAMETERS).contract, close)


def _match(base: Path, value: str, *words: str) -> Result:
    where = ["--policies", str(base / "policies"), "--home", str(base / "home")]
    return CliRunner().invoke(app, ["audit", "match", *words, *where], input=value)


@pytest.mark.parametrize(
    ("pin", "typed", "same"),
    [
        ("4821", "4821\n", True),
        ("4821", '"4821"', True),
        ("4821", "4822", False),
        ("4821", "", False),
        (4821, "4821.0", True),
        ({"b": 1, "a": ["é"]}, '{"a": ["\\u00e9"], "b": 1e0}', True),
        ("two\nlines\n", "two\nlines\n\n", True),
        (True, "true", True),
        (10**15, "NaN", False),
    ],
)
def test_the_key_holder_shows_which_value_a_digest_stands_for(
    tmp_path: Path, pin: object, typed: str, same: bool
) -> None:
    with gateway_with(tmp_path, CLOSE) as gateway:
        result(one(gateway.session(ANA), "close", pin=pin, note="n"))
    done = _match(tmp_path, typed, "gw#2", "pin")
    assert done.exit_code == (0 if same else 1)
    assert done.stdout == f"gw#2: pin is {'the value that was given' if same else 'ANOTHER value'}\n"
    found = json.loads(_match(tmp_path, typed, "gw#2", "pin", "--json").stdout)
    assert found == {"parameter": "pin", "matches": {"gw#2": same}}


@pytest.mark.parametrize("words", [("gw#2", "note"), ("gw#2", "nothing"), ("gw#0", "pin"), ("call_1", "pin")])
def test_what_is_no_digest_matches_nothing(tmp_path: Path, words: tuple[str, str]) -> None:
    with gateway_with(tmp_path, CLOSE) as gateway:
        result(one(gateway.session(ANA), "close", pin="4821", note="n"))
    done = _match(tmp_path, "n", *words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "holds a keyed digest" in done.stderr


def test_digests_are_made_as_the_format_says(tmp_path: Path) -> None:
    """docs/audit-format.md, "Keyed digests", with nothing of ours."""
    with gateway_with(
        tmp_path, tool(shut, name="close", secrets=["pin"]), tool(look, effect="external", effect_key=["n"])
    ) as gateway:
        result(one(gateway.session(ANA), "close", pin="4821", note="n"))
        result(one(gateway.session(ANA), "look", n=1))
    key = (locate(tmp_path / "policies", tmp_path / "home").keys / "deployment" / "digest-0001.key").read_bytes()
    key_id = hashlib.sha256(b"toolgate digest key id\0" + key).hexdigest()[:8]

    def made(domain: bytes, data: bytes) -> str:
        return f"hmac-sha256:{key_id}:{hmac.new(key, domain + bytes(1) + data, 'sha256').hexdigest()}"

    closed, looked = records(tmp_path, "call.intent")
    assert closed["arguments"]["pin"] == {"$hmac": made(b"argument", b'"4821"')}
    assert closed["effective_digest"] == made(b"effective", b'{"note":"n","pin":"4821"}')
    assert looked["effect_key"] == made(b"effect", b'[["n",1]]')
    assert looked["wire_digest"] == made(b"wire", ask("look", n=1).arguments.encode())
    assert records(tmp_path, "call.outcome")[1]["result_digest"] == made(b"result", b"1")


def test_a_rotated_key_still_shows_it_and_a_lost_one_is_said(tmp_path: Path) -> None:
    with gateway_with(tmp_path, CLOSE) as gateway:
        result(one(gateway.session(ANA), "close", pin="4821", note="n"))
    folder = locate(tmp_path / "policies", tmp_path / "home").keys / "deployment"
    Keys.open(folder).rotate()
    with open_gateway(tmp_path, CLOSE) as gateway:
        result(one(gateway.session(ANA), "close", pin="4821", note="n"))
    assert _match(tmp_path, "4821", "gw#2", "pin").exit_code == 0
    shutil.move(folder / "digest-0001.key", tmp_path)
    lost = _match(tmp_path, "4821", "gw#2", "pin")
    assert lost.exit_code != 0
    assert "lacks the key" in str(lost.exception) + lost.output
