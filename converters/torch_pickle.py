"""The pickle opcodes that torch writes, as far as they describe data; there is no other pickle machine here.

Python's own is no base for a safe one: even with every global refused, 2 MB of nested tuples crash it, ten bytes make it
take 1.5 GiB, and BUILD changes whatever class it is let near. So this is a loop of its own over 42 opcodes (the meaning of
each: Lib/pickletools.py of CPython). It builds containers, numbers, text and what torch_values makes of torch's names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BufferedIOBase
from typing import Any

from vitjax.config import Error

from .stored import TENSOR_LIMIT
from .torch_names import Foreign, Symbol
from .torch_values import NODE_LIMIT, Ordered, View, build, call, kind

PICKLE_LIMIT = 2**28  # bytes of one pickle
TEXT_LIMIT = 2**24  # bytes of one string
LINE_LIMIT = 1000  # bytes of a global's module or name: its packages are looked up one by one
OPERATION_LIMIT = 5_000_000  # 50 make a tensor
STACK_LIMIT = 100_000  # values that wait to be put into something
MARK_LIMIT = 1000  # containers that are open at once
KEY_LIMIT = 1000  # tuples as keys: numbers that hash alike can be chosen, and 100,000 of them take an hour
KEYS = (str, int, float, bool, bytes, type(None))


def unpickle(
    file: BufferedIOBase, end: int, where: str, symbol: Callable[[str, str], Symbol], refer: Callable[[object], object]
) -> object:
    """The object that the pickle at this place of a file describes; `end` is where it must have ended.

    symbol: a module and a name to what they stand for; refer: a persistent id to its storage. Both raise ValueError.
    """
    start = file.tell()
    try:
        return Machine(file, min(end, start + PICKLE_LIMIT), symbol, refer).run()
    except ValueError as error:
        hint = "" if isinstance(error, Foreign) else ". torch.save writes no such file: download it again"
        raise Error(f"{where}, byte {file.tell() - start}: {error}{hint}") from error


class Machine:
    """A stack and a memo, while one pickle is read."""

    def __init__(self, file: BufferedIOBase, end: int, symbol: Callable[[str, str], Symbol], refer: Callable[[object], object]):
        self.file, self.end, self.symbol, self.refer = file, end, symbol, refer
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # what waits below each open mark
        self.memo: dict[int, Any] = {}
        self.spent = self.tensors = self.tuple_keys = 0

    def run(self) -> object:
        """The object that the pickle describes. The file then stands behind the pickle's last byte."""
        for _ in range(OPERATION_LIMIT):
            code = self.file.read(1)
            if code == b".":
                break
            if code not in OPCODES:
                raise ValueError(f"it has the opcode {REFUSED.get(code, code.hex())}" if code else "it ends without STOP")
            OPCODES[code](self)
            if len(self.stack) > STACK_LIMIT:
                raise ValueError(f"more than {STACK_LIMIT} values wait to be used: nested too deep")
        else:
            raise ValueError(f"more than {OPERATION_LIMIT} operations")
        if self.outer or len(self.stack) != 1:
            raise ValueError("it stops before it is complete")
        return self.stack[0]

    # What is in the file

    def take(self, size: int) -> bytes:
        if size > TEXT_LIMIT:
            raise ValueError(f"a string of {size} bytes, more than {TEXT_LIMIT}")
        if size > self.end - self.file.tell():
            raise ValueError(f"a string of {size} bytes, more than there are: it was cut short")
        return self.file.read(size)

    def number(self, layout: str) -> Any:
        data = self.file.read(struct.calcsize(layout))
        if len(data) < struct.calcsize(layout):
            raise ValueError("it is cut short")
        return struct.unpack(layout, data)[0]

    def counted(self, layout: str) -> bytes:
        return self.take(self.number(layout))

    def text(self, layout: str) -> str:
        return self.counted(layout).decode()

    def line(self) -> str:
        data = self.file.readline(LINE_LIMIT)
        if not data.endswith(b"\n"):
            raise ValueError("a name without an end")
        return data[:-1].decode()

    # What becomes of it

    def push(self, value: object) -> None:
        self.stack.append(value)

    def create(self, container: object) -> None:
        self.spend(1)
        self.stack.append(container)

    def spend(self, values: int) -> None:
        """Count what is made and what is put into it: plain() would refuse more, but only when it is all in memory."""
        self.spent += values
        if self.spent > NODE_LIMIT:
            raise ValueError(f"it describes more than {NODE_LIMIT} values")

    def mark(self) -> None:
        if len(self.outer) == MARK_LIMIT:
            raise ValueError(f"more than {MARK_LIMIT} containers are open at once")
        self.outer.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """The values since the last mark, taken off the stack."""
        if not self.outer:
            raise ValueError("a MARK is missing")
        values, self.stack = self.stack, self.outer.pop()
        return values

    def last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("a value is missing on the stack")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def top(self) -> Any:
        if not self.stack:
            raise ValueError("a value is missing on the stack")
        return self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            raise ValueError(f"it appends to {kind(target)}")
        self.spend(len(values))
        target.extend(values)

    def update(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) not in (dict, Ordered) or len(values) % 2:
            raise ValueError(f"it sets items of {kind(target)}" if len(values) % 2 == 0 else "a key without a value")
        self.spend(len(values))
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.check_key(key)
            if key in target:
                raise ValueError(f"the key {str(key)[:200]!r} is given twice")
            target[key] = value

    def check_key(self, key: object) -> None:
        """What hashes fast and safely: a nested tuple would be hashed recursively, and large numbers can be chosen to collide."""
        if type(key) is tuple:
            self.tuple_keys += 1
        parts = key if type(key) is tuple and len(key) <= 8 and self.tuple_keys <= KEY_LIMIT else (key,)
        for part in parts:
            if type(part) not in KEYS or (type(part) is int and not -(2**63) <= part < 2**63):
                raise ValueError(f"{kind(part)} as a key" + (" of more than 64 bits" if type(part) is int else ""))

    def old_text(self, layout: str) -> None:
        """A string of Python 2, which is text or bytes."""
        data = self.counted(layout)
        try:
            self.push(data.decode())
        except UnicodeDecodeError:
            self.push(data)

    def protocol(self) -> None:
        if not 2 <= (version := self.number("<B")) <= 5:
            raise ValueError(f"protocol {version}, not 2 to 5")

    def name(self) -> None:
        self.push(self.symbol(self.line(), self.line()))

    def stacked_name(self) -> None:
        module, name = self.last(2)
        if type(module) is not str or type(name) is not str or len(module + name) > LINE_LIMIT:
            raise ValueError(f"a name that is not text of up to {LINE_LIMIT} characters")
        self.push(self.symbol(module, name))

    def reduce(self) -> None:
        value = call(*self.last(2))
        self.tensors += type(value) is View
        if self.tensors > TENSOR_LIMIT:
            raise ValueError(f"more than {TENSOR_LIMIT} tensors")
        self.create(value)

    def attributes(self) -> None:
        (state,) = self.last(1)
        build(self.top(), state)

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()  # a dict: an index of 2**31 takes no more room than one of 0

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"the memo has no {index}")
        self.push(self.memo[index])


