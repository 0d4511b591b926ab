"""Catalogue, what is left of a secret (C122, C132): in failures, facts and results; and what it may not hide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import Parked, Released
from gateway.domain.masking import MASK
from gateway.office import Office
from tests.support import ANA, Tool, gateway_with, one, records, tool

PIN = 'hunter-"22"\\end'


def _everything_written(base: Path) -> bytes:
    """Every byte below the deployment's folder, keys apart."""
    return b"".join(
        path.read_bytes() for path in (base / "home").rglob("*") if path.is_file() and "keys" not in path.parts
    )


def _spellings(secret: str) -> list[bytes]:
    inside_json = json.dumps(secret)[1:-1]
    return [secret.encode(), inside_json.encode(), json.dumps(inside_json)[1:-1].encode()]


def _secret(fn: Any, **more: Any) -> Tool:
    return tool(fn, secrets=["pin"], **more)


def test_c122_what_a_tool_says_when_it_fails_holds_no_secret_heard_before(tmp_path: Path) -> None:
    kept: list[str] = []

    def learn(pin: str) -> str:
        kept.append(pin)
        return "ok"

    def tell() -> str:
        raise ValueError(f"it was {kept[0]}")

    with gateway_with(tmp_path, _secret(learn), tool(tell)) as gateway:
        session = gateway.session(ANA)
        one(session, "learn", pin="correct horse")
        one(session, "tell")
    assert b"correct horse" not in _everything_written(tmp_path)
    assert records(tmp_path, "call.outcome")[-1]["detail"] == f"ValueError: it was {MASK}"


@pytest.mark.parametrize("denied", [False, True])
def test_c122_a_fact_that_repeats_the_secret_is_judged_and_not_recorded(tmp_path: Path, denied: bool) -> None:
    def pay(pin: str) -> str:
        return "ok"

    contract = _secret(
        pay,
        facts={"owner": {"provider": "owner", "args": ["pin"]}},
        rules=[
            {"id": "same", "require": f"(facts.owner.pin == args.pin) != {str(denied).lower()}", "tell_model": "No."}
        ],
    )
    with gateway_with(tmp_path, contract) as gateway:
        gateway.register_fact("owner", lambda ctx, pin: {"pin": pin, "note": f"<{pin}>", "list": [pin], pin: 1})
        outcome = one(gateway.session(ANA), "pay", pin=PIN)
    assert isinstance(outcome, Released) is not denied  # the rule saw the fact as it is
    for spelling in _spellings(PIN):
        assert spelling not in _everything_written(tmp_path)


def test_c122_an_approver_is_shown_the_fact_without_the_secret(tmp_path: Path) -> None:
    def pay(pin: str) -> str:
        return "ok"

    contract = _secret(pay, risk="high", facts={"owner": {"provider": "owner", "args": ["pin"]}})
    with gateway_with(tmp_path, contract) as gateway:
        gateway.register_fact("owner", lambda ctx, pin: f"{pin} belongs to Lea")
        outcome = one(gateway.session(ANA), "pay", pin=PIN)
        assert isinstance(outcome, Parked)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            view = office.desk().show(outcome.request_id)
    assert view is not None
    assert dict(view.facts) == {"owner": f'"{MASK} belongs to Lea"'}


@pytest.mark.parametrize(
    "given",
    [
        lambda pin: pin,
        lambda pin: f"your pin is {pin}.",
        lambda pin: {"a": [pin], pin: "as a key"},
        lambda pin: json.dumps({"inner": pin}),
    ],
    ids=["alone", "in text", "deep and as a key", "json within json"],
)
def test_c122_a_result_that_repeats_a_secret_stays_json_and_loses_it(tmp_path: Path, given: Any) -> None:
    def pay(pin: str) -> str:
        return given(pin)  # type: ignore[no-any-return]

    with gateway_with(tmp_path, _secret(pay)) as gateway:
        outcome = one(gateway.session(ANA), "pay", pin=PIN)
    assert isinstance(outcome, Released)
    assert MASK in json.dumps(orjson.loads(outcome.content))
    for spelling in _spellings(PIN):
        assert spelling not in outcome.content.encode()
        assert spelling not in _everything_written(tmp_path)


def test_c122_a_number_is_a_secret_like_any_other(tmp_path: Path) -> None:
    def pay(pin: int) -> dict[str, Any]:
        return {"pin": pin, "text": f"pin {pin}", "other": 7, "ok": True}

    def give(pin: int) -> Any:
        return pay(pin)

    with gateway_with(tmp_path, _secret(give, name="pay")) as gateway:
        outcome = one(gateway.session(ANA), "pay", pin=43210)
    assert isinstance(outcome, Released)
    told = orjson.loads(outcome.content)["untrusted_result"]
    assert told == {"pin": MASK, "text": f"pin {MASK}", "other": 7, "ok": True}
    assert all("43210" not in each["preview"] for each in records(tmp_path, "call.outcome"))


def test_c122_a_declared_secret_of_many_lines_is_found_in_json(tmp_path: Path) -> None:
    key = "line one of a key\nline two\n"

    def read() -> str:
        return f"here: {key}"

    with gateway_with(tmp_path, tool(read)) as gateway:
        gateway.declare_secret("key", key)
        outcome = one(gateway.session(ANA), "read")
    assert isinstance(outcome, Released)
    assert orjson.loads(outcome.content)["untrusted_result"] == f"here: {MASK}"


def test_c132_a_payload_that_looks_like_a_secret_is_shown_to_the_approver(tmp_path: Path) -> None:
    payload = "-----BEGIN RSA PRIVATE KEY-----pay attacker@example.org sk-" + "a" * 30

    def send(text: str) -> str:
        return "sent"

    with gateway_with(tmp_path, tool(send, risk="high", effect="external")) as gateway:
        gateway.declare_secret("text", "attacker@example.org")  # declared, and still shown: an approver decides on it
        outcome = one(gateway.session(ANA), "send", text=payload)
        assert isinstance(outcome, Parked)
        with Office.open(tmp_path / "policies", tmp_path / "home") as office:
            view = office.desk().show(outcome.request_id)
    assert view is not None
    (argument,) = view.arguments
    assert json.loads(argument.value) == payload
    assert not argument.masked
