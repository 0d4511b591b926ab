"""What we compile is what Casbin decides, for every policy our loader accepts; a wrong compiler would be noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.authorize import grants as grants_module
from gateway.authorize.casbin_oracle import CasbinOracle, cross_check
from gateway.authorize.grants import Granted, Grants, compile_grants
from gateway.domain.errors import PolicyError
from gateway.policy.casbin_files import ACTIONS, AccessPolicy, read_policy
from tests.unit.policy.folders import MODEL_TEXT

USERS = ("ana", "o max", "admin")  # a user called like a role below
ROLES = ("role:a", "role:b", "role:admin", "role:c")
TOOLS = ("t1", "t2")
SUBJECTS = tuple(f"user:{name}" for name in USERS) + ROLES

Compiler = Callable[[AccessPolicy], Grants]

GRANT = st.tuples(
    st.just("p"),
    st.sampled_from(SUBJECTS),
    st.sampled_from(TOOLS),
    st.sampled_from(ACTIONS),
    st.sampled_from(["allow", "allow", "deny"]),
)
# Each holds only what stands later, so there is no circle: those are refused in test_policy_loading.py.
LINK = st.sampled_from([("g", low, high) for i, low in enumerate(SUBJECTS) for high in SUBJECTS[max(i + 1, 3) :]])


@st.composite
def accepted_policies(draw: st.DrawFn) -> AccessPolicy:
    """Policies that the strict reader accepts: rows in any order, spaces and comments anywhere they may be."""
    rows: list[tuple[str, ...]] = draw(st.lists(GRANT, min_size=6, max_size=24, unique=True))
    rows += draw(st.lists(LINK, min_size=2, max_size=8, unique=True))
    rows = draw(st.permutations(rows))
    comma = draw(st.sampled_from([",", ", ", " , "]))
    lines = [comma.join(row) for row in rows]
    lines.insert(draw(st.integers(0, len(lines))), "# a comment, with commas")
    return read_policy("\n".join(lines).encode(), MODEL_TEXT, frozenset(TOOLS))


def links_above(access: AccessPolicy, user: str) -> dict[str, int]:
    """Every subject whose rows count for `user`, and over how many links; not the code under test."""
    found = {f"user:{user}": 0}
    while True:
        further = {
            row.role: found[row.member] + 1 for row in access.roles if row.member in found and row.role not in found
        }
        if not further:
            return found
        found |= further


def compare(access: AccessPolicy, compiler: Compiler, seen: Counter[str]) -> None:
    ours, casbin = compiler(access), CasbinOracle(access)
    for user in (*USERS, "nobody"):
        subjects = links_above(access, user)
        for tool in (*TOOLS, "t3"):
            for action in ACTIONS:
                yes = casbin.allows(user, tool, action)
                assert isinstance(ours.decide(user, tool, action), Granted) is yes, (user, tool, action, access)
                rows = [r for r in access.grants if r.subject in subjects and (r.tool, r.action) == (tool, action)]
                allowing = [row for row in rows if row.allow]
                seen["granted"] += yes
                seen["nothing said"] += not rows
                seen["deny over allow"] += bool(allowing) and len(allowing) < len(rows)
                seen["deny alone"] += bool(rows) and not allowing
                seen["overlapping allows"] += len(allowing) > 1
                seen["granted only through two links or more"] += yes and min(subjects[r.subject] for r in rows) >= 2
                seen["denied only through a role"] += bool(allowing) and any(
                    not row.allow and subjects[row.subject] for row in rows
                )


def compare_many(compiler: Compiler) -> Counter[str]:
    seen: Counter[str] = Counter()

    @settings(max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    @given(accepted_policies())
    def each(access: AccessPolicy) -> None:
        compare(access, compiler, seen)

    each()
    return seen


def test_compiled_grants_decide_as_casbin_does() -> None:
    seen = compare_many(compile_grants)
    for kind in (
        "granted",
        "nothing said",
        "deny over allow",
        "deny alone",
        "overlapping allows",
        "granted only through two links or more",
        "denied only through a role",
    ):
        assert seen[kind] >= 20, (kind, seen)


@given(accepted_policies())
def test_compiled_grants_decide_as_casbin_does_on_fresh_policies(access: AccessPolicy) -> None:
    compare(access, compile_grants, Counter())


def without_deny(access: AccessPolicy) -> Grants:
    return compile_grants(replace(access, grants=tuple(row for row in access.grants if row.allow)))


def without_inheritance(access: AccessPolicy) -> Grants:
    return compile_grants(replace(access, roles=tuple(r for r in access.roles if r.member.startswith("user:"))))


def last_row_decides(access: AccessPolicy) -> Grants:
    last = {(row.subject, row.tool, row.action): row for row in access.grants}
    return compile_grants(replace(access, grants=tuple(last.values())))


def namespaces_dropped(access: AccessPolicy) -> Grants:
    """C027 the wrong way round: a user called like a role has its rows."""
    also = tuple(replace(r, subject="user:" + r.subject[5:]) for r in access.grants if r.subject.startswith("role:"))
    return compile_grants(replace(access, grants=access.grants + also))


@pytest.mark.parametrize("broken", [without_deny, without_inheritance, last_row_decides, namespaces_dropped])
def test_a_planted_bug_is_found(broken: Compiler) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)):
        compare_many(broken)


@pytest.mark.parametrize("broken", [without_deny, without_inheritance, last_row_decides, namespaces_dropped])
def test_a_planted_bug_is_refused_at_load(broken: Compiler) -> None:
    rows = """
        g, user:ana, role:a
        g, role:a, role:b
        p, role:b, t1, call, allow
        p, role:a, t2, call, allow
        p, role:a, t2, call, deny
        p, role:a, t2, see, deny
        p, role:a, t2, see, allow
        p, role:admin, t2, call, allow
        p, user:admin, t1, see, allow
    """
    access = read_policy(rows.encode(), MODEL_TEXT, frozenset(TOOLS))
    assert cross_check(compile_grants(access), access) == 3 * 3 * 3
    with pytest.raises(PolicyError, match="disagree"):
        cross_check(broken(access), access)


def test_a_bug_in_the_walk_over_roles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants_module, "_held", lambda user, above: {user, *(r.role for r in above.get(user, ()))})
    with pytest.raises((AssertionError, ExceptionGroup)):
        compare_many(compile_grants)


@pytest.mark.parametrize("broken", [without_deny, without_inheritance])
def test_a_planted_bug_is_refused_in_a_policy_too_long_to_be_asked_about_whole(broken: Compiler) -> None:
    tools = frozenset(f"t{number}" for number in range(200))
    rows = [f"g, user:u{n}, role:r{n}" for n in range(10)] + [f"g, role:r{n}, role:all" for n in range(10)]
    rows += ["g, user:out, role:none", "p, role:none, t1, see, deny"]
    for tool in sorted(tools):
        rows += [f"p, role:all, {tool}, see, allow", f"p, role:all, {tool}, call, allow"]
        rows += [f"p, role:r{n}, {tool}, call, {'deny' if n % 2 else 'allow'}" for n in range(10)]
    access = read_policy("\n".join(rows).encode(), MODEL_TEXT, tools)
    asked = cross_check(compile_grants(access), access)
    assert 20 < asked < 200
    with pytest.raises(PolicyError, match="disagree"):
        cross_check(broken(access), access)


def test_casbin_reads_what_bears_on_the_tools_it_is_asked_about_and_no_more() -> None:
    rows = """
        g, user:ana, role:a
        p, role:a, t1, call, allow
        p, role:a, t2, call, allow
        p, user:ana, t1, see, deny
    """
    access = read_policy(rows.encode(), MODEL_TEXT, frozenset(TOOLS))
    whole, part = CasbinOracle(access), CasbinOracle(access, frozenset({"t1"}))
    for action in ACTIONS:
        assert part.allows("ana", "t1", action) is whole.allows("ana", "t1", action)
    assert whole.allows("ana", "t2", "call")
    assert not part.allows("ana", "t2", "call")
