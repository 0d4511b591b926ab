"""The tables of what may be sent, held against the `openai` library that is installed.

An upgrade that brings a parameter, a kind of tool or item, an endpoint or a websocket fails here, until somebody has
said what the gateway does with it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from pathlib import Path
from typing import Any, get_type_hints

import openai
import pytest
import typing_extensions
from openai.types import beta
from openai.types.chat import ChatCompletionMessage, ChatCompletionToolUnionParam
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.conversations import ConversationCreateParams
from openai.types.conversations.item_create_params import ItemCreateParams
from openai.types.responses import (
    ResponseInputItemParam,
    ResponseOutputItem,
    ResponseStreamEvent,
    ToolParam,
)
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from gateway.integrations.openai import _api, _toolless
from gateway.shapes.gate import _ITEM_EVENTS
from gateway.shapes.incoming import _HARMLESS, ResponseRefused, check_item
from gateway.shapes.known import ITEMS, ITEMS_WITH_RIGHTS, ITEMS_WITH_TOOLS, PARAMETERS
from gateway.shapes.models import RequestRules
from gateway.shapes.outgoing import _REFUSED, provider_name
from gateway.shapes.stream import _PARTS, TERMINAL

BETA = importlib.import_module("openai.types.beta.response_create_params")


def kinds(union: object) -> set[str]:
    """Every `type` of the members of a union."""
    if not inspect.isclass(union):
        return {kind for each in typing.get_args(union) for kind in kinds(each)}
    fields: Any = getattr(union, "model_fields", None)
    hint = fields["type"].annotation if fields and "type" in fields else None
    if fields is None and typing_extensions.is_typeddict(union):
        hint = get_type_hints(union).get("type")
    return {each for each in literals(hint) if isinstance(each, str)}


def literals(hint: object) -> set[object]:
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return {each for part in typing.get_args(hint) for each in literals(part)}


@pytest.mark.parametrize(
    "params",
    [
        CompletionCreateParamsBase, ResponseCreateParamsBase, ResponseCompactParams, InputTokenCountParams,
        ConversationCreateParams, ItemCreateParams, BETA.ResponseCreateParamsBase,
    ],
    ids=lambda params: params.__module__.split("types.")[1],
)  # fmt: skip
def test_every_parameter_is_known_or_refused(params: Any) -> None:
    assert set(get_type_hints(params)) - PARAMETERS - _REFUSED.keys() <= {"betas"}  # which is a header


def test_no_parameter_is_known_that_the_api_does_not_have() -> None:
    asked = (CompletionCreateParamsBase, ResponseCreateParamsBase, ResponseCompactParams, InputTokenCountParams)
    having = {name for each in (*asked, ConversationCreateParams) for name in get_type_hints(each)}
    assert having | {"stream"} >= PARAMETERS
    assert not PARAMETERS & _REFUSED.keys()


REFUSED_ITEMS = {"agent_message", "multi_agent_call", "multi_agent_call_output"}  # the provider's own agents


def test_every_input_item_is_known_or_refused() -> None:
    given = kinds(ResponseInputItemParam)
    assert given == ITEMS | {*ITEMS_WITH_TOOLS, *ITEMS_WITH_RIGHTS}
    assert kinds(beta.BetaResponseInputItemParam) - given == REFUSED_ITEMS


# tool of the provider -> what it leaves in an answer
LEAVES: dict[str, set[str]] = {
    "apply_patch": {"apply_patch_call", "apply_patch_call_output"},
    "code_interpreter": {"code_interpreter_call"},
    "computer": {"computer_call", "computer_call_output"},
    "computer_use": {"computer_call", "computer_call_output"},
    "file_search": {"file_search_call"},
    "image_generation": {"image_generation_call"},
    "local_shell": {"local_shell_call", "local_shell_call_output"},
    "mcp:https://mcp.example/mcp": {"mcp_call", "mcp_list_tools", "mcp_approval_request"},
    "programmatic_tool_calling": {"program", "program_output"},
    "shell": {"shell_call", "shell_call_output"},
    "tool_search": set(),
    "web_search": {"web_search_call"},
}
OURS = {"function_call", "custom_tool_call"}
# results are the program's to give, and an approval is a person's: no model's answer holds them
NEVER = {"function_call_output", "custom_tool_call_output", "mcp_approval_response"}


def _named(kind: str) -> str:
    return provider_name({"type": kind, "server_url": "https://mcp.example/mcp"})


def test_every_tool_is_governed_or_the_providers_own() -> None:
    assert kinds(ChatCompletionToolUnionParam) == {"function", "custom"}
    assert kinds(beta.BetaToolParam) == kinds(ToolParam)
    provided = {_named(kind) for kind in kinds(ToolParam) - {"function", "custom", "namespace"}}
    assert provided == LEAVES.keys()


def test_every_output_item_is_governed_or_left_by_a_tool_that_the_policy_must_name() -> None:
    left = {kind for found in LEAVES.values() for kind in found}
    assert kinds(ResponseOutputItem) == OURS | NEVER | _HARMLESS | left
    assert kinds(beta.BetaResponseOutputItem) - kinds(ResponseOutputItem) == REFUSED_ITEMS
    for kind in left | NEVER | REFUSED_ITEMS:
        with pytest.raises(ResponseRefused):
            check_item({"type": kind}, RequestRules())


@pytest.mark.parametrize("tool", LEAVES)
def test_what_an_allowed_tool_leaves_is_handed_over_and_nothing_else(tool: str) -> None:
    rules = RequestRules(frozenset((tool,)))
    for kind in {kind for found in LEAVES.values() for kind in found}:
        if kind in LEAVES[tool]:
            assert not check_item({"type": kind}, rules)
        else:
            with pytest.raises(ResponseRefused):
                check_item({"type": kind}, rules)


def test_every_event_that_carries_items_calls_or_responses_is_read() -> None:
    members = typing.get_args(typing.get_args(ResponseStreamEvent)[0])
    found: dict[str, set[str]] = {"item": set(), "response": set(), "call": set()}
    for event in members:
        [kind] = kinds(event)
        for field in found:
            if field in event.model_fields:
                found[field].add(kind)
        if kind.startswith(("response.function_call", "response.custom_tool_call")):
            found["call"].add(kind)
    assert found["item"] == set(_ITEM_EVENTS)
    assert found["call"] == _PARTS.keys()
    assert found["response"] == {*TERMINAL, "response.created", "response.in_progress", "response.queued"}


def test_a_chat_message_has_no_part_that_nobody_reads() -> None:
    """`content` and `refusal` are text; the calls are governed; the legacy call is refused; the rest calls nothing."""
    read = {"content", "refusal", "role", "tool_calls", "function_call"}
    assert set(ChatCompletionMessage.model_fields) == read | {"annotations", "audio"}
    assert set(ChoiceDelta.model_fields) == read | {"audio"}


# endpoints


PASS = re.findall(
    r"\S+",
    """
