"""The zip container of torch >= 1.6, held to what torch writes, so that no two readers can see two things in one file.

torch 2.15 itself accepts members that are deflated (a bomb), have another name in front of their bytes than in the
directory, or fail their checksum. Everything here is found through the directory at the end, every entry of which must
agree with the header in front of its member; nothing is ever inflated, because torch stores tensors as they are.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

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
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF  # "the number is in the ZIP64 field"
FLAGS = 0x080E  # how it was deflated, sizes repeated behind the data, name in UTF-8; none of them hides anything
STORED, DEFLATED = 0, 8


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


class Archive:
    """Where the members of a torch zip file lie. Their bytes are not read."""

    def __init__(self, path: Path):
        self.path = path
        with path.open("rb") as file:
            self.records = dict(self._records(file))
        roots = [name.removesuffix("/data.pkl") for name in self.records if re.fullmatch("[^/]+/data.pkl", name)]
        if len(roots) != 1:
            some = ", ".join(roots or list(self.records)[:3]) or "nothing"
            self._refuse(f"holds {len(roots)} saved objects (X/data.pkl), not one, among {some}: torch.save did not write it")
        self.root = roots[0]
        if strays := [name for name in self.records if not name.startswith(f"{self.root}/")]:
            self._refuse(f"holds {strays[0]!r} beside {self.root}/: two archives in one")

    @property
    def script(self) -> bool:
        """Whether this is a TorchScript archive, by torch's own sign."""
        return f"{self.root}/constants.pkl" in self.records

    def find(self, name: str) -> Record | None:
        """A stored member of the saved object, by its name under the root."""
        record = self.records.get(name := f"{self.root}/{name}")
        if record is None and name in self.records:
            self._refuse(f"{name!r} is deflated: torch.save writes its bytes as they are")
        return record

    def _records(self, file: IO[bytes]) -> Iterator[tuple[str, Record | None]]:
        """Each member's bytes (none of one that is deflated: TorchScript's code), in the file's order; none overlaps another."""
        directory = self._directory(file)
        names, end = set(), 0
        for entry in sorted(self._entries(file, directory), key=lambda entry: entry.header):
            if entry.name in names:
                self._refuse(f"holds {entry.name!r} twice: readers disagree which of them counts")
            if not names and entry.header:
                self._refuse("does not begin with its first member")
            names.add(entry.name)
            apart = end <= entry.header < directory.offset
            start = self._data(file, entry) if apart else directory.offset
            end = start + entry.packed
            if not apart or end > directory.offset:
                self._refuse(f"{entry.name!r} overlaps another member, or the directory")
            if entry.method == STORED and entry.packed != entry.size:
                self._refuse(f"{entry.name!r} is stored, yet of two sizes")
            yield entry.name, Record(entry.name, start, entry.size, entry.crc) if entry.method == STORED else None

    def _directory(self, file: IO[bytes]) -> Span:
        """The directory by the last bytes of the file: nothing may be behind them, nor between them and the directory."""
        end = file.seek(0, io.SEEK_END) - END.size
        found = END.unpack(self._at(file, end, END))
        if found[0] != b"PK\5\6" or found[7]:
            self._refuse("does not end as a zip file does: it was cut short or something was appended. Download it again")
        span = Span(offset=found[6], size=found[5], members=found[4])
        if end >= LOCATOR.size and (locator := LOCATOR.unpack(self._at(file, end - LOCATOR.size, LOCATOR)))[0] == b"PK\6\7":
            end -= LOCATOR.size + END64.size
            wide = END64.unpack(self._at(file, end, END64))
            if wide[0] != b"PK\6\6" or locator[2] != end:
                self._refuse("lies about where its ZIP64 directory ends")
            narrow, span = span, Span(offset=wide[9], size=wide[8], members=wide[7])
            for small, large, full in zip(narrow, span, (FULL32, FULL32, FULL16), strict=True):
                if small not in (large, full):
                    self._refuse("has two directories that contradict each other")
        if span.offset + span.size != end:
            self._refuse("lies about where its directory is")
        if span.members > MEMBER_LIMIT:
            self._refuse(f"claims {span.members} members, more than {MEMBER_LIMIT}")
        return span

    def _entries(self, file: IO[bytes], span: Span) -> Iterator[Entry]:
        file.seek(span.offset)
        for _ in range(span.members):
            if file.tell() + ENTRY.size > span.offset + span.size:
                self._refuse("has a directory shorter than it claims")
            line = ENTRY.unpack(file.read(ENTRY.size))
            raw, extra, comment = file.read(line[10]), file.read(line[11]), line[12]
            if line[0] != b"PK\1\2" or comment:
                self._refuse(f"has a damaged directory at byte {file.tell()}")
            packed, size, header = self._wide(extra, line[8], line[9], line[16])
            entry = Entry(self._name(raw), line[4], line[7], packed, size, header)
            if line[3] & ~FLAGS or entry.method not in (STORED, DEFLATED):
                self._refuse(f"{entry.name!r} is encrypted, or packed in a way that torch does not use")
            yield entry
        if file.tell() != span.offset + span.size:
            self._refuse("has a directory longer than its members need")

    def _wide(self, extra: bytes, packed: int, size: int, header: int) -> tuple[int, int, int]:
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
            self._refuse("has a member of more than 4 GiB without its size")
        return packed, size, header

    def _name(self, raw: bytes) -> str:
        name = raw.decode("utf-8", "backslashreplace")
        climbs = not {"", ".", ".."}.isdisjoint(name.removesuffix("/").split("/")) or re.match("[A-Za-z]:", name)
        if climbs or "\\" in name or len(raw) > NAME_LIMIT or not name.isprintable():
            self._refuse(f"holds a member of the name {name[:80]!r}, which torch does not write")
        return name

    def _data(self, file: IO[bytes], entry: Entry) -> int:
        """Where a member's bytes begin: torch pads the local header, of which the directory knows nothing."""
        local = LOCAL.unpack(self._at(file, entry.header, LOCAL))
        raw = file.read(local[9])
        if (local[0], local[3], raw) != (b"PK\3\4", entry.method, entry.name.encode()) or local[2] & ~FLAGS:
            self._refuse(f"{entry.name!r} is described in two ways, in the directory and in front of its bytes")
        return entry.header + LOCAL.size + local[9] + local[10]

    def _at(self, file: IO[bytes], offset: int, layout: struct.Struct) -> bytes:
        if offset >= 0:
            file.seek(offset)
            data = file.read(layout.size)
            if len(data) == layout.size:
                return data
        self._refuse("is cut short: download it again")

    def _refuse(self, reason: str) -> NoReturn:
        raise Error(f"{self.path} {reason}" if reason[0].isalpha() else f"{self.path}: {reason}")
