"""A text becomes a network's ids: those of the library that published it, whatever the text.

Hugging Face's `tokenizers` merges the pieces; what is done to a text before that is where the libraries differ:

- openai: open_clip 3.3.0, `SimpleTokenizer` in tokenizer.py, which is OpenAI's clip/simple_tokenizer.py
- huggingface: transformers 5.23.0, `CLIPTokenizer` in models/clip/tokenization_clip.py
- canonical: transformers, `SiglipTokenizer` in models/siglip/tokenization_siglip.py
- lower: transformers, `Siglip2Tokenizer` in models/siglip2/tokenization_siglip2.py
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import html
import io
import itertools
import json
import os
import re
import stat
import string
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import Error, Tokenize, check_types

if TYPE_CHECKING:  # the libraries of texts are imported where one is read: networks that take pictures do not wait for them
    import tokenizers

Ids = np.ndarray[Any, np.dtype[np.int32]]

START, END = "<|startoftext|>", "<|endoftext|>"  # CLIP's; open_clip alone spells them <start_of_text>, <end_of_text>
WORD_END = "</w>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # of CLIP; special tokens come first
MERGES = 49152 - 256 - 2  # how many lines OpenAI reads of its file, which holds five times as many
MAX_BYTES = 64 * 2**20  # of a file, packed and unpacked; Gemma's, the largest known, has 35 MB
FILES = ("tokenizer.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt")
NEXT = "give the tokenizer.json that was published with the network; for CLIP, its merges.txt or OpenAI's file will do, too"

# A character for every byte, in the order of CLIP's ids: the printable ones as they are, then the rest from U+0100 on.
_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTES = {byte: chr(byte) for byte in _PRINTABLE}
BYTES |= {byte: chr(256 + n) for n, byte in enumerate(sorted({*range(256)} - {*_PRINTABLE}))}

_NO_PUNCTUATION = str.maketrans("▁", " ", string.punctuation)
_UNDERSCORES = str.maketrans("_", " ", string.punctuation.replace("_", ""))


@dataclass(frozen=True)
class Tokenizer:
    """Texts to ids, by a vocabulary and a convention. Half a character (a lone surrogate) counts as U+FFFD."""

    json: str = field(repr=False)  # the text of a tokenizer.json
    how: Tokenize
    context: int  # ids for a text; a longer one is cut off
    vocab: int  # ids that the network knows

    def __post_init__(self) -> None:
        check_types(self)
        if self._room < 1:
            raise Error(f"a context of {self.context} has no room for a text; give a longer one")

    def __call__(self, texts: str | Sequence[str]) -> Ids:
        """A text or a list of them as the (B, context) int32 that a network takes."""
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
            raise Error(f"texts must be a string or a list of strings, not {type(texts).__name__}")
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise Error(f"a text is a string, not {type(wrong[0]).__name__}; give a list of strings")
        if not texts:
            raise Error("there are no texts to tokenize; give at least one")
        out = np.full((len(texts), self.context), self.how.pad, np.int32)
        first = [] if self.how.start is None else [self.how.start]
        for row, ids in zip(out, self._words(texts) if self.how.clean == "openai" else self._pieces(texts), strict=True):
            row[: len(ids) + len(first) + 1] = [*first, *ids[: self._room], self.how.end]
        return out

    @property
    def _room(self) -> int:
        """How many ids are left for the text itself."""
        return self.context - 1 - (self.how.start is not None)

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Every text's ids by the vocabulary's own rules, of which `_rust` is made."""
        clean = {"canonical": _canonical, "repaired": _repaired, "whitespace": _mended}.get(self.how.clean, _whole)
        tokenizer, cleaned = self._rust, [clean(text) for text in texts]
        with _blame("the vocabulary cannot spell a text"):  # it has no id for a word, and none for the unknown
            return [encoding.ids for encoding in tokenizer.encode_batch_fast(cleaned, add_special_tokens=False)]

    def _words(self, texts: Sequence[str]) -> list[list[int]]:
        """Every text's ids as OpenAI makes them, each different word merged once.

        The words are found by the `regex` library, as OpenAI does. Those that `tokenizers` finds are others: it lacks 17,144
        of the newer letters, does not take 'ſ for 's, and looks for special tokens first, within words, too.
        """
        import regex

        model = self._rust.model
        special = {str(self._rust.id_to_token(id)): [id] for id in (self.how.start, self.how.end) if id is not None}
        pattern = regex.compile("|".join([*map(re.escape, special), WORDS]), regex.IGNORECASE)
        lines = [pattern.findall(_mended(text).lower()) for text in texts]
        ids = {
            word: [token.id for token in model.tokenize(word.encode().decode("latin-1").translate(BYTES))]
            for word in {*itertools.chain.from_iterable(lines)} - special.keys()
        } | special
        return [[id for word in line for id in ids[word]] for line in lines]

    @functools.cached_property
    def _rust(self) -> tokenizers.Tokenizer:
        """The tokenizer of `tokenizers`, checked against the network, and with the rules of `how`."""
        from tokenizers import normalizers

        tokenizer = _parse(self.json, "the vocabulary")
        known = tokenizer.get_added_tokens_decoder()
        if (largest := max(tokenizer.get_vocab().values(), default=-1)) >= self.vocab:
            raise Error(f"the vocabulary has ids up to {largest}, the network's end at {self.vocab - 1}; {NEXT}")
        for name, id in ("start", self.how.start), ("end", self.how.end), ("pad", self.how.pad):
            if id is None:
                continue
            if (token := tokenizer.id_to_token(id)) is None:
                raise Error(f"the vocabulary has ids up to {largest}, and none is {id}, the network's {name}; {NEXT}")
            if name != "pad" and not (id in known and known[id].special):
                raise Error(f"the network's {name} is id {id}, which is the word {token!r} of the vocabulary; {NEXT}")
        match self.how.clean:
            case "openai":
                _check_clip(tokenizer)
            case "huggingface":
                _check_clip(tokenizer)
                _as_transformers(tokenizer)
                tokenizer.add_special_tokens([str(tokenizer.id_to_token(self.how.pad))])  # as CLIPTokenizer does, even to "!"
            case "lower":
                own = [tokenizer.normalizer] if tokenizer.normalizer else []
                tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def vocabulary(path: str | os.PathLike[str]) -> str:
    """The text of a tokenizer.json, from a file that a publisher gives its vocabulary in, or a folder with one.

    These are read: a tokenizer.json, as it is; OpenAI's bpe_simple_vocab_16e6.txt, packed or not; Hugging Face's merges.txt,
    with the ids of the vocab.json beside it, or without one as OpenAI numbers them. What a file is, its first bytes tell.
    """
    path = Path(path)
    if path.is_dir():
        held = [path / name for name in (*FILES, "spiece.model", "tokenizer.model") if (path / name).exists()]
        if not held:
            raise Error(f"{path} holds no vocabulary, none of {', '.join(FILES)}; {NEXT}")
        path = held[0]
    data = _read(path)
    if data[:1] == data[2:3] == b"\n":  # protobuf: a message of less than 128 bytes, that begins with a string
        raise Error(f"{path} is a sentencepiece model, which is not read; {NEXT}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Error(f"{path} is no vocabulary: it begins with {data[:16]!r}; {NEXT}") from error
    if not text.lstrip().startswith("{"):
        return _from_merges(text, path)
    _parse(text, str(path))
    return text


def _read(path: Path) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # before opening: a FIFO would block, a device may have no end
            raise Error(f"{path} is not a file; {NEXT}")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if data[:2] == b"\x1f\x8b" and len(data) <= MAX_BYTES:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # ValueError: a NUL in the path
        raise Error(f"cannot read a vocabulary from {path}: {error}; check the path, or fetch it again") from error
    if len(data) > MAX_BYTES:
        raise Error(f"{path} has more than {MAX_BYTES} bytes, which no vocabulary has; {NEXT}")
    return data


def _from_merges(text: str, path: Path) -> str:
    """The text of CLIP's tokenizer.json, as transformers makes it of a file with two words to be merged on each line."""
    import tokenizers

    version, *lines = text.rstrip().split("\n")
    if "#version" not in version or not lines:
        raise Error(f"{path} is no vocabulary: it begins with {text[:16]!r}, not with '#version' and merges; {NEXT}")
    beside = path.with_name("vocab.json")
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(lines if beside.exists() else lines[:MERGES], 2):
        if len(words := line.split()) != 2:
            raise Error(f"{path}, line {number} is not two words to be merged; {NEXT}")
        merges.append((words[0], words[1]))
    if not any(second.endswith(WORD_END) for _, second in merges):
        raise Error(f"{path} is not CLIP's: no word of it ends with {WORD_END}; {NEXT}")
    vocab = _from_json(beside) if beside.exists() else _numbered(merges, path)
    with _blame(f"{path} does not fit together"):  # a merge of words without an id
        model = tokenizers.models.BPE(vocab, merges, unk_token=END, continuing_subword_prefix="", end_of_word_suffix=WORD_END)
    tokenizer = tokenizers.Tokenizer(model)
    _as_transformers(tokenizer)
    tokenizer.add_special_tokens([START, END])
    return tokenizer.to_str()


def _numbered(merges: list[tuple[str, str]], path: Path) -> dict[str, int]:
    """The ids that OpenAI gives: bytes, bytes that end a word, merges, start and end."""
    words = [*BYTES.values(), *(byte + WORD_END for byte in BYTES.values()), *map("".join, merges), START, END]
    vocab = {word: id for id, word in enumerate(words)}
    if len(vocab) != len(words):
        raise Error(f"{path} makes a word twice; {NEXT}")
    return vocab


def _from_json(path: Path) -> dict[str, int]:
    """The ids of a vocab.json."""
    try:
        vocab = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise Error(f"{path} is not JSON: {error}; {NEXT}") from error
    if (
        not (isinstance(vocab, dict) and {START, END} <= vocab.keys())
        or {*map(type, vocab.values())} != {int}
        or len({*vocab.values()}) < len(vocab)
    ):
        raise Error(f"{path} is no vocabulary of CLIP: one id for each word, {START} and {END} among them; {NEXT}")
    return vocab


def _parse(text: str, where: str) -> tokenizers.Tokenizer:
    """The tokenizer that a tokenizer.json describes."""
    import tokenizers

    with _blame(f"{where} is no tokenizer.json that tokenizers {tokenizers.__version__} reads"):
        return tokenizers.Tokenizer.from_str(text)


@contextlib.contextmanager
def _blame(what: str) -> Iterator[None]:
    """Whatever `tokenizers` raises is an Error of one line; a panic of its Rust code is no Exception, but has a name."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Error) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise Error(f"{what}: {' '.join(str(error).split())[:200]}; {NEXT}") from error


def _as_transformers(tokenizer: tokenizers.Tokenizer) -> None:
    """Give a tokenizer the rules of transformers' CLIPTokenizer, which uses no others, whatever a file says."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    words = Regex("|".join([re.escape(START), re.escape(END), WORDS]))
    split = pre_tokenizers.Split(words, behavior="removed", invert=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def _check_clip(tokenizer: tokenizers.Tokenizer) -> None:
    """Raise Error for a vocabulary whose words do not end as CLIP's do."""
    from tokenizers.models import BPE

    model = tokenizer.model
    if not isinstance(model, BPE) or model.end_of_word_suffix != WORD_END:
        raise Error(f"the vocabulary is of another kind ({type(model).__name__}) than CLIP's; {NEXT}")


def _mended(text: str) -> str:
    """A text as OpenAI and open_clip begin to clean it: mojibake repaired, HTML entities read twice, white space single."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # ftfy leaves these as they are, three times slower
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split())


def _canonical(text: str) -> str:
    """A text as SigLIP was taught with: lower case, no ASCII punctuation (so no special token either), single spaces."""
    return " ".join(_whole(text).lower().translate(_NO_PUNCTUATION).split())


def _repaired(text: str) -> str:
    """A text as open_clip gives it to SigLIP (open_clip/tokenizer.py, canonicalize_text): mended, `_` a space, then the same."""
    return " ".join(_mended(text).translate(_UNDERSCORES).lower().split())


def _whole(text: str) -> str:
    """A text that can be encoded: surrogate pairs joined, lone ones U+FFFD, as ftfy does."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