/audio/speech /audio/transcriptions /audio/translations /audio/voice_consents /audio/voice_consents/{} /audio/voices
/agents/environments/{}/files /containers/{}/files
/chat/completions/{} /completions /content_provenance_checks /decisions /embeddings /files
/fine_tuning/jobs /fine_tuning/jobs/{}/cancel /fine_tuning/jobs/{}/pause /fine_tuning/jobs/{}/resume
/images/edits /images/generations /images/variations /moderations /responses/{}/cancel
/uploads /uploads/{}/cancel /uploads/{}/complete /uploads/{}/parts
/vector_stores /vector_stores/{} /vector_stores/{}/file_batches /vector_stores/{}/file_batches/{}/cancel
/vector_stores/{}/files /vector_stores/{}/files/{}
/videos /videos/characters /videos/edits /videos/extensions /videos/{}/remix
""",
)
GOVERNED = re.findall(
    r"\S+",
    """
/chat/completions /conversations /conversations/{} /conversations/{}/items
/responses /responses/compact /responses/input_tokens
""",
)
# They give a model tools, run code, or change who may do what; or nothing is known about them.
REFUSED = (
    *("/agents", "/assistants", "/batches", "/chatkit", "/containers", "/evals", "/fine_tuning/alpha", "/live"),
    *("/organization", "/projects", "/realtime", "/skills", "/threads", "/vaults", "/webhook_endpoints"),
)


def _posts() -> set[str]:
    found = set()
    for file in (Path(openai.__file__).parent / "resources").rglob("*.py"):
        sends = re.findall(r'self\._(?:post|put|patch)\(\s*(?:path_template\(\s*)?f?"([^"?]+)', file.read_text())
        found |= {re.sub(r"\{[^}]*\}", "{}", path) for path in sends}
    return found


def test_every_endpoint_is_governed_passes_or_is_refused() -> None:
    posts = _posts()
    assert len(posts) > 100
    filled = {path: path.format(*["x"] * path.count("{}")) for path in posts}
    governed = {path for path, real in filled.items() if _api(f"/v1{real}") is not None}
    passed = {path for path, real in filled.items() if path not in governed and _toolless(f"/v1{real}")}
    assert governed == set(GOVERNED)
    assert passed == set(PASS)
    assert {path for path in posts - governed - passed if not path.startswith(REFUSED)} == set()
