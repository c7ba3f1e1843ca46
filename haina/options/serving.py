"""Options of the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from haina.options.flag import flag
from haina.options.models import ModelOptions


@dataclass(frozen=True)
class ServeOptions(ModelOptions):
    """How models are served."""

    host: str = flag(
        "127.0.0.1",
        "address to listen on; one that others can reach needs --api-key-file [default: 127.0.0.1]",
        "监听地址；若他人可以访问，则必须给出 --api-key-file；默认 127.0.0.1",
        metavar="ADDRESS",
    )
    port: int = flag(
        8080,
        "port; 0: any that is free [default: 8080]",
        "端口；0 为任意空闲端口；默认 8080",
        metavar="N",
        least=0,
        most=65535,
    )
    api_key_file: str | None = flag(
        None,
        "only who has a key of this file may ask; a line each: NAME sha256:… limits",
        "只接受持有此文件中密钥的请求；每行一个：名称 sha256:… 限额",
        metavar="FILE",
    )
    new_key: str | None = flag(
        None,
        "make a key for NAME, show it once, write its hash into --api-key-file, and end",
        "为该名称生成密钥：仅显示一次，散列值写入 --api-key-file，随即退出",
        metavar="NAME",
    )
    allow_host: list[str] = flag(  # noqa: RUF009
        (),
        "a name by which browsers reach this server, as behind a proxy; repeatable",
        "浏览器访问本服务所用的域名（如经反向代理），可多次给出",
        metavar="NAME",
    )
    allow_origin: list[str] = flag(  # noqa: RUF009
        (),
        "a site whose pages may ask this server (CORS), such as https://example.org; repeatable [default: none]",
        "允许其页面跨域调用本服务的网站（CORS），如 https://example.org，可多次给出；默认无",
        metavar="URL",
    )
    lenient: bool = flag(
        False,
        "drop unknown fields of requests instead of refusing them, and name them in x-haina-ignored",
        "忽略请求中的未知字段而不拒绝，并在 x-haina-ignored 中列出",
    )
    conversations: int | None = flag(
        None,
        "room for so many conversations of full length [default: what 1 GiB holds]",
        "缓存可容纳的完整对话数，默认为 1 GiB 所能容纳的数目",
        metavar="N",
        least=1,
        most=64,
    )
    queue: int = flag(
        128,
        "requests answered or waiting at once; more are told to come again: 429 [default: 128]",
        "同时处理与等候的请求数；超出者以 429 请其稍后再来；默认 128",
        metavar="N",
        least=1,
    )
    timeout: float = flag(
        1800,
        "longest that a request may take [default: 1800]",
        "单个请求的最长时间，默认 1800 秒",
        metavar="SECONDS",
        least=1,
    )
    idle: float = flag(
        0,
        "take a model out of memory when nobody has asked it for so long [default: never]",
        "模型闲置多久后移出内存，默认从不",
        metavar="MINUTES",
        least=0,
    )
    log: Literal["text", "json", "off"] = flag(
        "text", "a line on stderr for every request [default: text]", "每个请求在 stderr 记一行，默认 text"
    )
    config: str | None = flag(
        None,
        "a TOML file of these options and of [models]; also HAINA_SERVE_PORT=… and so on "
        "[default: haina/serve.toml in ~/.config and /etc]",
        "存放这些选项与 [models] 的 TOML 文件，默认为 ~/.config 与 /etc 中的 haina/serve.toml；"
        "也可用环境变量 HAINA_SERVE_PORT=… 等",
        metavar="FILE",
    )
    show_settings: bool = flag(
        False,
        "print the settings as such a file, with where each came from, and end",
        "以此种文件的形式列出各项设置及其来源，随即退出",
    )
    check: bool = flag(
        False,
        "try the server that runs at --host and --port with the official clients, and end; key: $HAINA_API_KEY",
        "用各家官方客户端检验正在 --host 与 --port 上运行的服务，随即退出；密钥取自 $HAINA_API_KEY",
    )
    search: str | None = flag(
        None,
        "answer /v1/search from this index, a file or postgresql://…; whoever may ask can read what is in it "
        "[default: none]",
        "用此索引（文件或 postgresql://…）应答 /v1/search；可访问本服务者即可读到其中内容；默认无",
        metavar="INDEX",
    )
    log_prompts: bool = flag(
        False, "log what was asked, too; never done otherwise", "日志中包含提问内容；不加此项则从不记录"
    )
