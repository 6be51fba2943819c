"""The directory of a zip file, held to what torch and numpy write, so that no two readers can see two things in one file.

torch 2.13 and numpy take members that have another name in front of their bytes than in the directory, or the last of two of
one name; zipfile takes a program in front of it all. Here everything is found through the directory at the end, every entry
of which must agree with the header in front of its member, and what is no member's is nobody's: such a file is refused.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from vitjax.config import Error

from .stored import NAME_LIMIT, Record

MEMBER_LIMIT = 250_000  # a record for each tensor, and TorchScript's code: far above the largest

# The layouts are those of PKWARE's APPNOTE.TXT, 4.3.7 to 4.3.16 and 4.5.3.
LOCAL = struct.Struct("<4s 5H 3I 2H")
ENTRY = struct.Struct("<4s 6H 3I 5H 2I")
END = struct.Struct("<4s 4H 2I H")
END64 = struct.Struct("<4s Q 2H 2I 4Q")
LOCATOR = struct.Struct("<4s I Q I")
EXTRA = struct.Struct("<2H")
DESCRIPTOR = 24  # bytes: sizes and checksum again, behind members that were written to a stream
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF  # "the number is in the ZIP64 field"
FLAGS = 0x080E  # how it was deflated, sizes repeated behind the data, name in UTF-8; none of them hides anything
STORED, DEFLATED = 0, 8


class Member(NamedTuple):
    """Where one file of the archive lies."""

    record: Record  # its bytes as they lie there, and the checksum of what they are when inflated
    size: int  # then
    deflated: bool


class Entry(NamedTuple):
    """One line of the directory."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    header: int  # where its local header begins


class Span(NamedTuple):
    """The directory: where it lies, and how many lines it has."""

    offset: int
    size: int
    members: int


def members(path: Path) -> dict[str, Member]:
    """The members of a zip file by their names, in the file's order; none overlaps another. Their bytes are not read."""
    try:
        with path.open("rb") as file:
            return _members(file)
    except ValueError as error:
        raise Error(f"{path} {error}. Get it again from its publisher") from error


def _members(file: IO[bytes]) -> dict[str, Member]:
    directory = _directory(file)
    found, end = dict[str, Member](), 0
    for entry in sorted(_entries(file, directory), key=lambda entry: entry.header):
        if entry.name in found:
            raise ValueError(f"holds {entry.name!r} twice: readers disagree which of them counts")
        apart = end <= entry.header < directory.offset
        start = _data(file, entry) if apart else directory.offset
        if not apart or start + entry.packed > directory.offset:
            raise ValueError(f"holds {entry.name!r}, which overlaps another member, or the directory")
        if entry.header > end + DESCRIPTOR * bool(found):
            raise ValueError(f"holds other bytes in front of {entry.name!r}, which are no member's")
        if entry.method == STORED and entry.packed != entry.size:
            raise ValueError(f"holds {entry.name!r}, which is stored, yet of two sizes")
        record = Record(entry.name, start, entry.packed, entry.crc)
        found[entry.name] = Member(record, entry.size, entry.method == DEFLATED)
        end = start + entry.packed
    if directory.offset > end + DESCRIPTOR * bool(found):
        raise ValueError("holds other bytes in front of its directory, which are no member's")
    return found


def _directory(file: IO[bytes]) -> Span:
    """The directory by the last bytes of the file: nothing may be behind them, nor between them and the directory."""
    end = file.seek(0, io.SEEK_END) - END.size
    found = END.unpack(_at(file, end, END))
    if found[0] != b"PK\5\6" or found[7]:
        raise ValueError("does not end as a zip file does: it was cut short or something was appended")
    span = Span(offset=found[6], size=found[5], members=found[4])
    if end >= LOCATOR.size and (locator := LOCATOR.unpack(_at(file, end - LOCATOR.size, LOCATOR)))[0] == b"PK\6\7":
        end -= LOCATOR.size + END64.size
        wide = END64.unpack(_at(file, end, END64))
        if wide[0] != b"PK\6\6" or locator[2] != end:
            raise ValueError("lies about where its ZIP64 directory ends")
        narrow, span = span, Span(offset=wide[9], size=wide[8], members=wide[7])
        for small, large, full in zip(narrow, span, (FULL32, FULL32, FULL16), strict=True):
            if small not in (large, full):
                raise ValueError("has two directories that contradict each other")
    if span.offset + span.size != end:
        raise ValueError("lies about where its directory is: something was put in front of it or cut out")
    if span.members > MEMBER_LIMIT:
        raise ValueError(f"claims {span.members} members, more than {MEMBER_LIMIT}")
    return span


def _entries(file: IO[bytes], span: Span) -> Iterator[Entry]:
    file.seek(span.offset)
    for _ in range(span.members):
        if file.tell() + ENTRY.size > span.offset + span.size:
            raise ValueError("has a directory shorter than it claims")
        line = ENTRY.unpack(file.read(ENTRY.size))
        raw, extra, comment = file.read(line[10]), file.read(line[11]), line[12]
        if line[0] != b"PK\1\2" or comment:
            raise ValueError(f"has a damaged directory at byte {file.tell()}")
        packed, size, header = _wide(extra, line[8], line[9], line[16])
        entry = Entry(_name(raw), line[4], line[7], packed, size, header)
        if line[3] & ~FLAGS or entry.method not in (STORED, DEFLATED):
            raise ValueError(f"holds {entry.name!r}, which is encrypted, or packed in a way that torch does not use, nor numpy")
        yield entry
    if file.tell() != span.offset + span.size:
        raise ValueError("has a directory longer than its members need")


def _wide(extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int]:
    """The three numbers of an entry, those that need 64 bits out of its ZIP64 field: only they are in it, in this order."""
    at, wide = 0, b""
    while at + EXTRA.size <= len(extra):
        kind, length = EXTRA.unpack_from(extra, at)
        at += EXTRA.size + length
        if kind == 1:
            wide = extra[at - length : at]
    numbers = iter(struct.unpack(f"<{len(wide) // 8}Q", wide[: len(wide) // 8 * 8]))
    size, packed, header = (next(numbers, -1) if number == FULL32 else number for number in (size, packed, header))
    if min(size, packed, header) < 0:
        raise ValueError("has a member of more than 4 GiB without its size")
    return packed, size, header


def _name(raw: bytes) -> str:
    name = raw.decode("utf-8", "backslashreplace")
    climbs = not {"", ".", ".."}.isdisjoint(name.removesuffix("/").split("/")) or re.match("[A-Za-z]:", name)
    if climbs or "\\" in name or len(raw) > NAME_LIMIT or not name.isprintable():
        raise ValueError(f"holds a member of the name {name[:80]!r}, which torch does not write, nor numpy")
    return name


def _data(file: IO[bytes], entry: Entry) -> int:
    """Where a member's bytes begin: torch pads the local header, of which the directory knows nothing."""
    local = LOCAL.unpack(_at(file, entry.header, LOCAL))
    raw = file.read(local[9])
    if (local[0], local[3], raw) != (b"PK\3\4", entry.method, entry.name.encode()) or local[2] & ~FLAGS:
        raise ValueError(f"holds {entry.name!r}, which is described in two ways, in the directory and in front of its bytes")
    return entry.header + LOCAL.size + local[9] + local[10]


def _at(file: IO[bytes], offset: int, layout: struct.Struct) -> bytes:
    if offset >= 0:
        file.seek(offset)
        data = file.read(layout.size)
        if len(data) == layout.size:
            return data
    raise ValueError("is cut short")
