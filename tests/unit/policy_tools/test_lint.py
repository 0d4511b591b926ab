"""Each finding of the linter, made to appear by one edit of a policy that is otherwise clean."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import PolicyError
from gateway.policy.loader import load
from gateway.policy_tools.lint import Finding, lint

SHIPPED = Path(__file__).parents[3] / "policies"
STARTER = Path(__file__).parents[3] / "gateway" / "starter_policies"
NOT_ENROLLED = "approvers-missing"  # no private key is shipped, so nobody is enrolled

REFUND = "tools/initiate_refund.yaml"
MAIL = "tools/send_email.yaml"
ORDER = "tools/get_order_status.yaml"
BACKUP = "The weather in a city now, from the backup source. Called when get_weather has failed, and not otherwise."
CSV = "policy.csv"


def findings(policies: Path) -> list[Finding]:
    return [each for each in lint(load(policies)) if each.code != NOT_ENROLLED]


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(policies: Path) -> None:
        text = (policies / file).read_text()
        assert old in text, old
        (policies / file).write_text(text.replace(old, new))

    return edit


def add(row: str) -> Callable[[Path], None]:
    def edit(policies: Path) -> None:
        (policies / CSV).write_text((policies / CSV).read_text() + row + "\n")

    return edit


def without(file: str, word: str) -> Callable[[Path], None]:
    def edit(policies: Path) -> None:
        rows = (policies / file).read_text().split("\n")
        (policies / file).write_text("\n".join(row for row in rows if word not in row))

    return edit


def cut(file: str, start: str, end: str) -> Callable[[Path], None]:
    def edit(policies: Path) -> None:
        text = (policies / file).read_text()
        (policies / file).write_text(text[: text.index(start)] + text[text.index(end) :])

    return edit


@pytest.mark.parametrize("policies", [SHIPPED, STARTER], ids=["shipped", "starter"])
def test_the_policies_we_ship_are_clean(policies: Path) -> None:
    assert findings(policies) == []


def test_approvers_who_are_not_enrolled_are_named() -> None:
    codes = {each.code for each in lint(load(SHIPPED))}
    assert codes == {NOT_ENROLLED}


@pytest.mark.parametrize(
    ("code", "edit", "file"),
    [
        ("role-unheld", add("p, role:ghost, get_order_status, see, allow"), CSV),
        ("role-empty", add("g, user:ana, role:empty"), CSV),
        (
            "row-shadowed",
            add("p, user:ana, export_customers, see, allow\np, role:support, export_customers, see, deny"),
            CSV,
        ),
        ("tool-ungranted", without(CSV, "export_customers"), "tools/export_customers.yaml"),
        ("approval-impossible", replace(CSV, "p, role:lead, initiate_refund, approve, allow\n", ""), REFUND),
        ("effect-unguarded", cut(MAIL, "rules:", "limits:"), MAIL),
        ("effect-key-missing", replace(REFUND, "effect_key: [order_id]\n", ""), REFUND),
        ("serialize-per-process", replace(REFUND, "effect_key: [order_id]\n", ""), REFUND),
        ("authority-missing", replace(REFUND, "authority: [order_id, amount_cents]\n", ""), REFUND),
        ("guard-advisory", replace(MAIL, 'args.to.endsWith("@acme.example")', "args.subject != ''"), MAIL),
        (
            "description-vague",
            replace(
                "tools/get_weather_backup.yaml",
                BACKUP,
                "Weather.",
            ),
            "tools/get_weather_backup.yaml",
        ),
        ("parameter-undescribed", replace(MAIL, ", description: One line.", ""), MAIL),
        ("regex-unanchored", replace(ORDER, '"^A-[0-9]{4}$"', '"A-[0-9]{4}"'), ORDER),
        ("regex-unicode", replace(ORDER, '"^A-[0-9]{4}$"', "'^A-\\d{4}$'"), ORDER),
        ("regex-exponential", replace(ORDER, '"^A-[0-9]{4}$"', '"^(A-[0-9]+)+$"'), ORDER),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_finding_has_its_code_and_its_place(
    code: str, edit: Callable[[Path], None], file: str, tmp_path: Path
) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    edit(policies)
    found = [each for each in findings(policies) if each.code == code]
    assert found, [each.code for each in findings(policies)]
    assert all(each.mend for each in found)
    assert found[0].place.file == file
    assert found[0].place.line > 0


def test_a_long_tool_list_is_found(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    template = (policies / "tools/get_weather_backup.yaml").read_text()
    for number in range(4):
        name = f"get_weather_{number}"
        text = template.replace("get_weather_backup", name, 1).replace(
            "backup source", f"source {number}" * (number + 3)
        )
        (policies / f"tools/{name}.yaml").write_text(text)
        add(f"p, role:support, {name}, see, allow\np, role:support, {name}, call, allow")(policies)
    assert "list-long" in {each.code for each in findings(policies)}


def test_two_tools_described_alike_are_found(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    text = (policies / ORDER).read_text().replace("tool: get_order_status", "tool: order_state")
    (policies / "tools/order_state.yaml").write_text(text)
    assert "descriptions-alike" in {each.code for each in findings(policies)}


def test_a_secret_pattern_that_could_run_for_ever_is_an_error(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (policies / "settings.yaml").write_text("secret_patterns: ['(x+x+)+y']\n")
    assert [(each.level, each.code) for each in findings(policies)] == [("error", "regex-exponential")]


@pytest.mark.parametrize("pattern", ["(", "a*", ""])
def test_a_secret_pattern_that_cannot_work_is_refused_at_load(pattern: str, tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (policies / "settings.yaml").write_text(f"secret_patterns: ['{pattern}']\n")
    with pytest.raises(PolicyError, match=r"settings\.yaml:1"):
        load(policies)
