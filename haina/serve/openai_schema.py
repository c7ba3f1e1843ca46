"""What may be posted to OpenAI's endpoints: every field that their client can send, taken or refused by name.

The fields are those of openai-python 3.54 (types/), and the sampling settings that local servers add to them. A field
with a single value is there so that clients which state the default are served. It knows no model and no answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from haina.serve.strict import Strict, Unsupported

Count = Annotated[int, Field(ge=1, lt=1 << 31)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
Id = Annotated[int, Field(ge=0, lt=1 << 31)]
LongText = Annotated[str, Field(max_length=1 << 20)]
StopString = Annotated[str, Field(min_length=1, max_length=1000)]
Ids = Annotated[list[Id], Field(max_length=1 << 20)]
Inputs = str | list[str] | Ids | list[Ids]  # a text, texts, ids, lists of ids
MOST_INPUTS = 2048  # to be made vectors of, as OpenAI has it
Embedded = (
    str
    | Annotated[list[str], Field(max_length=MOST_INPUTS)]
    | Ids
    | Annotated[list[Ids], Field(max_length=MOST_INPUTS)]
)


class Sampled(Strict):
    """How tokens are chosen; what is absent is the model's own."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None


class Platform(Strict):
    """What OpenAI's own servers do with a request besides answering it: of no effect here, or refused."""

    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    store: Literal[False] | None = None
    moderation: Unsupported = None


class Asked(Sampled):
    """What chat and completions have in common."""

    model: str | None = None  # absent: the first that is served
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: (
        dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]] | None
    ) = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # of no effect: nothing is padded


class TextPart(Strict):
    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Content
    name: str | None = None


class FunctionCall(Strict):
    name: str
    arguments: str


class ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: FunctionCall
    index: int | None = None  # in what was streamed


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = None
    refusal: Unsupported = None
    audio: Unsupported = None
    function_call: Unsupported = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: str
    name: str | None = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class FunctionDefinition(Strict):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # every call follows its schema here


class FunctionTool(Strict):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Strict):
    name: str


class NamedTool(Strict):
    type: Literal["function"]
    function: FunctionName


class AllowedTools(Strict):
    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class AllowedToolChoice(Strict):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class TextFormat(Strict):
    type: Literal["text"]


class JsonObjectFormat(Strict):
    type: Literal["json_object"]


class JsonSchema(Strict):
    name: Name = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")] = True
    strict: bool | None = None  # always


class JsonSchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(Strict):
    """Ours: a text that the whole of a regular expression matches."""

    type: Literal["regex"]
    pattern: str


class GrammarFormat(Strict):
    """Ours: a text of a grammar in llguidance's Lark."""

    type: Literal["grammar"]
    grammar: str


class ChoiceFormat(Strict):
    """Ours: one of these texts."""

    type: Literal["choice"]
    choices: list[str]


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat | GrammarFormat | ChoiceFormat,
    Field(discriminator="type"),
]


class ChatCompletionBody(Asked, Platform):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    truncation: Literal["auto", "disabled"] | None = None  # as /v1/responses has it
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    return_progress: bool | None = None  # as llama.cpp: chunks that say how much of the prompt has been read
    # only what changes nothing
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    # refused
    audio: Unsupported = None
    prediction: Unsupported = None
    web_search_options: Unsupported = None
    function_call: Unsupported = None
    functions: Unsupported = None


class CompletionBody(Asked):
    """POST /v1/completions."""

    prompt: Inputs
    max_tokens: Annotated[int, Field(ge=0, lt=1 << 31)] | None = (
        None  # 0: with echo, to read the prompt alone
    )
    best_of: Annotated[int, Field(ge=1, le=64)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    suffix: Unsupported = None
    response_format: ResponseFormat | None = None
    user: str | None = None  # of no effect


class EmbeddingBody(Strict):
    """POST /v1/embeddings."""

    input: Embedded
    model: str | None = None
    dimensions: Count | None = None  # the first so many; at most the model's own number
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class TokenizeBody(Strict):
    """POST /tokenize: a text, or the prompt that a conversation becomes."""

    model: str | None = None
    content: LongText | None = None
    prompt: LongText | None = None  # the same, as vLLM calls it
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None


class DetokenizeBody(Strict):
    """POST /detokenize."""

    model: str | None = None
    tokens: Ids


Asked.model_rebuild()
