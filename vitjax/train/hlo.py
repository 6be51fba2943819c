"""What a program that XLA compiled for a TPU does in one run, added up from its text: loops as often as they turn."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

BITS = {"pred": 8, "bf16": 16}  # of a type; of others the number in its name
COLLECTIVE = re.compile(r" (all-gather|all-reduce|all-reduce-scatter|reduce-scatter|all-to-all|collective-permute)(-start)?\(")
WHILE = re.compile(r" while\(%([\w.-]+)\), condition=%([\w.-]+), body=%([\w.-]+)")
KERNEL = re.compile(r' custom-call\(.*custom_call_target="(tpu_custom_call|Mosaic[^"]*)"')  # Pallas'; XLA's own calls are free
CALLED = re.compile(r" call\(.*to_apply=%([\w.-]+)")
BRANCHES = re.compile(r" conditional\(.*(?:branch_computations=\{(.*?)\}|true_computation=(\S+), false_computation=(\S+))")


@dataclass
class Work:
    """Of one chip. `cycles` are the compiler's estimate of everything but collectives, which it does not estimate."""

    cycles: int = 0
    count: Counter[str] = field(default_factory=Counter)  # of collectives, by kind
    sent: Counter[str] = field(default_factory=Counter)  # bytes that leave a chip in them
    spent: Counter[str] = field(default_factory=Counter)  # the cycles, by "kind name": see `_what`
    uncounted: Counter[str] = field(default_factory=Counter)  # kernels that are not XLA's, of which nobody estimates anything

    def add(self, other: Work, times: int = 1) -> None:
        self.cycles += times * other.cycles
        for name in ("count", "sent", "spent", "uncounted"):
            mine, others = getattr(self, name), getattr(other, name)
            mine.update({kind: times * value for kind, value in others.items()})


def work(text: str) -> Work:
    """What a run of the program does, from `compiled.as_text()`."""
    parts = _computations(text)
    instructions = {
        match[1]: line for lines in parts.values() for line in lines if (match := re.match(r" *(?:ROOT )?%([\w.-]+) = ", line))
    }

    @cache
    def of(name: str) -> Work:
        total, seen = Work(), set()
        for line in parts[name]:
            if cycles := re.search(r'"estimated_cycles":"(\d+)"', line):
                total.cycles += int(cycles[1])
                total.spent[_what(parts, line)] += int(cycles[1])
            if kernel := KERNEL.search(line):
                total.uncounted[kernel[1]] += 1
            for inner in _within(parts, line):
                # A collective that goes on beside several products is in each of them, under one number.
                channel = re.search(r"channel_id=(\d+)", inner)
                if (found := COLLECTIVE.search(inner)) and not (channel and channel[1] in seen):
                    seen.add(channel and channel[1])
                    total.count[found[1]] += 1
                    total.sent[found[1]] += _sent(found[1], inner)
            if loop := WHILE.search(line):
                total.add(of(loop[3]), _turns(parts, instructions, *loop.groups()))
            if called := CALLED.search(line):
                total.add(of(called[1]))
            if branches := BRANCHES.search(line):
                names = re.findall(r"%([\w.-]+)", " ".join(filter(None, branches.groups())))
                total.add(max(map(of, names), key=lambda branch: branch.cycles))
        return total

    return of("ENTRY")


def _computations(text: str) -> dict[str, list[str]]:
    """name -> lines of every computation; the one that is run is called ENTRY."""
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{\s*$", line):
            lines = parts["ENTRY" if head[1] else head[2]] = []
        elif line.startswith(" "):
            lines.append(line)
    return parts


def _what(parts: dict[str, list[str]], line: str) -> str:
    """`product`, or the instruction's kind, and the name that JAX gave it: of a fusion around a product, that product's."""
    for inner in _within(parts, line):
        if re.search(r" (convolution|dot)\(", inner) and (name := re.search(r'op_name="([^"]*)"', inner)):
            return f"product {name[1]}"
    kind, name = re.search(r"[})\]] ([a-z][\w-]*)\(", line), re.search(r'op_name="([^"]*)"', line)
    return f"{kind[1] if kind else '?'} {name[1] if name else ''}"


def _within(parts: dict[str, list[str]], line: str) -> Iterable[str]:
    """An instruction, and those that are fused in it, or run beside it."""
    yield line
    for name in re.findall(r"calls=%([\w.-]+)", line):
        for inner in parts.get(name, ()):
            if name.startswith("all-reduce-scatter"):  # as one, of which each chip keeps a part: half of the way
                inner = inner.replace(" all-reduce(", " all-reduce-scatter(")
            yield from _within(parts, inner)


def _turns(parts: dict[str, list[str]], instructions: dict[str, str], start: str, condition: str, body: str) -> int:
    """How often a loop turns that counts an element of its tuple up to a constant, as that of a scan does; of others, once."""

    def constant(name: str) -> int:
        while copied := re.search(r" (?:copy|bitcast)\(%([\w.-]+)\)", instructions[name]):
            name = copied[1]
        return int(re.findall(r" constant\((\d+)\)", instructions[name])[0])

    def operands(line: str, operation: str) -> list[str]:
        return re.findall(r"%([\w.-]+)", line.split(f" {operation}(")[1].split(")")[0])

    root, ending = (next(line for line in parts[name] if " ROOT " in line) for name in (condition, body))
    try:
        counter, limit = operands(root, "compare")
        index = int(re.findall(r"index=(\d+)", instructions[counter])[0])
        step = constant(operands(instructions[operands(ending, "tuple")[index]], "add")[1])
        first = constant(operands(instructions[start], "tuple")[index])
        return math.ceil((constant(limit) - first) / step)
    except IndexError:
        return 1


def _sent(kind: str, line: str) -> int:
    """The bytes that one chip sends in a collective, in a ring as they are in the simplest case."""
    result = line.split(" = ", 1)[1].split(f" {kind}", 1)[0]
    sizes = [_bytes(*shape) for shape in re.findall(r"(\w+)\[([\d,]*)\]", result)]
    if f"{kind}-start(" in line and kind != "all-reduce":  # (operand, result, semaphores)
        sizes = sizes[1:2]
    total, devices = sum(sizes), _devices(line)
    share = {
        "all-gather": (devices - 1) / devices,
        "all-reduce": 2 * (devices - 1) / devices,
        "all-reduce-scatter": (devices - 1) / devices,
        "reduce-scatter": devices - 1,
        "all-to-all": (devices - 1) / devices,
        "collective-permute": 1,
    }
    return round(total * share[kind])


def _bytes(kind: str, shape: str) -> int:
    bits = BITS.get(kind) or int(re.sub(r"\D.*", "", kind.lstrip("fsuc")) or 0)
    return math.prod(map(int, filter(None, shape.split(",")))) * bits // 8


def _devices(line: str) -> int:
    """How many devices a collective is among: of {{0,1},{2,3}}, [2,2]<=[4] and mesh['data'=2,'tensor'=2] {'data'}: 2."""
    if not (groups := re.search(r"replica_groups=(\S+( \{[^}]*\})?)", line)):
        return 1
    if axes := re.match(r"mesh\[(.*?)\] \{(.*?)\}", groups[1]):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes[1]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", axes[2]))
    if listed := re.match(r"\[(\d+),(\d+)\]", groups[1]):
        return int(listed[2])
    return groups[1].split("}")[0].count(",") + 1
