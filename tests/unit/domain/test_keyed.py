"""Keyed digests are HMAC-SHA-256 (RFC 2104) to the byte: an auditor with the key can check one with any tool."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import SettingsError
from gateway.domain.keyed import KEY_BYTES, DigestKey

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@given(KEYS, st.binary(max_size=300), st.sampled_from([b"", b"wire", b"effective"]))
def test_the_same_bytes_as_the_standard_library(key: bytes, data: bytes, domain: bytes) -> None:
    made = DigestKey(key)
    expected = hmac.digest(key, domain + b"\0" + data, "sha256").hex()
    assert made.digest(data, domain=domain) == f"hmac-sha256:{made.id}:{expected}"
    assert made.matches(data, made.digest(data, domain=domain), domain=domain)


@given(KEYS, st.binary(max_size=100))
def test_one_digest_leaves_no_trace_in_the_next(key: bytes, data: bytes) -> None:
    made = DigestKey(key)
    first = made.digest(data)
    made.digest(b"something else")
    assert made.digest(data) == first


def test_digests_for_different_purposes_differ() -> None:
    key = DigestKey(b"k" * KEY_BYTES)
    assert not key.matches(b"1234", key.digest(b"1234", domain=b"argument"), domain=b"effect")


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(SettingsError):
        DigestKey(b"k" * size)
