"""The part of pickle that a state dict needs, as a small stack machine: bytes in, plain values out.

Covered: the opcodes and globals below, nothing else. A global is never looked up or imported: it becomes a
`Name`, and REDUCE builds plain values of ours from the few names it knows. So there is nothing that a pickle
could call, whatever it says. Sizes, depth and the number of steps are limited.
Not covered: whether the numbers make sense for the file (`read_pickle` checks them).

The opcodes are described in CPython's Lib/pickletools.py; what torch.save writes, in torch/serialization.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from haina.wording import say

MAX_STEPS = 2_000_000  # torch.save takes about 25 for a tensor
MAX_ITEMS = 250_000  # on the stack, in the memo, of marks
MAX_DIMS = 8  # of a tensor; also keeps the work of every step small
MAX_STRING_BYTES = 1 << 16
MAX_NAME_BYTES = 256
MAX_INTEGER_BYTES = 16

# Storage classes of torch, with the name of their element type in safetensors.
STORAGES = {
    "HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32", "DoubleStorage": "F64",
    "CharStorage": "I8", "ByteStorage": "U8", "ShortStorage": "I16", "IntStorage": "I32",
    "LongStorage": "I64", "BoolStorage": "BOOL",
}  # fmt: skip

NAMES = frozenset(
    [
        "collections.OrderedDict",
        "torch.Size",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
    ]
    + [f"torch.{name}" for name in STORAGES]
    + [f"torch.{name}" for name in ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int64")]
)


@dataclass(frozen=True)
class Name:
    """A global that the pickle named: only its name, one of NAMES."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A run of `size` elements of type `dtype` (safetensors' name), known to the container by `key`."""

    dtype: str
    key: str
    size: int


