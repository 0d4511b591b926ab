"""Each finding of the linter, made to appear by one edit of a policy that is otherwise clean."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import PolicyError
from gateway.policy.loader import load
from gateway.policy_tools.lint import Finding, lint
from gateway.policy_tools.lint.ambiguity import exponential

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "policies"
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


def pattern(text: str) -> Callable[[Path], None]:
    return replace(ORDER, '"^A-[0-9]{4}$"', f"'{text}'")


def rule(require: str, *, otherwise: str = "deny", after: str = "large_refund") -> Callable[[Path], None]:
    """One more rule, before the limits of the refund."""
    text = f"  - {{id: more, require: '{require}', otherwise: {otherwise}, tell_model: No.}}\nlimits:\n"
    return replace(REFUND, "limits:\n", text)


RESULT = "result:\n  schema: {type: object, properties: {pin: {type: string}}, required: [pin]}\n"


@pytest.mark.parametrize(
    ("code", "edit", "file", "text"),
    [
        ("role-unheld", add("p, role:ghost, get_order_status, see, allow"), CSV, "role:ghost"),
        ("role-empty", add("g, user:ana, role:empty"), CSV, "role:empty"),
        (
            "row-shadowed",
            add("p, user:ana, export_customers, see, allow\np, role:support, export_customers, see, deny"),
            CSV,
            "export_customers, see, allow",
        ),
        ("row-shadowed", add("p, role:support, get_weather, call, deny"), CSV, "get_weather, call, allow"),
        (
            "row-redundant",
            add("p, user:ana, get_weather, call, allow"),
            CSV,
            "get_weather, call, allow",
        ),
        ("row-idle", add("p, role:lead, get_weather, see, allow"), CSV, "get_weather, see, allow"),
        (
            "row-idle",
            replace("tools/get_weather.yaml", "  fallback: get_weather_backup\n", ""),
            CSV,
            "get_weather_backup, call, allow",
        ),
        ("tool-ungranted", without(CSV, "export_customers"), "tools/export_customers.yaml", "export_customers"),
        (
            "approval-impossible",
            replace(CSV, "p, role:lead, initiate_refund, approve, allow\n", ""),
            REFUND,
            "\n  when: rules",
        ),
        ("effect-unguarded", cut(MAIL, "rules:", "limits:"), MAIL, "risk: medium"),
        (
            "effect-unguarded",
            replace("tools/export_customers.yaml", "effect: none", "effect: none\napproval: {when: never}"),
            "tools/export_customers.yaml",
            "risk: high",
        ),
        (
            "effect-unjudged",
            replace("tools/get_weather.yaml", "risk: low\neffect: none", "risk: medium\neffect: internal"),
            "tools/get_weather.yaml",
            "risk: medium",
        ),
        ("effect-key-missing", replace(REFUND, "effect_key: [order_id]\n", ""), REFUND, "effect: external"),
        ("serialize-per-process", replace(REFUND, "effect_key: [order_id]\n", ""), REFUND, "serialize_by:"),
        ("authority-missing", replace(REFUND, "authority: [order_id, amount_cents]\n", ""), REFUND, "effect:"),
        ("guard-advisory", replace(MAIL, 'args.to.endsWith("@acme.example")', 'args.subject != ""'), MAIL, "to: {kind"),
        (
            "guard-advisory",
            replace(MAIL, "guards:\n", "guards:\n  body: {kind: text}\n"),
            MAIL,
            "body: {kind: text}",
        ),
        (
            "parallel-destructive",
            replace("settings.yaml", "answer:\n", "openai: {destructive_in_parallel: true}\nanswer:\n"),
            "settings.yaml",
            "true}",
        ),
        (
            "description-vague",
            replace("tools/get_weather_backup.yaml", BACKUP, "Weather."),
            "tools/get_weather_backup.yaml",
            "Weather.",
        ),
        (
            "description-no-when",
            replace("tools/get_weather_backup.yaml", BACKUP, "The weather in a city, not from the first source."),
            "tools/get_weather_backup.yaml",
            "The weather",
        ),
        (
            "description-no-limit",
            replace(
                "tools/get_weather_backup.yaml", BACKUP, "The weather in a city. Use it when the first one failed."
            ),
            "tools/get_weather_backup.yaml",
            "The weather",
        ),
        ("example-does-not-fit", replace(MAIL, "One line.", "One line., examples: [hi, '']"), MAIL, "subject: {type"),
        ("parameter-undescribed", replace(MAIL, ", description: One line.", ""), MAIL, "subject: {type"),
        (
            "not-strict",
            replace(
                MAIL,
                "type: string, minLength: 1, maxLength: 200,",
                "type: object, additionalProperties: {type: string},",
            ),
            MAIL,
            "type: object",
        ),
        ("rule-type", rule('args.amount_cents == "10"'), REFUND, 'args.amount_cents == "10"'),
        ("rule-type", rule("args.reason.size() > args.order_id"), REFUND, "args.reason.size()"),
        ("rule-type", rule("principal.roles == 3"), REFUND, "principal.roles"),
        ("rule-constant", rule("1 < 2"), REFUND, "1 < 2"),
        ("rule-idle", rule("args.amount_cents <= 1000000"), REFUND, "args.amount_cents <= 1000000'"),
        ("rule-impossible", rule("args.amount_cents <= 0"), REFUND, "args.amount_cents <= 0'"),
        (
            "rule-shadowed",
            replace(
                REFUND,
                "  - id: large_refund",
                "  - {id: top, require: args.amount_cents <= 5000, tell_model: No.}\n  - id: large_refund",
            ),
            REFUND,
            "args.amount_cents <= 10000",
        ),
        (
            "rule-shadowed",
            rule("facts.order.exists  && facts.order.customer_id == principal.on_behalf_of", otherwise="escalate"),
            REFUND,
            "facts.order.exists  &&",
        ),
        ("pointer-matches-nothing", replace(ORDER, "facts:\n", RESULT + "  secrets: [/pim]\nfacts:\n"), ORDER, "/pim"),
        ("pointer-matches-nothing", replace(ORDER, "facts:\n", RESULT + "  secrets: [pin]\nfacts:\n"), ORDER, "pin]\n"),
        ("pointer-unchecked", replace(ORDER, "facts:\n", "result: {secrets: [/pin]}\nfacts:\n"), ORDER, "/pin"),
    ],
    ids=lambda value: value if isinstance(value, str) and re.fullmatch("[a-z-]+", value) else "",
)
def test_a_finding_has_its_code_and_its_place(
    code: str, edit: Callable[[Path], None], file: str, text: str, tmp_path: Path
) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    edit(policies)
    found = [each for each in findings(policies) if each.code == code]
    assert found, [each.code for each in findings(policies)]
    assert all(each.mend for each in found)
    assert {each.place.file for each in found} == {file}
    written = (policies / file).read_text()
    starts = [match.start() + len(match[0]) - len(match[0].lstrip()) for match in find(text, written)]
    places = [at(written, start - (written[start - 1] == "'")) for start in starts]
    assert (found[0].place.line, found[0].place.column) in places


def find(text: str, written: str) -> list[re.Match[str]]:
    return list(re.finditer(re.escape(text), written))


def at(written: str, offset: int) -> tuple[int, int]:
    return written.count("\n", 0, offset) + 1, offset - written.rfind("\n", 0, offset)


C045 = [
    ("regex-unanchored", "A-[0-9]{4}"),
    ("regex-unanchored", "^A-[0-9]{4}"),
    ("regex-unanchored", "^A-[0-9]{4}$|B"),
    ("regex-newline", "(?m)^A-[0-9]{4}$"),
    ("regex-newline", "^A-[^-]{4}$"),
    ("regex-newline", "^A-[0-9]{4}\\s?$"),
    ("regex-unicode", "^A-\\d{4}$"),
    ("regex-exponential", "^([A-Z]+-?[0-9]*)+$"),
    ("regex-exponential", "^(A|A[0-9]|[0-9])+$"),
]


@pytest.mark.parametrize(("code", "text"), C045)
def test_c045_a_pattern_that_takes_more_than_it_seems_is_found(code: str, text: str, tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    pattern(text)(policies)
    found = [each for each in findings(policies) if each.code.startswith("regex")]
    assert code in {each.code for each in found}
    where = (policies / ORDER).read_text().split("\n")[found[0].place.line - 1]
    assert where[found[0].place.column - 1 :].startswith(f"'{text}'")


@pytest.mark.parametrize(
    "text", ["^A-[0-9]{4}$", "^(A|B)-[0-9]{4}$", "^A-[^\\n]+$", "^([A-Z]+-)+[0-9]$", "^(A-[0-9]+)+$", "^(?:a$|b$)"]
)
def test_c045_a_pattern_that_says_what_it_means_is_left_alone(text: str, tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    pattern(text)(policies)
    assert [each.code for each in findings(policies) if each.code.startswith("regex")] == []


def test_c045_a_rule_that_matches_anywhere_is_found(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    rule('args.order_id.matches("A-1")')(policies)
    assert [each.code for each in findings(policies)] == ["regex-unanchored"]


@pytest.mark.parametrize(
    ("text", "slow"),
    [
        ("(a+)+", True), ("(a*)*", True), ("(a|aa)+", True), ("(x+x+)+y", True), ("(a+b?)+", True), ("(.*a){20}", True),
        (r"(\d+\s?)+", True), ("([a-z]+[0-9]?)*", True), ("(a{1,64}){1,64}", True), ("(?i:A|a[b]?a?)+", True),
        ("(A-[0-9]+)+", False), ("[a-z]+(-[a-z]+)*", False), ("(a|b)*c", False), ("((a|b)*c)*", False),
        ("(ab|cd)+", False), ("[A-Z]{6,12}", False), ("(a{2}){3}", False),
    ],
)  # fmt: skip
def test_exponential_patterns_are_told_from_others(text: str, slow: bool) -> None:
    assert exponential(text) is slow


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
    (found,) = [each for each in findings(policies) if each.code == "list-long"]
    assert "role:support is shown 12 tools" in found.what
    assert lint(load(policies), most_tools=12) == [each for each in lint(load(policies)) if each.code != "list-long"]


def test_two_tools_described_alike_are_found(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    text = (policies / ORDER).read_text().replace("tool: get_order_status", "tool: order_state")
    (policies / "tools/order_state.yaml").write_text(text)
    assert "descriptions-alike" in {each.code for each in findings(policies)}


def test_a_secret_pattern_that_could_run_for_ever_is_an_error(tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (policies / "settings.yaml").write_text("secret_patterns: ['(x+x+)+y']\n")
    (found,) = findings(policies)
    assert (found.level, found.code) == ("error", "regex-exponential")
    assert str(found.place) == "settings.yaml:1:19"


@pytest.mark.parametrize("pattern", ["(", "a*", ""])
def test_a_secret_pattern_that_cannot_work_is_refused_at_load(pattern: str, tmp_path: Path) -> None:
    policies = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (policies / "settings.yaml").write_text(f"secret_patterns: ['{pattern}']\n")
    with pytest.raises(PolicyError, match=r"settings\.yaml:1"):
        load(policies)


def test_every_code_is_explained_and_every_explanation_is_of_a_code() -> None:
    source = "".join(path.read_text() for path in (ROOT / "gateway/policy_tools/lint").glob("*.py"))
    codes = set(re.findall(r'"(?:warning|error)",\s*"([a-z-]+)"', source)) - {"warning"}
    page = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", (ROOT / "docs/lint.md").read_text(), re.M)
    assert {code for code, _ in page} == codes
