"""What a change of policy means, one change at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.policy.loader import load
from gateway.policy_tools.diff import diff

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
        (REFUND, "US cents: 12.50", "Cents: 12.50", "rewords", "the description of amount_cents"),
    ],
    ids=range(11),
)
def test_one_change(file: str, old: str, new: str, meaning: str, said: str, tmp_path: Path) -> None:
    after = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    text = (after / file).read_text()
    assert old in text
    (after / file).write_text(text.replace(old, new))
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
