"""I10: declared secrets reach neither log, database nor model. Catalogue C072."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import Gateway
from gateway.domain.call import Outcome, Parked
from gateway.domain.masking import MASK
from gateway.session import Session
from gateway.shapes.answers import content
from tests.support import (
    ANA,
    gateway_with,
    one,
    reason,
    records,
    result,
    tool,
    vote,
)

PIN = 'pin-"7391\\né-never-seen'


def _everything(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _spellings(secret: str) -> list[bytes]:
    return [secret.encode(), json.dumps(secret)[1:-1].encode(), json.dumps(secret, ensure_ascii=False)[1:-1].encode()]


def _close(gateway: Gateway, session: Session, base: Path) -> list[Outcome]:
    """A secret parameter on every way a call can end."""
    parked = one(session, "close", pin=PIN)
    assert isinstance(parked, Parked)
    vote(base, parked.request_id)
    given = [parked, session.resume_sync(parked.request_id), session.resume_sync(parked.request_id)]
    given += [one(session, "echo", pin=PIN), one(session, "fail", pin=PIN), one(session, "fact", pin=PIN)]
    given += [one(session, "pattern", pin=PIN), one(session, "broken", pin=PIN), one(session, "rule", pin=PIN)]
    given.append(one(session, "close", pin=PIN))  # stays parked
    return given


def test_c072_a_secret_parameter_reaches_neither_log_nor_database_nor_model(tmp_path: Path) -> None:
    def close(pin: str) -> str:
        return f"closed with {pin}"

    def fail(pin: str) -> str:
        raise ValueError(f"wrong pin {pin!s} {pin!r}")

    def broken(pin: str) -> dict[str, str]:
        return {"token": pin, "other": pin}

    def quoting(_: object, pin: str) -> object:
        raise LookupError(f"nobody has {pin}")

    rule = {"id": "r", "require": "args.pin == 'x'", "tell_model": "not with this pin"}
    closed = {"type": "object", "properties": {"token": {"enum": ["a"]}}, "additionalProperties": False}
    subjects = [
        tool(close, risk="high", secrets=["pin"]),
        tool(close, name="echo", secrets=["pin"], effect_key=["pin"], serialize_by=["pin"], effect="external"),
        tool(fail, secrets=["pin"]),
        tool(
            close,
            name="fact",
            secrets=["pin"],
            facts={"it": {"provider": "quoting", "args": ["pin"]}},
            rules=[rule],
        ),
        tool(close, name="pattern", secrets=["pin"]),
        tool(broken, secrets=["pin"], result={"schema": closed, "secrets": ["/token"]}),
        tool(close, name="rule", secrets=["pin"], rules=[rule]),
    ]
    subjects[4].contract["parameters"]["properties"]["pin"] = {"type": "string", "pattern": "^[0-9]+$"}
    with gateway_with(tmp_path, *subjects) as gateway, capture_logs() as alarms:
        gateway.register_fact("quoting", quoting)
        session = gateway.session(ANA, conversation="c")
        given = _close(gateway, session, tmp_path)
        while_running = _everything(tmp_path / "home")
    kinds = [type(each).__name__ for each in given]
    assert kinds == ["Parked", *["Released"] * 4, "Denied", "Denied", "Released", "Denied", "Parked"]
    after = _everything(tmp_path / "home")
    for spelled in _spellings(PIN):
        assert spelled not in while_running
        assert spelled not in after
        assert spelled.decode() not in "".join(content(each) for each in given)
        assert spelled.decode() not in repr(alarms)
    digests = {each["arguments"]["pin"]["$hmac"] for each in records(tmp_path, "call.intent")}
    assert len(digests) == 1  # equal secrets show as equal, and as nothing else
    assert digests.pop().startswith("hmac-sha256:")


def test_a_declared_secret_of_the_host_is_masked_in_results_and_records(tmp_path: Path) -> None:
    def leak() -> dict[str, str]:
        return {"config": f"password={PIN};"}

    with gateway_with(tmp_path, tool(leak)) as gateway:
        gateway.declare_secret("database", PIN)
        outcome = one(gateway.session(ANA), "leak")
        assert result(outcome) == {"config": "password=[secret removed];"}
    assert not any(spelled in _everything(tmp_path / "home") for spelled in _spellings(PIN))


VAULT = "correct horse battery"
ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in VAULT)


@pytest.mark.parametrize(
    "answer",
    [
        f'{{"answer": "{ESCAPED}"}}',
        f'{{"answer": "{ESCAPED}", "answer": "nothing"}}',
        f'[{{"{ESCAPED}": 1}}]',
        f' "{ESCAPED[:60]}{VAULT[10:]}"',
        '{"digits": "731"}',
        f'[{"[" * 2000}"{ESCAPED}"{"]" * 2000}]',
        f'{{"digits": {"7" * 5000}, "answer": "{ESCAPED}"}}',  # more of them than Python makes a number of
        f'{{"half": "\\ud800", "answer": "{ESCAPED}"}}',
    ],
)
@pytest.mark.parametrize(("on_secret", "verdict"), [("refuse", "refused"), ("mask", "masked")])
def test_c143_no_spelling_of_json_takes_a_declared_secret_out(
    tmp_path: Path, answer: str, on_secret: str, verdict: str
) -> None:
    def check(pin: str) -> str:
        return "right"

    settings = {"answer": {"on_secret": on_secret}}
    with gateway_with(tmp_path, tool(check, secrets=["pin"]), settings=settings) as gateway:
        gateway.declare_secret("vault", VAULT)
        session = gateway.session(ANA)
        one(session, "check", pin="731")  # too short to be looked for inside text
        whole = '{"to": "Z\\u00fcrich", "to_pay": 7310}'
        assert session.check_answer_sync(whole).text == whole
        left = session.check_answer_sync(answer).text
    assert (left is None) == (on_secret == "refuse")
    spelled = "" if left is None else json.dumps(MASK if left == MASK else json.loads(left))
    assert VAULT not in spelled
    assert left is None or left.encode()  # half a character, once decoded, could not be sent on
    assert '"731"' not in spelled
    assert [each["verdict"] for each in records(tmp_path, "answer.checked")] == [verdict]


def test_c154_a_conversation_keeps_no_more_secrets_than_can_be_looked_for(tmp_path: Path) -> None:
    done: list[int] = []

    def check(pins: list[str]) -> str:
        done.append(len(pins))
        return pins[0]

    parameters = {"properties": {"pins": {"type": "array", "items": {"type": "string"}}}, "required": ["pins"]}
    kept = tool(check, secrets=["pins"], parameters={"type": "object", **parameters})
    with gateway_with(tmp_path, kept) as gateway:
        session = gateway.session(ANA)
        assert result(one(session, "check", pins=[f"first-{n}" for n in range(400)])) == "[secret removed]"
        assert reason(one(session, "check", pins=[f"second-{n}" for n in range(400)])) == "call_budget"
        assert result(one(session, "check", pins=["first-0", "third-0"])) == "[secret removed]"
        assert session.check_answer_sync("first-399, second-0, third-0").text is None
        assert session.check_answer_sync("second-0").text == "second-0"  # no tool ever saw it
        other = gateway.session(ANA, conversation="another")
        assert result(one(other, "check", pins=[f"second-{n}" for n in range(400)])) == "[secret removed]"
    assert done == [400, 2, 400]
