"""Our own events never carry a field of the framing's: the log relies on it and looks for the names no more (C120)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, get_args

import pytest

from gateway.audit.encode import encode
from gateway.audit.errors import RecordRefused
from gateway.audit.framing import OWN_PREFIX, RESERVED, check_body
from gateway.domain.event import Event, ProcessStopped

KINDS: tuple[Any, ...] = get_args(Event)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_event_has_a_field_that_the_framing_writes(kind: Any) -> None:
    assert not {field.name for field in fields(kind)} & {*RESERVED, "v", "kind"}
    body = encode(kind(*({} for _ in fields(kind))))
    assert body.startswith(OWN_PREFIX)
    assert list(json.loads(body)) == ["v", "kind", *(field.name for field in fields(kind))]
    check_body(body)


@pytest.mark.parametrize("name", RESERVED)
def test_c120_an_event_with_such_a_field_is_refused(name: str) -> None:
    made: Any = dataclass(type("Sequel", (), {"kind": "a.sequel", "__annotations__": {name: int}}))
    with pytest.raises(RecordRefused, match=name):
        encode(made(7))


@pytest.mark.parametrize("name", RESERVED)
def test_a_value_may_be_such_a_name(name: str) -> None:
    body = encode(ProcessStopped(name))
    check_body(body)
    assert json.loads(body)["reason"] == name
