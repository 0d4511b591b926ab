"""A document that breaks its model is refused in plain words, at the right place."""

from __future__ import annotations

import pytest

from gateway.domain.errors import PolicyError
from gateway.policy.check import checked
from gateway.policy.documents import Approvers, Contract, Document, Settings
from gateway.policy.yaml import read_yaml
from tests.unit.policy.folders import CONTRACT_TEXT

RULE = "- {id: one, require: 'true', tell_model: No.}"


def refusal(text: str, model: type[Document] = Contract) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        checked(read_yaml(text.encode(), file="tools/look_up.yaml"), model)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        (CONTRACT_TEXT.replace("risk", "rsk"), 3, 1, "`rsk` is not a key here. Did you mean 'risk'?"),
        (CONTRACT_TEXT.replace("low", "lwo"), 3, 7, "Did you mean 'low'?"),
        (CONTRACT_TEXT.replace("effect: none\n", ""), 1, 1, "the key `effect` is missing"),
        (CONTRACT_TEXT + "idempotent: yes\n", 11, 13, "true or false, not 'yes'"),
        (CONTRACT_TEXT + "execution: {deadline: 5}\n", 11, 13, "Did you mean 'deadline_s'?"),
        (CONTRACT_TEXT + "execution: {deadline_s: -5}\n", 11, 25, "greater than 0"),
        (CONTRACT_TEXT + "guards:\n  key: {kind: path, rot: x}\n", 12, 21, "Did you mean 'root'?"),
        (CONTRACT_TEXT + "guards:\n  key: {kind: uri}\n", 12, 15, "`kind` under `key` must be 'path', 'url', 'sql'"),
        (
            CONTRACT_TEXT + "guards:\n  kez: {kind: email}\n",
            12,
            8,
            "`guards.kez` names 'kez', but look_up has only key",
        ),
        (CONTRACT_TEXT + "secrets: [key, pin]\n", 11, 16, "`secrets` names 'pin'"),
        (CONTRACT_TEXT + "facts: {one: {provider: one, args: [kez]}}\n", 11, 37, "names 'kez'"),
        (CONTRACT_TEXT + f"rules:\n{RULE}\n{RULE}\n", 13, 8, "two rules have the id 'one'"),
        (CONTRACT_TEXT + "execution: {retries: 1}\n", 11, 22, "`idempotent: true`"),
        (CONTRACT_TEXT + "execution: {inline: true, sandbox: x}\n", 11, 21, "exclude each other"),
        (CONTRACT_TEXT + "approval: {approvers: 0}\n", 11, 11, "at least one approver"),
        (CONTRACT_TEXT.replace("look_up", "look up"), 1, 7, "pattern"),
        ("- a\n", 1, 1, "mapping of keys"),
    ],
)
def test_contract_errors_point_at_their_cause(text: str, line: int, column: int, says: str) -> None:
    error = refusal(text)
    assert (error.file, error.line, error.column) == ("tools/look_up.yaml", line, column), error
    assert says in error.message


def test_a_misspelt_key_is_reported_before_what_it_causes() -> None:
    assert "`parametrs`" in refusal(CONTRACT_TEXT.replace("parameters", "parametrs")).message


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([("max", "A"), ("max", "B")], "stands here twice"),
        ([("max", "A"), ("lea", "A")], "share one key"),
        ([("user:max", "A")], "user:"),
        ([(" max", "A")], "edge"),
    ],
)
def test_approvers_are_distinct_people_with_plain_ids(entries: list[tuple[str, str]], says: str) -> None:
    rows = "".join(f'- {{id: "{who}", key: "ed25519:{key * 43}="}}\n' for who, key in entries)
    error = refusal(f"approvers:\n{rows}", Approvers)
    assert says in error.message
    assert error.line == len(entries) + 1


def test_lists_and_whole_numbers_are_taken_where_tuples_and_floats_are_meant() -> None:
    text = CONTRACT_TEXT + "authority: [key]\nexecution: {deadline_s: 5}\nresult: {schema: {type: object}}\n"
    contract = checked(read_yaml(text.encode(), file="x"), Contract)
    assert contract.authority == ("key",)
    assert contract.execution.deadline_s == 5.0
    assert contract.result.schema_ == {"type": "object"}


def test_settings_may_leave_everything_out() -> None:
    assert checked(read_yaml(b"loop: {}", file="settings.yaml"), Settings) == Settings()
