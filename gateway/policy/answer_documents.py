"""What `settings.yaml` says about a model's requests and about its final answer, one model each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gateway.policy.model import Document, Misplaced, ToolName


class AnswerCheck(Document):
    """The check of an agent's final answer in `run()`. `hand_over`: a person gets it, the user does not."""

    on_secret: Literal["refuse", "mask", "hand_over"] = "refuse"  # noqa: S105 - a verdict
    deliver_with: ToolName | None = Field(
        default=None,
        description="With `hand_over`: a tool of yours that brings a held answer to the user. Its call, with the "
        "answer as the secret parameter `text`, waits for an approver like any other.",
    )

    @model_validator(mode="after")
    def _hands_over(self) -> AnswerCheck:
        if self.deliver_with is not None and self.on_secret != "hand_over":  # noqa: S105
            raise Misplaced("`deliver_with` needs `on_secret: hand_over`", "deliver_with")
        return self


class OpenAISettings(Document):
    """What a request to a model may be."""

    parallel: dict[str, Literal["on", "off", "omit"]] = Field(
        default_factory=dict,
        description="`parallel_tool_calls` by model name (`*` at the end matches the rest), before the built-in table: "
        "leave it on, switch it off, or leave the parameter out because the model rejects it.",
    )
    destructive_in_parallel: bool = Field(
        default=False, description="Leave parallel calls on although a tool with `risk: high` is in the list."
    )
    parameters: tuple[str, ...] = Field(
        default=(),
        description="Parameters of a provider of yours that OpenAI's API does not have, and that bring no tool. A "
        "request with any other unknown one is refused.",
    )
