"""What each endpoint is for, in a line of English and one of Chinese, for the OpenAPI document and its page.

OpenAPI has one language: the Chinese stands beside it as `x-zh`. It knows no shapes and no routes.
"""

from __future__ import annotations

ABOUT = (
    "Language models on your own machine, for the clients of OpenAI, Anthropic and Ollama. Unknown fields are refused, "
    "and the error names the field; errors have the shape that each client expects.",
    "在自己的机器上运行语言模型，兼容 OpenAI、Anthropic、Ollama 的客户端。未知字段会被拒绝，并指明字段名；"
    "错误的格式与各家接口一致。",
)
TAGS = {
    "openai": ("OpenAI API", "OpenAI 接口"),
    "anthropic": ("Anthropic API", "Anthropic 接口"),
    "ollama": ("Ollama API", "Ollama 接口"),
    "tokens": ("Tokens", "词元"),
    "poems": ("Classical verse", "诗词"),
    "words": ("Reverse dictionary", "寻词"),
    "input": ("Pinyin input", "拼音输入"),
    "search": ("Search", "搜索"),
    "page": ("Conversations of the page", "网页对话"),
    "operations": ("Operations", "运维"),
}
_CHAT = ("Answer a conversation.", "回答一段对话。")
_VECTORS = ("Embed texts: a vector for each.", "把文本转为向量，每段一个。")
_REFUSED = (
    "Always refused: this server does not change its models.",
    "一律拒绝：本服务不更改模型。",
)

SUMMARIES = {  # of a path, or of one of its methods
    "/v1/models": ("List the models.", "列出模型。"),
    "/v1/models/{name}": ("Show one model.", "查看一个模型。"),
    "/v1/chat/completions": _CHAT,
    "/v1/completions": ("Continue a text, or several at once.", "续写文本，可一次多段。"),
    "/v1/embeddings": _VECTORS,
    "/v1/responses": (
        "Answer a conversation, as a list of items (Responses API).",
        "回答一段对话，结果为条目列表（Responses 接口）。",
    ),
    "/tokenize": ("Turn a text or a conversation into token ids.", "把文本或对话转为词元编号。"),
    "/detokenize": ("Turn token ids into text.", "把词元编号转回文本。"),
    "/v1/input": (
        "Texts for typed pinyin behind what stands before the cursor; without keys, words that may follow.",
        "拼音转汉字，参考光标前的文字；没有按键时预测下文。",
    ),
    "get /v1/input/words": ("List the words that you taught.", "列出你教过的词。"),
    "post /v1/input/words": ("Learn words; nobody else's key sees them.", "学习新词；其他密钥看不到。"),
    "delete /v1/input/words": ("Forget all words that you taught.", "忘掉你教过的全部词。"),
    "/v1/poems": (
        "Write classical verse in a form, with its tones and rhymes.",
        "写诗填词：格律必合，附平仄与韵脚。",
    ),
    "/v1/poems/forms": ("List every form: those of 诗, and all tunes.", "列出全部体裁：诗体与词牌。"),
    "/v1/words": ("Find the word for a description, in either language.", "按描述找词，可跨语言。"),
    "post /v1/search": (
        "Answer a question by quoting the documents of the server's index.",
        "引用服务器索引中的文档原文来回答问题。",
    ),
    "get /v1/search": ("Show how much the index holds.", "查看索引的规模。"),
    "/v1/search/document": (
        "Read a stretch of a document with what stands around it.",
        "读取文档的一段及其上下文。",
    ),
    "/v1/messages": _CHAT,
    "/v1/messages/count_tokens": ("Count the tokens of a conversation.", "计算一段对话的词元数。"),
    "/api/chat": _CHAT,
    "/api/generate": (
        "Answer a prompt; with `raw`, continue the text.",
        "回答一段提示；设 `raw` 时续写原文。",
    ),
    "/api/embed": _VECTORS,
    "/api/embeddings": (
        "Embed one text; older than `/api/embed`.",
        "把一段文本转为向量（`/api/embed` 的旧版）。",
    ),
    "/api/version": ("Show the server's version.", "查看服务版本。"),
    "/api/tags": ("List the models.", "列出模型。"),
    "/api/ps": ("List the models in memory.", "列出内存中的模型。"),
    "/api/show": ("Show one model in detail.", "查看一个模型的详情。"),
    "/api/pull": (
        "Succeeds for a model that is here; fetches no other.",
        "模型已在此处则成功；不会下载其他模型。",
    ),
    "/api/push": _REFUSED,
    "/api/create": _REFUSED,
    "/api/copy": _REFUSED,
    "/api/delete": _REFUSED,
    "/page/models": ("List the models; the first is the default.", "列出模型，第一个为默认。"),
    "/page/card": (
        "Show the card in a model's folder, as Markdown; loads the model if need be.",
        "查看模型目录中的模型卡（Markdown）；必要时先载入模型。",
    ),
    "/page/model": (
        "Show a model's context and default settings; loads it if need be.",
        "查看模型的上下文长度与默认设置；必要时先载入。",
    ),
    "get /page/conversations": ("List conversations, the latest first.", "列出对话，最近的在前。"),
    "post /page/conversations": ("Begin a conversation.", "新建对话。"),
    "delete /page/conversations": ("Delete all conversations.", "删除全部对话。"),
    "/page/export": ("Export all conversations as JSON.", "把全部对话导出为 JSON。"),
    "get /page/conversations/{id}": (
        "Read a conversation with all its branches.",
        "读取一段对话及其所有分支。",
    ),
    "patch /page/conversations/{id}": (
        "Change the title, the settings or the branch in view.",
        "更改标题、设置或当前分支。",
    ),
    "delete /page/conversations/{id}": ("Delete a conversation.", "删除一段对话。"),
    "/page/conversations/{id}/messages": ("Add a message.", "添加一条消息。"),
    "/page/conversations/{id}/export": (
        "Export a conversation: all branches as JSON, or the one in view as Markdown.",
        "导出一段对话：所有分支为 JSON，或当前分支为 Markdown。",
    ),
    "/healthz": ("Is the process well?", "进程是否正常。"),
    "/health": ("The same as `/healthz`.", "同 `/healthz`。"),
    "/readyz": ("Are requests welcome?", "是否可以接受请求。"),
    "/metrics": ("Figures for Prometheus.", "供 Prometheus 采集的指标。"),
}


def summary(method: str, path: str) -> dict[str, str]:
    """The fields of an operation that say it."""
    en, zh = SUMMARIES.get(f"{method} {path}") or SUMMARIES[path]
    return {"summary": en, "x-zh": zh}
