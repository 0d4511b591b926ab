"""What of OpenAI's two APIs is known to bring neither a tool nor a right, so that it may be sent as it is.

Guarantee: what stands in no table here is refused, as is whatever a provider invents tomorrow. The tables are those of
the API reference as the `openai` library 3.51 has it, and tests/unit/shapes/test_known.py holds them against the
library that is installed: a parameter or a kind of item that it learns fails a test here before it reaches anybody.
"""

from __future__ import annotations

from collections.abc import Mapping

# Of requests to either API, to count tokens, to compact, and of conversations; `tools` and its like are governed.
PARAMETERS = frozenset(
    (
        *("access_programs", "audio", "background", "context_management", "conversation", "frequency_penalty"),
        *("image", "include", "input", "instructions", "items", "logit_bias", "logprobs", "max_completion_tokens"),
        *("max_output_tokens", "max_tokens", "max_tool_calls", "messages", "metadata", "modalities", "model"),
        *("moderation", "n", "parallel_tool_calls", "personality", "prediction", "presence_penalty"),
        *("previous_response_id", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning"),
        *("reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user", "verbosity", "web_search_options"),
    )
)

# Arguments of the library's own methods that are no parameters of a request.
CLIENT_OPTIONS = frozenset(("extra_headers", "extra_query", "extra_body", "timeout", "text_format"))

# Input items of Responses: words, calls and their results, and what is left of a tool that the provider ran.
ITEMS = frozenset(
    (
        *("message", "reasoning", "item_reference", "compaction", "compaction_trigger", "configuration_update"),
        *("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "tool_search_call"),
        *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "program_output"),
        *("computer_call", "computer_call_output", "local_shell_call", "local_shell_call_output", "shell_call"),
        *("shell_call_output", "apply_patch_call", "apply_patch_call_output"),
        *("mcp_list_tools", "mcp_approval_request", "mcp_call"),
    )
)
ITEMS_WITH_TOOLS = ("additional_tools", "tool_search_output")  # their lists are filtered like `tools`
# Input items that let a tool of the provider go on, by the kind of tool.
ITEMS_WITH_RIGHTS: Mapping[str, str] = {"mcp_approval_response": "mcp", "program": "programmatic_tool_calling"}

# What a tool of the provider leaves in an answer is called after it, but for these.
TRACE_OF: Mapping[str, str] = {"computer": "computer_use", "program": "programmatic_tool_calling"}


def input_kind(item: object) -> str:
    """The kind of a Responses input item, which may leave it out for a message and a reference; empty for none."""
    if not isinstance(item, Mapping):
        return ""
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference" if "id" in item else ""
    return kind if isinstance(kind, str) else ""
