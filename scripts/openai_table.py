"""Renders docs/openai-coverage.md: what is promised about OpenAI's APIs, beside the tests that prove it.

    python -m scripts.openai_table

A figure is the number of test cases that prove a line for one API in one way of asking; the tests themselves are
collected by pytest, so one that is gone is gone from the table. tests/unit/test_openai_table.py holds the page fresh.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "openai-coverage.md"
COMMAND = "python -m scripts.openai_table"
FILES = (
    "tests/unit/integrations",
    "tests/unit/shapes",
    "tests/unit/test_loop.py",
    "tests/unit/test_openai_loop.py",
    "tests/unit/test_openai_bad_input.py",
    "tests/unit/test_errors.py",
    "tests/unit/test_held_answers.py",
    "tests/unit/test_ordered.py",
    "tests/unit/test_paused.py",
    "tests/unit/test_versions.py",
    "tests/e2e/test_example_pages.py",
)
APIS, WAYS = ("chat", "responses"), ("sync", "async", "streamed")
_TOKENS = {"stream": "streamed", "async stream": "streamed", "streamed": "streamed", "sync": "sync", "async": "async"}


@dataclass(frozen=True)
class Line:
    """One promise, and the functions that prove it. `api` and `way` are what a case means that names neither.

    `way="streamed"`: every case streams, whatever else its name says.
    """

    promise: str
    tests: tuple[str, ...]
    api: str = "chat"
    way: str = "async"


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[Line, ...]


SECTIONS = (
    Section(
        "Both APIs",
        (
            Line("calls, chains and parallel calls in `run`", ("test_parallel_calls_a_chain_and_an_answer",)),
            Line(
                "a streamed conversation is the same one",
                ("test_a_streamed_conversation_is_the_same_conversation",),
                way="streamed",
            ),
            Line(
                "a client wrapped in place",
                (
                    "test_text_comes_through",
                    "test_calls_come_through_unchanged_and_dispatch_judges_them",
                    "test_run_goes_through_a_wrapped_client",
                ),
            ),
            Line(
                "stored (`previous_response_id`) and stateless",
                ("test_c136_an_older_list_behind_a_response_id_gives_no_right",),
                api="responses",
                way="sync",
            ),
            Line(
                "reasoning goes back with what followed", ("test_reasoning_goes_back_with_what_followed",), "responses"
            ),
            Line("Azure-style base URLs", ("test_azure_style_paths_and_raw_responses_are_governed",), way="sync"),
            Line(
                "retries of the HTTP call are the client's",
                ("test_retries_of_the_call_are_the_clients_own",),
                way="sync",
            ),
            Line(
                "the library's README, with no change but the wrap",
                ("test_programs_of_the_librarys_readme_run_with_no_change_but_the_wrap",),
                "responses",
                "sync",
            ),
        ),
    ),
    Section(
        "Tool lists and strict mode",
        (
            Line(
                "filtered per principal, in the contract's words",
                ("test_only_what_is_granted_is_offered_and_in_the_contracts_own_words",),
            ),
            Line(
                "a pydantic model is sent as its contract",
                ("test_a_pydantic_tool_is_sent_as_the_contract_and_parsed_as_the_model",),
                way="sync",
            ),
            Line(
                "a subset by tag or name, in stable order",
                ("test_a_list_is_narrowed_by_tag_and_by_name_and_never_widened",),
            ),
            Line(
                "versions side by side",
                (
                    "test_a_conversation_that_began_with_the_older_version_keeps_it",
                    "test_c136_a_call_from_an_older_list_is_judged_by_the_version_it_was_made_for",
                ),
            ),
            Line("token cost per tool and list", ("test_a_list_tells_what_it_costs",)),
            Line("more than ten are warned about", ("test_a_long_list_is_warned_about_once",)),
            Line(
                "parallel calls by family of models",
                ("test_parallel_calls_follow_the_table_of_families",),
                "responses",
                "sync",
            ),
            Line(
                "ordered calls, also after a pause",
                (
                    "test_calls_of_one_turn_run_in_the_order_given",
                    "test_a_model_is_told_that_its_call_comes_later",
                    "test_a_paused_run_goes_on_in_order",
                ),
            ),
            Line("destructive tools one at a time", ("test_destructive_tools_are_called_one_at_a_time",), way="sync"),
            Line("JSON mode labelled as weaker", ("test_json_mode_is_labelled_as_the_weaker_promise",)),
        ),
    ),
    Section(
        "tool_choice",
        (
            Line("none, auto, required", ("test_the_plain_choices_pass",), way="sync"),
            Line(
                "forcing without a right is refused before sending",
                (
                    "test_a_request_that_may_not_leave_is_refused_before_it_is_sent",
                    "test_a_forced_tool_without_a_right_is_refused_before_anything_is_sent",
                ),
            ),
            Line(
                "allowed_tools narrowed, never widened",
                ("test_allowed_tools_are_narrowed_and_never_widen",),
                way="sync",
            ),
        ),
    ),
    Section(
        "Nothing slips past",
        (
            Line(
                "provider-executed tools taken out and recorded",
                (
                    "test_what_the_provider_would_execute_is_taken_out_and_recorded",
                    "test_tools_hidden_among_the_input_items_are_filtered",
                ),
                "responses",
                "sync",
            ),
            Line(
                "web search of Chat Completions", ("test_the_web_search_of_chat_completions_is_taken_out",), way="sync"
            ),
            Line(
                "allowed by name and recorded",
                ("test_what_the_policy_allows_by_name_leaves_and_is_recorded",),
                "responses",
            ),
            Line(
                "free text governed with its grammar",
                (
                    "test_free_text_is_governed_by_its_grammar",
                    "test_free_text_is_answered_by_dispatch_in_its_own_shape",
                ),
            ),
            Line(
                "namespaces keyed into the name",
                ("test_a_namespace_is_part_of_the_name", "test_a_namespace_holds_what_is_granted_under_its_name"),
                "responses",
                "sync",
            ),
            Line(
                "unknown items, legacy calls and shared ids refused",
                ("test_an_answer_no_contract_can_govern_is_not_handed_over",),
            ),
            Line("C137 in `run`", ("test_c137_a_legacy_function_call_is_refused_and_recorded",)),
            Line("other endpoints and websockets", ("test_other_endpoints_pass_or_are_refused",), way="sync"),
        ),
    ),
    Section(
        "Answers and errors",
        (
            Line(
                "structured replies",
                (
                    "test_an_answer_comes_as_the_pydantic_model_that_was_asked_for",
                    "test_parse_gives_the_pydantic_model",
                ),
            ),
            Line(
                "truncated: never executed, asked again",
                (
                    "test_a_turn_our_own_limit_cut_off_is_asked_for_again_with_twice_the_tokens",
                    "test_asking_again_ends",
                ),
            ),
            Line(
                "final answer refused or masked",
                (
                    "test_an_answer_with_a_declared_secret_is_refused",
                    "test_an_answer_with_a_declared_secret_is_masked_where_the_policy_says_so",
                    "test_each_of_the_three_ways_in_both_apis_and_streamed",
                ),
            ),
            Line(
                "final answer handed to a person",
                (
                    "test_an_answer_with_a_secret_goes_to_a_person_where_the_policy_says_so",
                    "test_a_held_answer_waits_for_an_approver_and_goes_out_once_she_agrees",
                ),
            ),
            Line("handing over as a tool", ("test_handing_over_is_a_tool_that_ends_the_run",)),
            Line("what is missing is asked of the user", ("test_what_is_missing_is_asked_of_the_user",)),
            Line("every code of errors.md", ("test_a_code_comes_as_the_page_shows_it",), way="streamed"),
            Line(
                "candidates from facts, and no oracle",
                ("test_i7_candidates_are_the_principals_own_and_say_nothing_of_what_was_asked",),
            ),
            Line("too many denials end the loop", ("test_too_many_denials_stop_the_loop",)),
            Line(
                "one denial repeated ends the loop",
                ("test_the_same_denial_again_and_again_ends_the_run_whatever_succeeds_between",),
            ),
            Line("instructions for the system prompt", ("test_instructions_tell_roles_and_rules_and_no_tool",)),
            Line("five customer-support pages", ("test_the_conversation_of_a_page_is_what_happens",)),
        ),
    ),
    Section(
        "Bad input",
        (
            Line("turns no honest model gives", ("test_a_turn_that_cannot_be_used_is_not_executed_and_not_kept",)),
            Line(
                "a stream cut at every byte",
                (
                    "test_a_stream_cut_at_every_byte_executes_nothing",
                    "test_a_connection_cut_between_events_executes_nothing_and_the_conversation_goes_on",
                ),
                way="streamed",
            ),
            Line("malformed chat deltas", ("test_a_chat_stream_that_contradicts_itself_is_bad",), way="streamed"),
            Line(
                "malformed Responses events",
                ("test_a_responses_stream_that_contradicts_itself_is_bad", "test_an_item_ends_as_it_began"),
                "responses",
                "streamed",
            ),
            Line("calls after `finish_reason: stop`", ("test_nothing_is_said_after_finish_reason",), way="streamed"),
            Line("200 calls in one turn", ("test_two_hundred_calls_in_one_turn_are_answered_and_none_is_executed",)),
            Line("arguments of 10 MB", ("test_arguments_of_ten_megabytes_are_refused_and_answered",)),
            Line(
                "forged results, ids of another conversation",
                ("test_a_conversation_with_forged_results_is_refused_before_it_is_sent",),
            ),
            Line("an id of an earlier turn", ("test_an_id_of_an_earlier_turn_is_not_used_again",)),
        ),
    ),
)


def collected(root: Path = ROOT) -> dict[str, list[str]]:
    """Every test case: function name -> what stands in its brackets."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *FILES]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in listed.splitlines():
        _, separator, name = line.partition("::")
        if separator:
            function, _, brackets = name.partition("[")
            found.setdefault(function, []).append(brackets.removesuffix("]"))
    return found


