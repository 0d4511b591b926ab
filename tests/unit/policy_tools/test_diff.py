"""What a change of policy means, one change at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.policy.documents import Contract
from gateway.policy.loader import load
from gateway.policy_tools.diff import _SPOKEN_OF, diff

SHIPPED = Path(__file__).parents[3] / "policies"
REFUND = "tools/initiate_refund.yaml"


@pytest.mark.parametrize(
    ("file", "old", "new", "meaning", "said"),
    [
        ("policy.csv", "p, role:support, run_python, call, allow\n", "", "narrows", "may no longer call it"),
        (
            "policy.csv",
            "g, user:lea, role:lead",
            "g, user:lea, role:lead\ng, user:lea, role:support",
            "widens",
            "may now call it",
        ),
        (REFUND, "maximum: 1000000", "maximum: 500", "breaks", "amount_cents: maximum 1000000 -> 500"),
        (REFUND, "maximum: 1000000", "maximum: 2000000", "widens", "amount_cents: maximum 1000000 -> 2000000"),
        (REFUND, "goodwill]", "goodwill, gift]", "widens", "reason takes more values"),
        (REFUND, ", goodwill]", "]", "breaks", "reason no longer takes ['goodwill']"),
        (REFUND, "otherwise: escalate\n    ", "", "narrows", "the rule large_refund now says deny"),
        (REFUND, "<= 10000", "<= 20000", "widens", "the rule large_refund asks otherwise"),
        (REFUND, "approvers: 1", "approvers: 2", "narrows", "2 approver(s) instead of 1"),
        (REFUND, "effect_key: [order_id]\n", "", "widens", "order_id is no longer in effect_key"),
        (REFUND, "order_id: {type", "order: {type", "breaks", "the parameter order_id is now called order"),
        (REFUND, '"^A-[0-9]{4}$"', '"^[AB]-[0-9]{4}$"', "breaks", "order_id has another pattern"),
        (REFUND, "minimum: 1,", "exclusiveMinimum: 0,", "breaks", "amount_cents has another exclusiveMinimum"),
        (REFUND, "approvers: 1", "approvers: 1\n  expires_s: 86400", "widens", "a request lasts 86400 s"),
        (REFUND, "limits:", "tags: [money]\nlimits:", "widens", "another tags"),
        (
            REFUND,
            "authority: [order_id, amount_cents]",
            "authority: [order_id, amount_cents]\npersonal: [reason]",
            "narrows",
            "reason is now in personal",
        ),
        (
            "tools/read_report.yaml",
            "max_bytes: 65536",
            "max_bytes: 99999",
            "widens",
            "the guard path is another",
        ),
        (
            "tools/send_email.yaml",
            "  to: {kind: email}",
            "  to: {kind: email}\n  body: {kind: text}",
            "narrows",
            "the guard body is new",
        ),
        ("settings.yaml", "repeats: 5", "repeats: 9", "widens", "loop.repeats 5 -> 9"),
        ("settings.yaml", "turns_per_run: 40", "turns_per_run: 9", "narrows", "loop.turns_per_run 40 -> 9"),
        ("settings.yaml", "on_secret: refuse", "on_secret: mask", "widens", "answer.on_secret refuse -> mask"),
        (
            "approvers.yaml",
            "approvers: []",
            f"approvers: [{{id: lea, key: 'ed25519:{'A' * 43}='}}]",
            "widens",
            "lea may vote",
        ),
        ("sandbox/python.yaml", "memory_mib: 256", "memory_mib: 900", "widens", "memory_mib 256 -> 900"),
        (REFUND, "US cents: 12.50", "Cents: 12.50", "rewords", "the description of amount_cents"),
    ],
    ids=str,
)
def test_one_change(file: str, old: str, new: str, meaning: str, said: str, tmp_path: Path) -> None:
    after = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    text = (after / file).read_text()
    assert old in text
    (after / file).write_text(text.replace(old, new))
    if "order: {type" in new:
        (after / file).write_text((after / file).read_text().replace("order_id", "order"))
    found = diff(load(SHIPPED), load(after))
    assert any(each.meaning == meaning and said in each.what for each in found.differences), found.differences


def test_a_comment_means_nothing_and_a_description_costs_the_prompt_cache(tmp_path: Path) -> None:
    after = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    path = after / "tools/get_weather.yaml"
    path.write_text("# looked at on Monday\n" + path.read_text())
    same = diff(load(SHIPPED), load(after))
    assert (same.differences, same.lists_changed) == ((), ())
    path.write_text(path.read_text().replace("The weather in a city", "The weather of a city"))
    reworded = diff(load(SHIPPED), load(after))
    assert [each.meaning for each in reworded.differences] == ["rewords"]
    assert reworded.lists_changed == ("ana",)


def test_a_tool_that_is_gone_breaks_the_model(tmp_path: Path) -> None:
    after = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (after / "tools/run_python.yaml").unlink()
    rows = (after / "policy.csv").read_text().split("\n")
    (after / "policy.csv").write_text("\n".join(row for row in rows if "run_python" not in row))
    found = diff(load(SHIPPED), load(after)).differences
    assert any(each.meaning == "breaks" and each.what == "the tool is gone" for each in found)


def test_a_tool_that_was_renamed_is_said_to_be(tmp_path: Path) -> None:
    after = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    text = (after / "tools/run_python.yaml").read_text()
    (after / "tools/run_python.yaml").unlink()
    (after / "tools/compute.yaml").write_text(text.replace("tool: run_python", "tool: compute"))
    (after / "policy.csv").write_text((after / "policy.csv").read_text().replace("run_python", "compute"))
    found = diff(load(SHIPPED), load(after))
    assert ("breaks", "run_python", "the tool is now called compute") in [
        (each.meaning, each.subject, each.what) for each in found.differences
    ]
    assert found.lists_changed == ("ana",)


def test_only_what_the_model_is_shown_costs_the_prompt_cache(tmp_path: Path) -> None:
    """Bounds, descriptions and rights do; rules, limits, approval and settings do not."""
    for number, (file, old, new, costs) in enumerate(
        [
            (REFUND, "maximum: 1000000", "maximum: 500", True),
            ("policy.csv", "p, role:support, run_python, see, allow\n", "", True),
            (REFUND, "<= 10000", "<= 20000", False),
            (REFUND, "per_conversation: 10", "per_conversation: 11", False),
            (REFUND, "approvers: 1", "approvers: 2", False),
            ("settings.yaml", "repeats: 5", "repeats: 9", False),
        ]
    ):
        after = Path(shutil.copytree(SHIPPED, tmp_path / str(number)))
        (after / file).write_text((after / file).read_text().replace(old, new))
        found = diff(load(SHIPPED), load(after))
        assert found.differences
        assert bool(found.lists_changed) is costs, (file, new)


def test_every_field_of_a_contract_is_spoken_of() -> None:
    """A field that somebody adds is a widening until it is given words; none is passed over."""
    assert set(Contract.model_fields) >= _SPOKEN_OF
