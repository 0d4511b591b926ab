"""What a careless or hostile policy folder holds, and where the refusal points (C017, C019-C027, C032, C034, C035).

Nothing is dropped in silence: each case is refused with a file and, where there is one, a line.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.domain.errors import PolicyError
from gateway.policy import custody, folder
from gateway.policy.loader import load
from gateway.policy.policy_set import PolicyErrors
from tests.unit.policy.folders import CONTRACT_TEXT, MODEL_TEXT, POLICY_TEXT, contract_text, refused, write_policies

MATCHER = "m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"


def at(error: PolicyError) -> tuple[str, int]:
    return error.file, error.line


def row(tmp_path: Path, text: str) -> PolicyError:
    """The refusal of one more row, which stands on line 4."""
    return refused(write_policies(tmp_path, policy_dot_csv=POLICY_TEXT + text + "\n"))


def test_the_untouched_folder_loads(tmp_path: Path) -> None:
    found = load(write_policies(tmp_path))
    assert list(found.contracts) == ["look_up"]
    assert [r.line for r in found.access.grants] == [2, 3]


def test_c017_no_folder_no_files_no_rows(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(tmp_path / "missing").message
    assert "there is no policy here" in refused(tmp_path).message
    (tmp_path / "plain").touch()
    assert "not a folder" in refused(tmp_path / "plain").message
    assert at(refused(write_policies(tmp_path / "a", model_dot_conf=None))) == ("model.conf", 0)
    assert at(refused(write_policies(tmp_path / "b", policy_dot_csv=None))) == ("policy.csv", 0)


@pytest.mark.parametrize("rows", ["", "# only a comment\n", "g, user:ana, role:support\n"])
def test_c017_c032_a_policy_without_a_grant_is_a_mistake(tmp_path: Path, rows: str) -> None:
    error = refused(write_policies(tmp_path, policy_dot_csv=rows))
    assert error.file == "policy.csv"
    assert "no p row" in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p, user:max, look_up, call", "has 4 fields, not 5"),
        ("p, user:max, look_up, call, allow, x", "has 6 fields, not 5"),
        ("p", "has 1 fields, not 5"),
        ("g, user:max", "has 2 fields, not 3"),
        ("g, user:max, role:support, shop", "has 4 fields, not 3"),
    ],
)
def test_c019_a_row_with_too_few_or_too_many_fields(tmp_path: Path, text: str, says: str) -> None:
    error = row(tmp_path, text)
    assert at(error) == ("policy.csv", 4)
    assert says in error.message


@pytest.mark.parametrize("text", ["p, user:max, look_up(, call, allow", "p, user:[max, look_up, call, allow"])
def test_c020_an_unbalanced_bracket(tmp_path: Path, text: str) -> None:
    error = row(tmp_path, text)
    assert at(error) == ("policy.csv", 4)
    assert "has no meaning here" in error.message


def test_c020_an_unbalanced_bracket_in_the_model(tmp_path: Path) -> None:
    broken = MODEL_TEXT.replace("[matchers]", "[matchers")
    assert at(refused(write_policies(tmp_path, model_dot_conf=broken))) == ("model.conf", 9)


@pytest.mark.parametrize("name", ["model.conf", "policy.csv", "tools/look_up.yaml"])
def test_c021_a_byte_order_mark(tmp_path: Path, name: str) -> None:
    path = write_policies(tmp_path) / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    error = refused(tmp_path)
    assert at(error) == (name, 1)
    assert "byte order mark" in error.message


@pytest.mark.parametrize("kind", ["p2", "P", "g2", "pp", "x", ""])
def test_c021_an_unknown_row_type(tmp_path: Path, kind: str) -> None:
    error = row(tmp_path, f"{kind}, user:max, look_up, call, allow")
    assert at(error) == ("policy.csv", 4)
    assert "begins with p or g" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "p, user:max, look_up, call, allow # for now",
        'p, "user:max", look_up, call, allow',
        'p, "user:a,b", look_up, call, allow',
        "p, 'user:max', look_up, call, allow",
    ],
)
def test_c022_inline_comments_and_quotes(tmp_path: Path, text: str) -> None:
    error = row(tmp_path, text)
    assert at(error) == ("policy.csv", 4)
    assert "has no meaning here" in error.message


@pytest.mark.parametrize("effect", ["DENY", "denny", "Allow", "", "true"])
def test_c023_an_effect_that_casbin_would_ignore(tmp_path: Path, effect: str) -> None:
    error = row(tmp_path, f"p, user:max, look_up, call, {effect}")
    assert at(error) == ("policy.csv", 4)
    assert "`allow` or `deny`" in error.message


def test_c024_a_comment_in_the_matcher(tmp_path: Path) -> None:
    cut = MODEL_TEXT.replace("&& r.act == p.act", "# && r.act == p.act")
    error = refused(write_policies(tmp_path, model_dot_conf=cut))
    assert at(error) == ("model.conf", 10)
    assert "drops everything after #" in error.message


@pytest.mark.parametrize(
    "matcher",
    [
        "m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj) && r.act == p.act",
        "m = g(r.sub, p.sub) && regexMatch(r.obj, p.obj) && r.act == p.act",
        "m = eval(p.sub) && r.obj == p.obj && r.act == p.act",
    ],
)
def test_c025_functions_that_grant_more_than_they_show(tmp_path: Path, matcher: str) -> None:
    error = refused(write_policies(tmp_path, model_dot_conf=MODEL_TEXT.replace(MATCHER, matcher)))
    assert at(error) == ("model.conf", 10)
    assert "more than a reader sees" in error.message


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (MATCHER, "m = g(r.sub, p.sub) && r.obj == p.obj || r.act == p.act", 10),
        (MATCHER, MATCHER + ' || r.sub == "root"', 10),
        (MATCHER, MATCHER + "\n" + MATCHER, 11),
        (MATCHER, MATCHER.replace("&& r.act", "\\\n && r.act"), 10),
        (MATCHER, "", 0),
        ("e = some(where (p.eft == allow)) && !some(where (p.eft == deny))", "e = some(where (p.eft == allow))", 8),
        ("p.eft == allow", "p.eft==allow", 8),
        ("p = sub, obj, act, eft", "p = sub, obj, act", 4),
        ("g = _, _", "g = _, _, _", 6),
        ("g = _, _", "g = _, _\ng2 = _, _", 7),
        ("[role_definition]", "[roles]", 5),
    ],
)
def test_c025_any_other_model_is_refused(tmp_path: Path, old: str, new: str, line: int) -> None:
    error = refused(write_policies(tmp_path, model_dot_conf=MODEL_TEXT.replace(old, new)))
    assert at(error) == ("model.conf", line)


def test_spaces_and_comment_lines_do_not_make_another_model(tmp_path: Path) -> None:
    text = "# ours\n\n" + MODEL_TEXT.replace("sub, obj", "sub,obj").replace(" && ", "  &&  ", 2)
    text = text.replace("allow))  &&  !some", "allow)) && !some").replace("\n", "\r\n")
    load(write_policies(tmp_path, model_dot_conf=text))


@pytest.mark.parametrize(
    ("rows", "line", "circle"),
    [
        (["g, role:a, role:a"], 4, "role:a -> role:a"),
        (["g, role:a, role:b", "g, role:b, role:a"], 5, "role:a -> role:b -> role:a"),
        (["g, user:x, role:a", "g, role:a, role:b", "g, role:b, role:c", "g, role:c, role:b"], 7, "role:b -> role:c"),
    ],
)
def test_c026_roles_in_a_circle(tmp_path: Path, rows: list[str], line: int, circle: str) -> None:
    error = row(tmp_path, "\n".join(rows))
    assert at(error) == ("policy.csv", line)
    assert circle in error.message


def test_c026_roles_ten_deep(tmp_path: Path) -> None:
    links = [f"g, role:r{n}, role:r{n + 1}" for n in range(9)]
    load(write_policies(tmp_path / "nine", policy_dot_csv=POLICY_TEXT + "g, user:x, role:r1\n" + "\n".join(links[1:])))
    error = row(tmp_path / "ten", "\n".join(["g, user:x, role:r0", *links]))
    assert error.file == "policy.csv"
    assert "more than 9 roles" in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p, ana, look_up, call, allow", "a subject is"),
        ("p, support, look_up, call, allow", "a subject is"),
        ("p, group:support, look_up, call, allow", "a subject is"),
        ("p, role:Support, look_up, call, allow", "a subject is"),
        ("p, user:, look_up, call, allow", "1 to 256 characters"),
        ("p, user:role:admin, look_up, call, allow", "names a person like a role"),
        ("g, user:user:ana, role:support", "names a person like a user"),
        ("g, user:ana, user:max", "what is held is a role"),
        ("g, user:ana, support", "what is held is a role"),
        ("p, user: ana, look_up, call, allow", "spaces at an edge"),
        ("p, user:e\u0301va, look_up, call, allow", "not in NFC"),
    ],
)
def test_c027_subjects_are_namespaced(tmp_path: Path, text: str, says: str) -> None:
    error = row(tmp_path, text)
    assert at(error) == ("policy.csv", 4)
    assert says in error.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p, user:max, look_upp, call, allow", "Did you mean 'look_up'?"),
        ("p, user:max, *, call, allow", "patterns are not used"),
        ("p, user:max, look*, call, allow", "patterns are not used"),
        ("p, user:max, LOOK_UP, call, allow", "no contract in tools/"),
        ("p, user:max, look_up, run, allow", "it is one of see, call, approve"),
        ("p, user:max, look_up, CALL, allow", "unknown action"),
        ("p, role:support, look_up, call, allow", "same row stands on line 3"),
        ("p,role:support,look_up,call,allow", "same row stands on line 3"),
    ],
)
def test_unknown_tools_and_actions_and_repeated_rows(tmp_path: Path, text: str, says: str) -> None:
    error = row(tmp_path, text)
    assert at(error) == ("policy.csv", 4)
    assert says in error.message


@pytest.mark.parametrize("cut", ["", "tool: look", CONTRACT_TEXT[:70], CONTRACT_TEXT + "risk: high\n"])
def test_c031_c034_a_half_written_contract(tmp_path: Path, cut: str) -> None:
    assert refused(write_policies(tmp_path, tools__look_up_dot_yaml=cut)).file == "tools/look_up.yaml"


def test_c031_a_file_nobody_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_policies(tmp_path)
    if os.geteuid():
        (tmp_path / "policy.csv").chmod(0)
    else:  # root reads anything: replace the file by what even root cannot read as one
        (tmp_path / "policy.csv").unlink()
        (tmp_path / "policy.csv").mkdir()
    assert refused(tmp_path).file == "policy.csv"


def test_c031_a_named_pipe_does_not_hang_the_loader(tmp_path: Path) -> None:
    write_policies(tmp_path, tools__look_up_dot_yaml=None)
    (tmp_path / "tools").mkdir()
    os.mkfifo(tmp_path / "tools" / "look_up.yaml", 0o600)
    assert "not a regular file" in refused(tmp_path).message


@pytest.mark.parametrize("change", ["edited", "added", "removed", "replaced"])
def test_c031_a_folder_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write_policies(tmp_path)
    read = custody.Custody.read

    def read_and_change(self: custody.Custody, name: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
        found = read(self, name, max_bytes)
        if name == "tools/look_up.yaml":
            target = tmp_path / "policy.csv"
            match change:
                case "edited":
                    target.write_text(POLICY_TEXT + "# more\n")
                case "added":
                    (tmp_path / "tools" / "new.yaml").write_text(contract_text("new"))
                case "removed":
                    target.unlink()
                case "replaced":
                    (tmp_path / "next").write_text(POLICY_TEXT)
                    (tmp_path / "next").rename(target)
        return found

    monkeypatch.setattr(folder.Custody, "read", read_and_change)
    assert "changed while it was read" in refused(tmp_path).message


@pytest.mark.parametrize("name", ["setings.yaml", "policies.csv", "model.yml", "tools/look_up.yml", "tools/notes.txt"])
def test_a_file_that_nobody_would_read_is_named(tmp_path: Path, name: str) -> None:
    path = write_policies(tmp_path) / name
    path.write_text("x: 1")
    assert refused(tmp_path).file == name


def test_editors_files_and_readmes_are_passed_over(tmp_path: Path) -> None:
    write_policies(tmp_path)
    for name in (".hidden.yaml", "README.md", "policy.csv~", "tools/.look_up.yaml.swp", "tools/look_up.yaml~"):
        (tmp_path / name).write_text("not: [policy")
    assert "README.md" not in load(tmp_path).files


def test_every_broken_file_is_reported_at_once(tmp_path: Path) -> None:
    write_policies(tmp_path, policy_dot_csv="p, x\n", tools__look_up_dot_yaml="a: no", settings_dot_yaml="lop: {}")
    with pytest.raises(PolicyErrors) as caught:
        load(tmp_path)
    assert [at(error) for error in caught.value.errors] == [
        ("tools/look_up.yaml", 1),
        ("settings.yaml", 1),
        ("policy.csv", 1),
    ]
    assert len(str(caught.value).splitlines()) == 3


def mode(path: Path, bits: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) | bits)


@pytest.mark.parametrize("name", ["policy.csv", "tools/look_up.yaml", "tools", ".", ".."])
def test_c035_writable_by_others(tmp_path: Path, name: str) -> None:
    policies = write_policies(tmp_path / "above" / "policies")
    mode(policies / name, stat.S_IWOTH)
    error = refused(policies)
    assert "can be written by anybody" in error.message
    assert "chmod o-w" in error.message


@pytest.mark.parametrize("name", ["policy.csv", "tools", ".", ".."])
def test_c035_writable_by_a_group_with_other_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    policies = write_policies(tmp_path / "above" / "policies")
    mode(policies / name, stat.S_IWGRP)
    monkeypatch.setattr(custody, "_only_member", lambda uid, gid: True)
    load(policies)
    monkeypatch.setattr(custody, "_only_member", lambda uid, gid: False)
    assert "can be written by the group" in refused(policies).message


def test_c035_sticky_may_stand_above_but_not_inside(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    policies = write_policies(shared / "policies")
    shared.chmod(0o1777)
    load(policies)
    (policies / "tools").chmod(0o1777)
    assert refused(policies).file == "tools"


def test_c035_a_symbolic_link_may_not_lead_out(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "policies", policy_dot_csv=None)
    (tmp_path / "elsewhere.csv").write_text(POLICY_TEXT)
    (policies / "policy.csv").symlink_to("../elsewhere.csv")
    assert "leads out of the folder" in refused(policies).message
    (policies / "policy.csv").unlink()
    (policies / "v1").mkdir()
    (policies / "v1" / "rows").write_text(POLICY_TEXT)
    (policies / "policy.csv").symlink_to("v1/rows")
    load(policies)


def test_c035_every_folder_that_a_link_passes_is_looked_at(tmp_path: Path) -> None:
    write_policies(tmp_path / "open" / "policies")
    (tmp_path / "link").symlink_to("open/policies")
    load(tmp_path / "link")
    mode(tmp_path / "open", stat.S_IWOTH)
    assert "can be written by anybody" in refused(tmp_path / "link").message


def test_c035_links_in_a_circle_end(tmp_path: Path) -> None:
    policies = write_policies(tmp_path, policy_dot_csv=None)
    (policies / "policy.csv").symlink_to("policy.csv")
    assert "too many symbolic links" in refused(policies).message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_c035_owned_by_somebody_else(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "policies")
    os.chown(policies / "policy.csv", 12345, -1)
    assert "belongs to the user with id 12345" in refused(policies).message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_c035_somebody_elses_folder_in_a_shared_one(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    policies = write_policies(shared / "policies")
    for path in (policies, *policies.rglob("*")):
        os.chown(path, 12345, -1)
    load(policies)  # an administrator of policy who is not this process
    shared.chmod(0o1777)
    assert "where anybody may write" in refused(policies).message
