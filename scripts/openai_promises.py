"""What is promised about OpenAI's APIs, beside the tests that prove it; `openai_table` counts them.

Every sentence of what the gateway says it does with function calling is a line; where a line cannot exist for an API or
a way of asking, it says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FILES = (
    "tests/unit/integrations",
    "tests/unit/shapes",
    "tests/unit/test_loop.py",
    "tests/unit/test_openai_loop.py",
    "tests/unit/test_openai_bad_input.py",
    "tests/unit/test_openai_search.py",
    "tests/unit/test_openai_tools.py",
    "tests/unit/test_openai_turns.py",
    "tests/unit/test_paused.py",
    "tests/unit/test_errors.py",
    "tests/unit/test_ordered.py",
    "tests/unit/test_held_answers.py",
    "tests/unit/test_versions.py",
    "tests/e2e/test_example_pages.py",
)
APIS, WAYS = ("chat", "responses"), ("sync", "async", "streamed")

NO_CHAT = "Chat Completions has nothing of the kind."
NO_RESPONSES = "Responses has nothing of the kind."
ENDPOINTS = "These endpoints do not stream what the gateway governs."
STREAMS_ONLY = "Only a stream comes in pieces."
NO_REQUEST = "Nothing is asked of a model: the same text or list serves every way of asking."
DISPATCH = "`dispatch` takes a whole message, also one that came streamed."


@dataclass(frozen=True)
class Line:
    """One promise, and the functions that prove it. `apis` and `ways` are what a case means that names none.

    `without` gives the reason for an API, a way, or one of both (`chat streamed`) for which the promise cannot exist.
    """

    promise: str
    tests: tuple[str, ...]
    apis: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[Line, ...]


CHAT, RESPONSES, STREAMED = ("chat",), ("responses",), ("streamed",)


def line(promise: str, *tests: str, **more: Any) -> Line:
    return Line(promise, tests, **more)


def chat(promise: str, *tests: str) -> Line:
    return Line(promise, tests, CHAT, without={"responses": NO_RESPONSES})


def responses(promise: str, *tests: str) -> Line:
    return Line(promise, tests, RESPONSES, without={"chat": NO_CHAT})


def pieces(promise: str, *tests: str) -> Line:
    return Line(promise, tests, ways=STREAMED, without={"sync": STREAMS_ONLY, "async": STREAMS_ONLY})


SECTIONS = (
    Section(
        "Both APIs",
        (
            line("calls, chains and parallel calls through `session.run`", "test_parallel_calls_a_chain_and_an_answer"),
            line(
                "a loop of the host's own through `session.dispatch`",
                "test_a_loop_of_the_hosts_own_goes_through_dispatch",
            ),
            line(
                "a client wrapped in place",
                "test_text_comes_through",
                "test_calls_come_through_unchanged_and_dispatch_judges_them",
                "test_run_goes_through_a_wrapped_client",
            ),
            line(
                "the library's README, with no change but the wrap",
                "test_programs_of_the_librarys_readme_run_with_no_change_but_the_wrap",
            ),
            responses("stored: `previous_response_id`", "test_c136_an_older_list_behind_a_response_id_gives_no_right"),
            responses(
                "stateless: reasoning goes back with what followed",
                "test_reasoning_goes_back_with_what_followed",
                "test_a_stateless_conversation_carries_its_own_reasoning",
            ),
            pieces(
                "deltas assembled, order and ids kept",
                "test_a_streamed_conversation_is_the_same_conversation",
                "test_what_was_cut_into_events_comes_together_again",
            ),
            pieces(
                "nothing handed over or executed before a call is complete",
                "test_text_passes_the_gate_at_once_and_a_call_only_when_the_turn_is_over",
                "test_a_stream_without_its_end_is_cut_off",
            ),
            line("Azure-style base URLs", "test_azure_style_paths_are_governed"),
            line("retries of the HTTP call are the client's", "test_retries_of_the_call_are_the_clients_own"),
            chat("several choices (`n`)", "test_several_choices_come_through_the_wrap_and_run_asks_for_one"),
            line(
                "text after a call in one turn",
                "test_text_after_a_call_in_one_turn_is_kept_and_the_call_is_made",
                apis=RESPONSES,
                without={"chat": "A chat message has its text in one place, before the calls."},
            ),
        ),
    ),
    Section(
        "Tool lists",
        (
            line(
                "from contracts, filtered per principal",
                "test_only_what_is_granted_is_offered_and_in_the_contracts_own_words",
            ),
            line(
                "from a pydantic model: nested objects, arrays, enums, `anyOf`",
                "test_a_contract_made_from_a_pydantic_model_is_strict_nested_and_cannot_drift",
            ),
            line("from a signature", "test_a_contract_made_from_a_signature_is_what_the_function_takes"),
            line(
                "`pydantic_function_tool` sent as its contract",
                "test_a_pydantic_tool_is_sent_as_the_contract_and_parsed_as_the_model",
            ),
            line(
                "a subset by tag or name, in stable order",
                "test_a_list_is_narrowed_by_tag_and_by_name_and_never_widened",
            ),
            line(
                "versions side by side",
                "test_a_conversation_that_began_with_the_older_version_keeps_it",
                "test_c136_a_call_from_an_older_list_is_judged_by_the_version_it_was_made_for",
            ),
            responses(
                "deferred loading and tool search",
                "test_what_a_search_finds_is_called_and_stays_known",
                "test_a_hosts_own_deferred_list_is_governed",
                "test_a_search_with_nothing_left_to_find_is_taken_out_and_nothing_is_deferred_without_one",
            ),
            line("token cost per tool and list", "test_a_list_tells_what_it_costs"),
            line("more than ten are warned about", "test_a_long_list_is_warned_about_once"),
        ),
    ),
    Section(
        "Strict mode",
        (
            line(
                "strict schemas, optional as nullable",
                "test_a_contract_made_from_a_pydantic_model_is_strict_nested_and_cannot_drift",
                "test_a_contract_made_from_a_signature_is_what_the_function_takes",
            ),
            line(
                "what it cannot say is reported, and enforced here",
                "test_what_strict_mode_cannot_say_is_reported_and_enforced_here",
            ),
            line(
                "`parallel_tool_calls` by family of models, overridable",
                "test_parallel_calls_follow_the_table_of_families_and_the_policy_before_it",
            ),
            line("JSON mode labelled as weaker", "test_json_mode_is_labelled_as_the_weaker_promise"),
        ),
    ),
    Section(
        "Parallel calls",
        (
            line("independent calls at the same time", "test_independent_calls_run_at_the_same_time"),
            line("`serialize_by` takes turns", "test_calls_that_touch_one_thing_take_turns_and_others_do_not_wait"),
            line(
                "ordered calls, also after a pause",
                "test_a_model_is_told_that_its_call_comes_later",
                "test_a_paused_run_goes_on_in_order",
            ),
            line("destructive tools one at a time", "test_destructive_tools_are_called_one_at_a_time"),
            line(
                "a parked or denied call costs no neighbour (C134)",
                "test_c134_a_mixed_batch_is_answered_whole_once_a_person_has_decided",
                "test_c134_deferred_calls_are_answered_pending_and_the_loop_goes_on",
                "test_each_kind_of_no_is_told_apart_and_costs_its_neighbours_nothing",
            ),
            line(
                "every id answered once, also when the user speaks meanwhile (C135)",
                "test_c135_a_user_message_meanwhile_leaves_the_conversation_valid",
            ),
        ),
    ),
    Section(
        "tool_choice",
        (
            line("none, auto, required", "test_the_plain_choices_pass"),
            line("a forced call is forced once", "test_a_forced_call_is_forced_once"),
            line(
                "forcing without a right is refused before sending",
                "test_a_request_that_may_not_leave_is_refused_before_it_is_sent",
                "test_a_forced_tool_without_a_right_is_refused_before_anything_is_sent",
            ),
            line("allowed_tools narrowed, never widened", "test_allowed_tools_are_narrowed_and_never_widen"),
        ),
    ),
    Section(
        "Nothing slips past",
        (
            line(
                "provider-executed tools taken out and recorded",
                "test_what_the_provider_would_execute_is_taken_out_and_recorded",
            ),
            responses("tools among the input items filtered", "test_tools_hidden_among_the_input_items_are_filtered"),
            line(
                "tools and rights among what `run` is given refused",
                "test_a_conversation_that_brings_tools_or_rights_is_refused_before_it_is_sent",
            ),
            line(
                "what nobody knows refused or named by the policy; all of the installed library has its place",
                "test_a_parameter_of_another_provider_may_be_named_in_the_policy",
                "test_every_parameter_is_known_or_refused",
                apis=APIS,
                ways=WAYS,
            ),
            chat("web search as a parameter or a model", "test_the_web_search_of_chat_completions_is_taken_out"),
            responses("allowed by name and recorded", "test_what_the_policy_allows_by_name_leaves_and_is_recorded"),
            line(
                "free text governed with its grammar, a regular expression or Lark",
                "test_free_text_is_governed_by_its_grammar",
            ),
            line(
                "free text through `dispatch`",
                "test_free_text_is_answered_by_dispatch_in_its_own_shape",
                without={"streamed": DISPATCH},
            ),
            line(
                "unknown items, shared ids and cut-off calls not handed over",
                "test_an_answer_no_contract_can_govern_is_not_handed_over",
                "test_run_stops_where_the_wrap_hands_nothing_over",
            ),
            responses(
                "an older list behind a response id gives no right (C136)",
                "test_c136_an_older_list_behind_a_response_id_gives_no_right",
            ),
            line(
                "legacy `functions` and `function_call` in a request refused, with what to do (C137)",
                "test_c137_the_legacy_form_of_a_request_is_refused_with_what_to_do",
            ),
            chat(
                "legacy `function_call` in an answer refused and recorded (C137)",
                "test_c137_a_legacy_function_call_is_refused_and_recorded",
                "test_c137_a_legacy_call_is_not_handed_over",
            ),
            responses("namespaces keyed into the name", "test_a_namespace_holds_what_is_granted_under_its_name"),
            responses(
                "a search that found what is not offered refused",
                "test_a_search_that_found_what_is_not_offered_is_not_used",
                "test_a_search_that_nobody_asked_for_is_no_turn",
            ),
            line(
                "other endpoints and websockets",
                "test_other_endpoints_pass_or_are_refused",
                "test_no_websocket_of_any_part_can_be_opened",
                "test_a_request_written_by_hand_is_governed",
                apis=APIS,
                without={"streamed": ENDPOINTS},
            ),
        ),
    ),
    Section(
        "Answers",
        (
            line(
                "refusal, truncation, filter, form: in this order",
                "test_refusal_comes_before_truncation_before_the_filter_before_the_form",
            ),
            line(
                "truncated: never executed, asked again within the budget",
                "test_a_turn_our_own_limit_cut_off_is_asked_for_again_with_twice_the_tokens",
                "test_asking_again_ends",
            ),
            line(
                "structured replies in `run` and in `parse`",
                "test_an_answer_comes_as_the_pydantic_model_that_was_asked_for",
                "test_an_answer_of_another_form_is_not_handed_over",
                "test_parse_gives_the_pydantic_model",
            ),
            line(
                "final answer refused or masked, and recorded",
                "test_an_answer_with_a_declared_secret_is_refused",
                "test_an_answer_with_a_declared_secret_is_masked_where_the_policy_says_so",
                "test_each_of_the_three_ways_in_both_apis_and_streamed",
            ),
            line(
                "final answer handed to a person",
                "test_an_answer_with_a_secret_goes_to_a_person_where_the_policy_says_so",
                "test_a_held_answer_waits_for_an_approver_and_goes_out_once_she_agrees",
            ),
        ),
    ),
    Section(
        "Errors and guidance",
        (
            line(
                "denial, limit, pending, timeout and failure told apart in one envelope",
                "test_each_kind_of_no_is_told_apart_and_costs_its_neighbours_nothing",
            ),
            line(
                "a forbidden tool reads like an invented one",
                "test_a_forbidden_and_an_invented_tool_read_alike_and_the_loop_goes_on",
            ),
            line("an approver's reason reaches the model", "test_an_approvers_denial_reaches_the_model_as_an_error"),
            line("what is missing is asked of the user", "test_what_is_missing_is_asked_of_the_user"),
            line(
                "turns, calls and repeated denials are counted and end the loop",
                "test_too_many_denials_stop_the_loop",
                "test_the_turn_budget_stops_a_model_that_never_ends",
                "test_the_call_budget_stops_the_loop_and_every_call_is_answered",
            ),
            line("every code of errors.md", "test_a_code_comes_as_the_page_shows_it"),
            line(
                "candidates from facts, and no oracle",
                "test_i7_candidates_are_the_principals_own_and_say_nothing_of_what_was_asked",
            ),
            line(
                "one denial repeated ends the loop",
                "test_the_same_denial_again_and_again_ends_the_run_whatever_succeeds_between",
            ),
            line("handing over as a tool", "test_handing_over_is_a_tool_that_ends_the_run"),
            line(
                "instructions for the system prompt name roles and rules, no tool",
                "test_instructions_tell_roles_and_rules_and_no_tool",
                apis=APIS,
                ways=("sync",),
                without={"async": NO_REQUEST, "streamed": NO_REQUEST},
            ),
            line(
                "lint hooks for descriptions and schemas",
                "test_lint_asks_when_to_use_a_tool_and_when_not_and_what_parameters_mean",
                apis=APIS,
                ways=("sync",),
                without={"async": NO_REQUEST, "streamed": NO_REQUEST},
            ),
            line("five customer-support pages", "test_the_conversation_of_a_page_is_what_happens"),
        ),
    ),
    Section(
        "Bad input",
        (
            line("turns no honest model gives", "test_a_turn_that_cannot_be_used_is_not_executed_and_not_kept"),
            pieces(
                "malformed deltas",
                "test_a_chat_stream_that_contradicts_itself_is_bad",
                "test_a_responses_stream_that_contradicts_itself_is_bad",
                "test_an_item_ends_as_it_began",
                "test_malformed_deltas_execute_nothing_and_the_conversation_goes_on",
            ),
            line("duplicate ids", "test_an_id_twice_is_neither_executed_nor_handed_over"),
            line("an id of an earlier turn", "test_an_id_of_an_earlier_turn_is_not_used_again"),
            line(
                "forged results, ids of another conversation",
                "test_a_conversation_with_forged_results_is_refused_before_it_is_sent",
            ),
            pieces(
                "calls after the end of a turn",
                "test_nothing_is_said_after_finish_reason",
                "test_calls_after_the_end_of_a_turn_execute_nothing",
            ),
            chat(
                "calls of a forced choice, which end with `stop`",
                "test_calls_of_a_forced_choice_end_with_stop_and_are_judged",
            ),
            line(
                "200 calls in one turn",
                "test_two_hundred_calls_in_one_turn_are_answered_and_none_is_executed",
                "test_more_than_anybody_sends_is_answered_by_dispatch_and_not_executed",
            ),
            line(
                "arguments of 10 MB",
                "test_arguments_of_ten_megabytes_are_refused_and_answered",
                "test_more_than_anybody_sends_is_answered_by_dispatch_and_not_executed",
            ),
            pieces(
                "a stream cut at every byte of a call",
                "test_a_stream_cut_anywhere_executes_nothing",
                "test_the_gate_hands_over_nothing_of_a_call_cut_at_any_byte",
                "test_the_client_and_the_assembler_make_no_turn_of_a_call_cut_at_any_byte",
                "test_a_connection_cut_between_events_executes_nothing_and_the_conversation_goes_on",
            ),
        ),
    ),
)
