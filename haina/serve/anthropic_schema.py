"""What may be posted to Anthropic's endpoints: every field that their client can send, taken or refused by name.

The fields are those of anthropic-sdk-python 2.12 (types/message_create_params.py and what it refers to), and of its
elder sisters, which had temperature, top_p and top_k. A field with a single value is there so that clients which state
the default are served. It knows no model and no answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from haina.serve.openai_schema import StopString
from haina.serve.strict import Strict, Unsupported


class CacheControl(Strict):
    """Of no effect: what was read before is always found again."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class Caller(Strict):
    type: Literal["direct"]


class TextBlock(Strict):
    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: Unsupported = None


class ToolUseBlock(Strict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: Caller | None = None
    toolset_name: Unsupported = None


class ToolResultBlock(Strict):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: bool = False
    cache_control: CacheControl | None = None
    toolset_name: Unsupported = None


Block = Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]


class AnthropicMessage(Strict):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class AnthropicMetadata(Strict):
    """Of no effect: nothing is kept about users."""

    user_id: str | None = None


class AnthropicTool(Strict):
    """A tool of the caller's. Anthropic's own (web search, computer use …) are refused by their `type`."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    description: str = ""
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    strict: bool = False  # every call follows its schema here
    cache_control: CacheControl | None = None
    input_examples: tuple[dict[str, Any], ...] = ()
    eager_input_streaming: bool | None = None  # they always come at once here
    defer_loading: Literal[False] = False
    allowed_callers: tuple[Literal["direct"], ...] = ()


class AutoChoice(Strict):
    type: Literal["auto"]
    disable_parallel_tool_use: bool = False


class AnyChoice(Strict):
    type: Literal["any"]
    disable_parallel_tool_use: bool = False


class ToolChoice(Strict):
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool = False


class NoneChoice(Strict):
    type: Literal["none"]


class Thinking(Strict):
    """Our models think aloud or not at all: `adaptive`, where they may choose, they never do."""

    type: Literal["disabled", "adaptive"]
    display: Literal["summarized", "omitted"] | None = None


class AnthropicFormat(Strict):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Strict):
    """`effort` high is what they take when it is absent."""

    format: AnthropicFormat | None = None
    effort: Literal["high"] | None = None


class CountTokensBody(Strict):
    """POST /v1/messages/count_tokens."""

    model: str
    messages: Annotated[list[AnthropicMessage], Field(min_length=1)]
    system: str | list[TextBlock] = ""
    tools: tuple[AnthropicTool, ...] = ()
    tool_choice: (
        Annotated[AutoChoice | AnyChoice | ToolChoice | NoneChoice, Field(discriminator="type")] | None
    ) = None
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()
    cache_control: CacheControl | None = None
    speed: Literal["standard"] | None = None


class MessagesBody(CountTokensBody):
    """POST /v1/messages. From min_p on: ours."""

    max_tokens: Annotated[int, Field(ge=1)]
    stream: bool = False
    stop_sequences: Annotated[tuple[StopString, ...], Field(max_length=16)] = ()
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: AnthropicMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: Unsupported = None
    diagnostics: Unsupported = None
    inference_geo: Unsupported = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
