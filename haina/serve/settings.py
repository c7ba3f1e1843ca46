"""Settings: what `haina serve` runs with, from flags, the environment and TOML files, and where each came from.

The first that says something wins: a flag, HAINA_SERVE_NAME in the environment, --config FILE, or without it the
person's file and then the system's, the default. A name that does not exist is refused, wherever it stands. Reading is
pydantic-settings'; which settings there are is said by options/serving.py alone. It does not know what they do.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import Field as Option
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints

from pydantic import BeforeValidator, Field, ValidationError, create_model
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from haina.options.serving import ServeOptions
from haina.serve.strict import reason
from haina.wording import say

PREFIX = "HAINA_SERVE_"
ACTS = ("new_key", "check", "show_settings", "config")  # what a command is to do, not how the server is
CONFIG = PREFIX + "CONFIG"
HELP = "haina serve --help"


@dataclass(frozen=True)
class Settings:
    """`sources`: by the name of a setting, where it came from; what is not there is a default."""

    models: list[str]
    options: ServeOptions
    sources: Mapping[str, str]


class _Read(BaseSettings):
    """The settings as pydantic-settings sees them; its sources are asked one by one, below."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", protected_namespaces=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *sources: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def settled(given: Mapping[str, Any], default: str) -> Settings:
    """What holds when `given` was on the command line, options by name and `models`.

    `default` is the model when nobody names one.
    ValueError: a file that is not there or is no TOML, a name that does not exist, a value that cannot be.
    """
    layers = [("", dict(given)), ("", _environment())]
    layers += [(str(file), _of_file(file)) for file in files(given.get("config"))]
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for number, (place, values) in enumerate(layers):
        for name, value in _checked(place, values, on_the_line=number == 0).items():
            if name not in found:
                found[name], sources[name] = value, _where(name, number, place)
    models = found.pop("models", None) or [default]
    return Settings(models, ServeOptions(**found), sources)


def files(config: str | None) -> list[Path]:
    """The file that was asked for; otherwise a person's and then the system's, if they are there."""
    if asked := config or os.environ.get(CONFIG):
        return [Path(asked)]
    if sys.platform == "win32":
        places = [Path(os.environ.get(name) or "C:/") for name in ("APPDATA", "PROGRAMDATA")]
    else:
        places = [Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"), Path("/etc")]
    return [file for place in places if (file := place / "haina" / "serve.toml").is_file()]


def shown(settings: Settings) -> str:
    """The settings as a TOML file that says the same, with where each came from. No secret is among them."""
    values = {"models": settings.models} | {name: getattr(settings.options, name) for name in _names()}
    lines = []
    for name, value in values.items():
        written = name.replace("_", "-")
        said = f"# {written} =" if value is None else f"{written} = {_toml(value)}"
        lines.append(f"{said:40} # {settings.sources.get(name, say('default', '默认'))}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """JSON's numbers, texts and lists are TOML's, too; the password of an address is left out."""
    text = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return re.sub(r"(?<=://)([^\s:@/]*):[^\s\"]*@", r"\1@", text)


# -- where they stand ---------------------------------------------------------------------------------------------


def _environment() -> dict[str, Any]:
    names = {PREFIX + name.upper() for name in _Settable.model_fields} | {CONFIG}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in names:
            raise _unknown(name, name, names)
    return EnvSettingsSource(_Settable)()


def _of_file(file: Path) -> dict[str, Any]:
    """Its settings; a name may be written as the flag, with dashes."""
    try:
        source = TomlConfigSettingsSource(_Settable, file) if file.is_file() else None
    except (SettingsError, ValueError) as error:  # tomllib's is a ValueError, as a wrong encoding is
        found = re.search(r"line (\d+)", str(error))
        en, zh = (f" (line {found[1]})", f"（第 {found[1]} 行）") if found else ("", "")
        raise ValueError(
            say(
                f"{file}: not TOML{en}: {error}; write NAME = VALUE, with texts in quotes",
                f"{file}：不是 TOML{zh}；应写作“名称 = 值”，文本须加引号",
            )
        ) from None
    if source is None:
        raise ValueError(
            say(
                f"{file}: no such file; --config takes a TOML file",
                f"{file}：没有此文件；--config 应为 TOML 文件",
            )
        )
    values = {name.replace("-", "_"): value for name, value in source.toml_data.items()}
    for name in values.keys() - _Settable.model_fields.keys():
        written = name.replace("_", "-")
        raise _unknown(
            f"{file}: {written}", written, (known.replace("_", "-") for known in _Settable.model_fields)
        )
    return values


def _unknown(what: str, name: str, known: Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(name, list(known), n=1)
    en, zh = (f"did you mean {near[0]}?", f"是否想写 {near[0]}？") if near else (HELP, HELP)
    return ValueError(say(f"{what}: no such setting; {en}", f"{what}：没有这个设置；{zh}"))


def _where(name: str, layer: int, place: str) -> str:
    flag = say("command line", "命令行") if name == "models" else "--" + name.replace("_", "-")
    return place or (flag if layer == 0 else PREFIX + name.upper())


# -- what they may be ---------------------------------------------------------------------------------------------


def _checked(place: str, values: dict[str, Any], *, on_the_line: bool) -> dict[str, Any]:
    """The values as their types have them. Typer has seen to those of the command line."""
    if on_the_line:
        return values
    try:
        read = _Settable(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        where = f"{place}: {name.replace('_', '-')}" if place else PREFIX + name.upper()
        value, why = json.dumps(first["input"], ensure_ascii=False, default=str), reason(first)
        raise ValueError(say(f"{where} = {value}: {why}", f"{where} = {value}：{why}")) from None
    return {name: getattr(read, name) for name in values}


def _names() -> list[str]:
    return [option.name for option in fields(ServeOptions) if option.name not in ACTS]


def _listed(value: object) -> object:
    """A list as the environment can hold it: JSON, or parts between commas; models also as a table."""
    if isinstance(value, str):
        if value.lstrip()[:1] not in ("[", "{"):
            return [part for part in map(str.strip, value.split(",")) if part]
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(
                say("neither JSON nor a list with commas", "既不是 JSON，也不是逗号分隔的列表")
            ) from None
    if isinstance(value, dict) and all(isinstance(path, str) for path in value.values()):
        return [f"{name}={path}" for name, path in value.items()]
    return value


def _number(value: object) -> object:
    """A number of a few that are allowed: the environment has it as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _field(option: Option[Any], kind: Any) -> tuple[Any, Any]:
    """A field for pydantic: the type, and the range that the flag has."""
    if get_origin(kind) is list:
        kind = Annotated[kind, NoDecode, BeforeValidator(_listed)]
    elif get_origin(kind) is Literal:
        kind = Annotated[kind, BeforeValidator(_number)]
    return kind, Field(option.default, ge=option.metadata["least"], le=option.metadata["most"])


def _model() -> type[_Read]:
    kinds = get_type_hints(ServeOptions)
    known = {option.name: option for option in fields(ServeOptions)}
    of_options = {name: _field(known[name], kinds[name]) for name in _names()}
    models: Any = Annotated[list[str], NoDecode, BeforeValidator(_listed)], Field([])
    return create_model("_Settable", __base__=_Read, models=models, **of_options)  # type: ignore[call-overload,no-any-return]


_Settable = _model()