OPCODES: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": Machine.protocol,  # PROTO
    b"\x95": lambda m: m.number("<Q"),  # FRAME: how far one may read ahead, which we do not
    b"N": lambda m: m.push(None),  # NONE
    b"\x88": lambda m: m.push(True),  # NEWTRUE
    b"\x89": lambda m: m.push(False),  # NEWFALSE
    b"J": lambda m: m.push(m.number("<i")),  # BININT
    b"K": lambda m: m.push(m.number("<B")),  # BININT1
    b"M": lambda m: m.push(m.number("<H")),  # BININT2
    b"\x8a": lambda m: m.push(int.from_bytes(m.counted("<B"), "little", signed=True)),  # LONG1
    b"G": lambda m: m.push(m.number(">d")),  # BINFLOAT
    b"X": lambda m: m.push(m.text("<I")),  # BINUNICODE
    b"\x8c": lambda m: m.push(m.text("<B")),  # SHORT_BINUNICODE
    b"T": lambda m: m.old_text("<I"),  # BINSTRING
    b"U": lambda m: m.old_text("<B"),  # SHORT_BINSTRING
    b"B": lambda m: m.push(m.counted("<I")),  # BINBYTES
    b"C": lambda m: m.push(m.counted("<B")),  # SHORT_BINBYTES
    b"}": lambda m: m.create({}),  # EMPTY_DICT
    b"]": lambda m: m.create([]),  # EMPTY_LIST
    b")": lambda m: m.create(()),  # EMPTY_TUPLE
    b"\x8f": lambda m: m.create([]),  # EMPTY_SET: a list needs no hashes, and nobody asks
    b"(": Machine.mark,  # MARK
    b"t": lambda m: m.create(tuple(m.marked())),  # TUPLE
    b"\x85": lambda m: m.create(tuple(m.last(1))),  # TUPLE1
    b"\x86": lambda m: m.create(tuple(m.last(2))),  # TUPLE2
    b"\x87": lambda m: m.create(tuple(m.last(3))),  # TUPLE3
    b"a": lambda m: m.extend(m.last(1)),  # APPEND
    b"e": lambda m: m.extend(m.marked()),  # APPENDS
    b"\x90": lambda m: m.extend(m.marked()),  # ADDITEMS
    b"s": lambda m: m.update(m.last(2)),  # SETITEM
    b"u": lambda m: m.update(m.marked()),  # SETITEMS
    b"c": Machine.name,  # GLOBAL
    b"\x93": Machine.stacked_name,  # STACK_GLOBAL
    b"R": Machine.reduce,  # REDUCE
    b"\x81": Machine.reduce,  # NEWOBJ: a class is called as a function is
    b"b": Machine.attributes,  # BUILD
    b"Q": lambda m: m.push(m.refer(*m.last(1))),  # BINPERSID
    b"h": lambda m: m.recall(m.number("<B")),  # BINGET
    b"j": lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    b"q": lambda m: m.remember(m.number("<B")),  # BINPUT
    b"r": lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    b"\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
}
REFUSED = {
    b"i": "INST", b"o": "OBJ", b"\x92": "NEWOBJ_EX", b"\x82": "EXT1", b"\x83": "EXT2", b"\x84": "EXT4", b"P": "PERSID",
    b"0": "POP", b"1": "POP_MARK", b"2": "DUP", b"\x8b": "LONG4", b"\x8d": "BINUNICODE8", b"\x8e": "BINBYTES8",
    b"\x91": "FROZENSET", b"\x96": "BYTEARRAY8", b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER", b"I": "INT", b"L": "LONG",
    b"F": "FLOAT", b"S": "STRING", b"V": "UNICODE", b"l": "LIST", b"d": "DICT", b"g": "GET", b"p": "PUT",
}  # fmt: skip