@dataclass(frozen=True)
class View:
    """A tensor: a strided view of a storage; all numbers are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Refused(Exception):
    """The pickle is cut short, malformed, or asks for something that we do not do."""

    def __init__(self, en: str, zh: str):
        super().__init__(say(en, zh))


@dataclass(frozen=True)
class Pickle:
    """One pickle that was run: its value, the offset behind it, and every storage it named, by key."""

    value: Any
    end: int
    storages: dict[str, Storage]


def load(data: memoryview, at: int = 0) -> Pickle:
    """Run the pickle that begins at offset `at`. Raises Refused."""
    machine = _Machine(data, at)
    for _ in range(MAX_STEPS):
        opcode = machine.take(1)
        if opcode == b".":
            return Pickle(machine.pop(), machine.at, machine.storages)
        step = _STEPS.get(opcode)
        if step is None:
            raise Refused(f"pickle opcode {opcode!r} is not allowed", f"不允许的 pickle 操作码 {opcode!r}")
        step(machine)
        if max(len(machine.stack), len(machine.memo), len(machine.marks)) > MAX_ITEMS:
            raise Refused("the pickle is too large", "pickle 过大")
    raise Refused("the pickle has too many steps", "pickle 步数过多")


class _Machine:
    """The state of a run: the bytes, the stack, the marks (stack heights) and the memo."""

    def __init__(self, data: memoryview, at: int):
        self.data, self.at = data, at
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        taken = bytes(self.data[self.at : self.at + n])
        if len(taken) < n:
            raise Refused("the pickle is cut short", "pickle 不完整")
        self.at += n
        return taken

    def number(self, layout: str) -> Any:
        """The next number, by its struct code (little-endian unless it says otherwise)."""
        layout = layout if layout[0] == ">" else "<" + layout
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, n: int) -> str:
        if n > MAX_STRING_BYTES:
            raise Refused(f"the pickle holds a string of {n} bytes", f"pickle 中有长达 {n} 字节的字符串")
        try:
            return self.take(n).decode()
        except UnicodeDecodeError:
            raise malformed() from None

    def line(self) -> str:
        """The text up to the next newline, which is skipped."""
        length = bytes(self.data[self.at : self.at + MAX_NAME_BYTES]).find(b"\n")
        if length < 0:
            raise malformed()
        return self.text(length + 1)[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise malformed()
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise malformed()
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self, kind: type) -> Any:
        """The value on top of the stack, which stays there and must be a dict or a list."""
        value = self.pop()
        if type(value) is not kind:
            raise malformed()
        self.push(value)
        return value

    def tuple_of(self, n: int) -> None:
        items = [self.pop() for _ in range(n)]
        self.push(tuple(reversed(items)))

    def remember(self, index: int) -> None:
        value = self.pop()
        self.push(value)
        self.memo[index] = value

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise malformed()
        self.push(self.memo[index])

    def name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if type(module) is str and type(name) is str else "?"
        if full not in NAMES:
            raise Refused(
                f"pickle global {full[:120]!r} is not allowed", f"不允许的 pickle 全局名 {full[:120]!r}"
            )
        self.push(Name(full))

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise malformed()
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise Refused(
                    f"a dict key of type {type(key).__name__}", f"字典的键类型为 {type(key).__name__}"
                )
            if key in target:
                raise Refused(
                    f"the name {str(key)[:120]!r} occurs twice", f"名称 {str(key)[:120]!r} 出现了两次"
                )
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def build(self) -> None:
        """OrderedDict's attributes (`_metadata` of a state dict): of no use here, dropped."""
        if type(self.pop()) is not dict:
            raise malformed()
        self.top(dict)

    def storage(self) -> None:
        """A persistent id: ("storage", class, key, device, size), in the old container with a None."""
        match self.pop():
            case ("storage", Name(name=name), str(key), str(), int(size), *rest) if rest in ([], [None]):
                dtype = STORAGES.get(name.removeprefix("torch."))
                if dtype is not None and type(size) is int and size >= 0:
                    storage = Storage(dtype, key, size)
                    if self.storages.setdefault(key, storage) != storage:
                        raise malformed()
                    self.push(storage)
                    return
        raise malformed()

    def reduce(self) -> None:
        """What a call would be elsewhere: builds one of four plain values."""
        arguments, function = self.pop(), self.pop()
        match function, arguments:
            case Name(name="collections.OrderedDict"), ():
                self.push({})
            case Name(name="torch.Size"), (tuple() as sizes,) if _integers(sizes):
                self.push(sizes)
            case Name(name="torch._utils._rebuild_tensor_v2"), (
                Storage() as storage, int(offset), tuple() as shape, tuple() as strides, *_
            ) if _integers((offset,)) and _integers(shape) and _integers(strides):  # fmt: skip
                self.push(View(storage, offset, shape, strides))
            case Name(name="torch._utils._rebuild_parameter"), (View() as view, *_):
                self.push(view)
            case _:
                shown = function.name if type(function) is Name else type(function).__name__
                raise Refused(
                    f"the pickle would call {shown} in a way unknown here", f"pickle 以未知方式调用 {shown}"
                )


def _integers(values: tuple[Any, ...]) -> bool:
    return len(values) <= MAX_DIMS and all(type(value) is int for value in values)


def malformed() -> Refused:
    return Refused("the pickle is malformed", "pickle 格式不对")


def _protocol(machine: _Machine) -> None:
    if machine.number("B") > 5:
        raise malformed()


def _integer(machine: _Machine) -> None:
    n = machine.number("B")
    if n > MAX_INTEGER_BYTES:
        raise Refused(f"the pickle holds an integer of {n} bytes", f"pickle 中有长达 {n} 字节的整数")
    machine.push(int.from_bytes(machine.take(n), "little", signed=True))


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _protocol,
    b"\x95": lambda m: m.number("Q"),  # FRAME: a hint for readers of streams
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.number("i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("H")),
    b"\x8a": _integer,  # LONG1
    b"G": lambda m: m.push(m.number(">d")),
    b"X": lambda m: m.push(m.text(m.number("I"))),
    b"\x8c": lambda m: m.push(m.text(m.number("B"))),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"q": lambda m: m.remember(m.number("B")),
    b"r": lambda m: m.remember(m.number("I")),
    b"\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("I")),
    b"s": _Machine.set_item,
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": _Machine.stack_name,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"Q": _Machine.storage,
}