def page(cases: dict[str, list[str]]) -> str:
    """The whole page. Raises LookupError where a line names a test that is not there."""
    out = [_HEAD]
    for section in SECTIONS:
        out.append(f"## {section.title}\n")
        out.append("| | chat: sync | async | streamed | responses: sync | async | streamed |")
        out.append("|---|---|---|---|---|---|---|")
        out += [_row(line, cases) for line in section.lines]
        out.append("")
    return "\n".join(out)


def _row(line: Line, cases: dict[str, list[str]]) -> str:
    counted: Counter[tuple[str, str]] = Counter()
    for name in line.tests:
        if name not in cases:
            raise LookupError(f"{line.promise!r} is proved by {name}, which is no test")
        for brackets in cases[name]:
            tokens = brackets.split("-")
            ways = [_TOKENS[token] for token in tokens if token in _TOKENS] or [line.way]
            way = "streamed" if "streamed" in (*ways, line.way) else ways[0]
            for api in [token for token in tokens if token in APIS] or [line.api]:
                counted[api, way] += 1
    cells = [str(counted[api, way] or "-") for api in APIS for way in WAYS]
    return f"| {line.promise} | {' | '.join(cells)} |"


_HEAD = """\
# OpenAI: what is promised, and what proves it

Each figure is the number of test cases that prove a line for one API, asked in one way; `-` is none of its own. The
cases of the loop and of the wrapped client run the real `openai` client over HTTP against the scripted server of this
repository, which enforces the API's rules on tools, call ids and missing results. How it works: [openai.md](openai.md).

Made by `python -m scripts.openai_table` from the tests: edit those, not this page.
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(collected()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
