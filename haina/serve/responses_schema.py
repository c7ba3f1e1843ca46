"""What may be posted to /v1/responses: every field that OpenAI's client can send, taken or refused by name.

Nothing is kept between two requests: what refers to an earlier one is refused. It knows no model and no answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from haina.serve.openai_schema import (
    Count,
    JsonObjectFormat,
    Name,
    Platform,
    Sampled,
    StreamOptions,
    TextFormat,
)
from haina.serve.strict import Remembered, Strict, Unsupported

Status = Literal["in_progress", "completed", "incomplete"]
Nothing = Annotated[list[Any], Field(max_length=0)]


class InputText(Strict):
    type: Literal["input_text", "output_text"]
    text: str
    annotations: Nothing | None = None
    logprobs: list[Any] | None = None  # of an answer that is given back: of no effect


class InputItemMessage(Strict):
    """What somebody said; an answer of ours as it was given, too."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText]
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class InputCall(Strict):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: Status | None = None
    caller: Unsupported = None
    namespace: Unsupported = None


class InputCallOutput(Strict):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    status: Status | None = None


class ResponseTool(Strict):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # every call follows its schema here


class ResponseToolName(Strict):
    type: Literal["function"]
    name: str


class ResponseAllowedTools(Strict):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ResponseToolName]


class ResponseSchemaFormat(Strict):
    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None  # always


class TextConfig(Strict):
    format: (
        Annotated[TextFormat | JsonObjectFormat | ResponseSchemaFormat, Field(discriminator="type")] | None
    ) = None
    verbosity: Literal["medium"] | None = None


class Reasoning(Strict):
    effort: Literal["none"] | None = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None


class ResponseBody(Sampled, Platform):
    """POST /v1/responses."""

    input: str | Annotated[list[InputItemMessage | InputCall | InputCallOutput], Field(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextConfig | None = None
    tools: list[ResponseTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseToolName | ResponseAllowedTools | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = (
        None  # auto: leave out the oldest rounds, and say how many
    )
    # only what changes nothing
    background: Literal[False] | None = None
    reasoning: Reasoning | None = None
    # refused
    previous_response_id: Remembered = None
    conversation: Remembered = None
    context_management: Unsupported = None
    max_tool_calls: Unsupported = None
    prompt: Unsupported = None
