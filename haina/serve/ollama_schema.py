"""What may be posted to Ollama's endpoints: every field that its client can send, taken or refused by name.

The fields are those of ollama-python 0.6.3 (_types.py) and of ollama's docs/api.md. A field with a single value is
there so that clients which state the default are served. Empty texts and lists count as absent, as they do there.
It knows no model and no answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from haina.serve.openai_schema import MOST_INPUTS, StopString
from haina.serve.strict import Strict, Unsupported

DURATION = r"^-?(\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+)$"  # as Go writes it, or seconds
Nothing = Annotated[list[Any], Field(max_length=0)] | None


class OllamaOptions(Strict):
    """How an answer is made. The second half says how a model is loaded: our operator has, the answer is the same."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_last_n: Literal[-1] | None = None  # all of the text
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    penalize_newline: Literal[True] | None = None
    mirostat: Literal[0] | None = None
    mirostat_tau: float | None = None  # of no effect without mirostat
    mirostat_eta: float | None = None
    tfs_z: Annotated[float, Field(ge=1, le=1)] | None = None
    seed: int | None = None
    num_predict: Annotated[int, Field(ge=-2)] | None = None
    stop: StopString | Annotated[tuple[StopString, ...], Field(max_length=16)] = ()
    num_ctx: Annotated[int, Field(ge=1)] | None = None  # asks for room; how much there is, our operator says
    num_keep: int | None = None  # of no effect: nothing is ever cut
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    numa: bool | None = None
    logits_all: bool | None = None
    vocab_only: Literal[False] | None = None
    embedding_only: Literal[False] | None = None


class OllamaFunctionCall(Strict):
    name: str
    arguments: dict[str, Any]
    index: int | None = None
    description: str = ""


class OllamaCall(Strict):
    id: str = ""
    type: Literal["function"] = "function"
    function: OllamaFunctionCall


class OllamaMessage(Strict):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = ""
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    name: str | None = None  # an older spelling of it
    tool_call_id: str | None = None
    thinking: Literal[""] | None = None
    images: Nothing = None


class OllamaFunction(Strict):
    name: str
    description: str | None = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # every call follows its schema here


class OllamaTool(Strict):
    type: Literal["function"] = "function"
    function: OllamaFunction


class ModelBody(Strict):
    """What names a model. Some clients still say `name`."""

    model: str = ""
    name: str = ""


class KeptBody(ModelBody):
    """`keep_alive` 0 unloads the model when nobody uses it; for how long it stays otherwise is the operator's."""

    keep_alive: float | Annotated[str, Field(pattern=DURATION)] | None = None


class AnswerBody(KeptBody):
    """What chat and generate share."""

    stream: bool = True
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: OllamaOptions | None = None
    think: Literal[False, ""] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    shift: Literal[False] | None = None


class ChatBody(AnswerBody):
    """POST /api/chat."""

    messages: tuple[OllamaMessage, ...] = ()
    truncate: bool | None = None  # true: leave out the oldest rounds; otherwise what is too long is refused
    tools: list[OllamaTool] | None = None


class GenerateBody(AnswerBody):
    """POST /api/generate."""

    prompt: str = ""
    truncate: Literal[False] | None = None  # a prompt is never cut: one that is too long is refused
    system: str = ""
    raw: bool = False
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None
    context: Nothing = None
    images: Nothing = None
    width: Unsupported = None
    height: Unsupported = None
    steps: Unsupported = None


class EmbedBody(KeptBody):
    """POST /api/embed."""

    input: str | Annotated[list[str], Field(max_length=MOST_INPUTS)]
    truncate: bool | None = None  # true: leave out a text's end; otherwise what is too long is refused
    dimensions: Annotated[int, Field(ge=1)] | None = None
    options: OllamaOptions | None = None


class EmbeddingsBody(KeptBody):
    """POST /api/embeddings."""

    prompt: str = ""
    options: OllamaOptions | None = None


class ShowBody(ModelBody):
    """POST /api/show."""

    verbose: bool = False  # of no effect: the tokens of a vocabulary are not listed


class PullBody(ModelBody):
    """POST /api/pull: nothing to do for a model that is here, refused for another."""

    stream: bool = True
    insecure: bool = False
