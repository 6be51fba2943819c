"""Texts: the ids of hand-made vocabularies, every file that a vocabulary comes in, and a refusal for everything else."""

import gzip
import json
import os
import random
from dataclasses import replace
from typing import Any

import ftfy
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from vitjax.config import Error, Tokenize
from vitjax.tokenizer import BYTES, END, FILES, MAX_BYTES, START, Tokenizer, vocabulary

pytestmark = pytest.mark.filterwarnings("error")

# fmt: off
ATOMS = [  # of the strings that are compared with the reference libraries
    *("a photo of a cat", "Two  DOGS", "it's", "they'LL", "I'd've", "'s", "'", "''", "don’t", "'ſ", "'ſo", "ſtraße"),
    *("<|startoftext|>", "<|endoftext|>", "<|StartOfText|>", "<|ENDOFTEXT|>", "<|ſtartoftext|>", "!<|endoftext|>"),
    *("<start_of_text>", "<END_OF_TEXT>", "</w>", "▁", "_", "snake_case", "!", "?!...", "-", "#tag @you", "C++", "\\"),
    *("<|", '"quoted"', "1st", "“curly”", "3.14159", "&amp;", "&amp;amp;", "&amp;amp;amp;lt;", "&lt;b&gt;", "&#x27;s"),
    *("&#39", "&nbsp;", "&#0;", "&#xD800;", "&#x110000;", "&bogus;", "&", "\t", "\n", "\r\n", "\v", "\f", "\x1c", "\x1d"),
    *("\x1e", "\x1f", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff"),
    *("\0", "\x01", "\x07", "\x1b[31mred", "<|endoftext|", "\x7f", "\x80", "\x9f", "\xad", "\u061c", "\u200d", "\u2060"),
    *("café", "cafe\u0301", "A\u030a", "q\u0307\u0323", "\u0301", "ﬁn", "ﬀ", "ŉ", "ǅ", "İstanbul", "ıI", "ΣΑΣ"),
    *("ὈΔΥΣΣΕΎΣ", "ẞ", "\u212a", "\u212b", "Ｆｕｌｌ　ｗｉｄｔｈ", "ｶﾞ", "①②", "½", "x²", "Ⅻ", "٣٤", "१२", "𝟙𝟚", "𝐁old"),
    *("文字", "こんにちは", "한국어", "\u1112\u1161\u11ab", "ไทย", "हिन्दी", "русский", "Ελληνικά", "עִבְרִית", "العربية"),
    *("தமிழ்", "አማርኛ", "ქართული", "ᲥᲐᲠᲗᲣᲚᲘ", "Ꭰꭰ", "𐐀𐐨", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "👍🏽", "🇩🇪"),
    *("❤\ufe0f", "\U0001f600", "\ud83d", "\udc00", "𞤀", "𠀀", "\U00031350", "\U000323af", "\u088f", "\ud83d\ude00"),
    *("\U000e0001", "\U0010ffff", "\ufffe", "\ufffd", "\ue000", "â€œ", "Ã©", "âœ” No problems", "schÃ¶n", "Ã\xa0 la"),
    *("ðŸ˜€", "&macr;\\_(ã\x83\x84)_/&macr;", "l’humanitÃ©", "рџЂ"),
]
# fmt: on


def strings() -> list[str]:
    """Texts of all sorts, the same at every call."""
    rng = random.Random(0)
    out = [
        "",
        " ",
        "a" * 10_000,
        "a cat, " * 1500,
        "é" * 10_000,
        "\n" * 10_000,
        "!" * 10_000,
        "ſ' " * 3000,
        "<|endoftext|>" * 100,
    ]
    out += ATOMS
    for _ in range(1500):
        out.append(rng.choice(["", " ", "  "]).join(rng.choices(ATOMS, k=rng.randint(2, 12))))
    for _ in range(1500):
        first, last = rng.choice(
            [(0, 0x7F), (0, 0xFF), (0, 0x24F), (0x300, 0x2FFF), (0, 0xFFFF), (0x10000, 0x3FFFF), (0, 0x10FFFF)]
        )
        out.append("".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 40))))
    for text in rng.sample(out, 500):  # mojibake
        right, wrong = text.encode("utf-8", "replace"), rng.choice(["latin-1", "cp1252", "cp1251", "macroman"])
        out.append(right[:300].decode(wrong, "replace"))
    return out


MERGES = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g</w>"), ("'", "s</w>"), ("!", "!</w>"), ("Ã", "©</w>"), ("a", "n")]
LINES = "\n".join(["#version: 0.2", *map(" ".join, MERGES), ""])
SIZE = 512 + len(MERGES) + 2
OPENAI = Tokenize("openai", SIZE - 2, SIZE - 1, 0)
HUGGINGFACE = Tokenize("huggingface", SIZE - 2, SIZE - 1, SIZE - 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    (path := tmp_path_factory.mktemp("clip") / "merges.txt").write_text(LINES)
    return vocabulary(path)


def unigram(**options: Any) -> str:
    """A vocabulary of sentencepiece's kind: </s> is 1, a word begins with ▁."""
    words = ["▁", "▁a", "▁cat", "▁dog", "s", "i", "t", "its", "é", "a", "c"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -float(n)) for n, word in enumerate(words, 1))]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 2, False))
    tokenizer.normalizer = tokenizers.normalizers.NFKC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["</s>"])
    return json.dumps(json.loads(tokenizer.to_str()) | options)


def gemma() -> str:
    """A vocabulary of Gemma's kind: <eos> is 1, spaces are ▁, an unknown character is its bytes."""
    words = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "▁",
        "a",
        "c",
        "t",
        "ca",
        "cat",
        "▁cat",
        *(f"<0x{byte:02X}>" for byte in range(256)),
    ]
    merges = [("c", "a"), ("ca", "t"), ("▁", "cat")]
    model = tokenizers.models.BPE(
        {w: i for i, w in enumerate(words)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(["<eos>"])
    return tokenizer.to_str()


CANONICAL, LOWER = Tokenize("canonical", None, 1, 1), Tokenize("lower", None, 1, 0)


# fmt: off
SPELT = [
    # text                    openai                                         huggingface
    ("",                      "",                                            ""),
    ("A  cat\n\nDOG",         "a</w> cat</w> dog</w>",                       "a</w> cat</w> dog</w>"),
    ("cat's",                 "cat</w> 's</w>",                              "cat</w> 's</w>"),
    ("10",                    "1</w> 0</w>",                                 "1</w> 0</w>"),
    ("dog!!",                 "dog</w> !!</w>",                              "dog</w> !!</w>"),
    ("é e\u0301",             "Ã©</w> Ã©</w>",                               "Ã©</w> Ã©</w>"),
    ("Ã©",                    "Ã©</w>",                                      "Ã £</w> Â ©</w>"),
    ("\t \x1c",               "",                                            "Ĝ</w>"),
    ("cat'ſ",                 "cat</w> ' Å ¿</w>",                           "cat</w> '</w> Å ¿</w>"),
    ("‘cat’",                 "'</w> cat</w> '</w>",                         "â Ģ ĺ</w> cat</w> â Ģ Ļ</w>"),
    ("&amp;amp;",             "&</w>",                                       "&</w> a m p</w> ;</w> a m p</w> ;</w>"),
    ("\ud83d",                "ï ¿ ½</w>",                                   "ï ¿ ½</w>"),
    ("\ud83d\ude00",          "ð Ł ĺ Ģ</w>",                                 "ð Ł ĺ Ģ</w>"),
    ("a<|startoftext|>",      "a</w> <|startoftext|>",                       "a</w> <|startoftext|>"),
    ("A<|ENDOFTEXT|>",        "a</w> <|endoftext|>",                         "a</w> < |</w> e n do f t e x t</w> | ></w>"),
    ("!<|startoftext|>",      "! < |</w> s t a r t o f t e x t</w> | ></w>", "!</w> <|startoftext|>"),
]
SPELT_SIGLIP = [
    # text                    canonical                lower
    ("",                      "",                      ""),
    ("A  (CAT)!",             "▁a ▁cat",               "a ▁ ▁ <0x28> cat <0x29> <0x21>"),
    (" it's_\t",              "▁ its",                 "▁ <0x69> t <0x27> <0x73> <0x5F> <0x09>"),
    ("e\u0301▁\u3000a\x1ct",  "▁ é ▁a ▁ t",            "<0x65> <0xCC> <0x81> ▁ <0xE3> <0x80> <0x80> a <0x1C> t"),
    ("A</S>",                 "▁a s",                  "a <0x3C> <0x2F> <0x73> <0x3E>"),
    ("C<eos>",                "▁ c <unk> s",           "c <eos>"),
    ("\udc00",                "▁ <unk>",               "<0xEF> <0xBF> <0xBD>"),
]
# fmt: on


def words(json: str, how: Tokenize, text: str) -> str:
    """The words that a text's ids stand for, without start, end and padding."""
    how = replace(how, pad=how.start or 0)
    ids = Tokenizer(json, how, 40, 1000)(text)[0].tolist()
    while ids.pop() != how.end:
        pass
    known = tokenizers.Tokenizer.from_str(json)
    return " ".join(str(known.id_to_token(id)) for id in ids[how.start is not None :])


@pytest.mark.parametrize(("text", "openai", "huggingface"), SPELT, ids=ascii)
def test_clip(text, openai, huggingface, clip):
    assert words(clip, OPENAI, text) == openai
    assert words(clip, HUGGINGFACE, text) == huggingface


@pytest.mark.parametrize(("text", "canonical", "lower"), SPELT_SIGLIP, ids=ascii)
def test_siglip(text, canonical, lower):
    assert words(unigram(), CANONICAL, text) == canonical
    assert words(gemma(), LOWER, text) == lower


def test_start_end_padding_and_what_is_cut_off(clip):
    short = Tokenizer(clip, OPENAI, 4, SIZE)
    start, end, a, cat = SIZE - 2, SIZE - 1, 256 + [*BYTES].index(ord("a")), 513
    ids = short(["", "cat", "a cat", "a cat cat", "a" + END])
    assert ids.dtype == np.int32
    assert ids.tolist() == [[start, *row] for row in ([end, 0, 0], [cat, end, 0], [a, cat, end], [a, cat, end], [a, end, end])]
    assert Tokenizer(unigram(), CANONICAL, 4, 20)(["a cat", "a a a a a"]).tolist() == [[4, 5, 1, 1], [4, 4, 4, 1]]
    assert Tokenizer(gemma(), LOWER, 4, 300)(["cat", "cat cat cat"]).tolist() == [[9, 1, 0, 0], [9, 10, 10, 1]]


def test_every_way_to_give_texts(clip):
    for how in OPENAI, HUGGINGFACE:
        tokenizer = Tokenizer(clip, how, 77, SIZE)
        texts = strings()[::40]
        both = tokenizer(texts)
        np.testing.assert_array_equal(tokenizer(tuple(texts)), both)
        np.testing.assert_array_equal(np.concatenate([tokenizer(text) for text in texts]), both)
        np.testing.assert_array_equal(Tokenizer(clip, how, 9, SIZE)(texts)[:, :8], both[:, :8])


def test_a_padding_that_is_a_word_is_special_to_transformers(clip):
    assert (Tokenizer(clip, replace(HUGGINGFACE, pad=0), 5, SIZE)("!!") == [SIZE - 2, 0, 0, SIZE - 1, 0]).all()
    assert (Tokenizer(clip, OPENAI, 5, SIZE)("!!") == [SIZE - 2, 517, SIZE - 1, 0, 0]).all()


def test_a_file_s_own_rules_are_replaced_where_a_library_has_its_own(clip):
    strange = {"normalizer": {"type": "Prepend", "prepend": "dog"}, "pre_tokenizer": None, "padding": None}
    strange |= {"truncation": {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}}
    strange = json.dumps(json.loads(clip) | strange)
    for how in OPENAI, HUGGINGFACE:
        assert words(strange, how, "A cat's") == "a</w> cat</w> 's</w>"


def test_a_tokenizer_is_a_value(clip):
    one, two = Tokenizer(clip, OPENAI, 77, SIZE), Tokenizer(str(clip), replace(OPENAI), 77, SIZE)
    one("a cat")
    assert one == two and hash(one) == hash(two) and one != replace(two, context=64)
    assert len(repr(one)) < 200


@given(st.text(st.characters(max_codepoint=127, exclude_characters="&", categories=["L", "N", "P", "S", "Zs"])))
def test_printable_ascii_needs_no_repair(text):
    assert text.isprintable() and ftfy.fix_text(text) == text


# Every file that a vocabulary comes in.


# fmt: off
KINDS = {
    "merges.txt":                   LINES.encode(),
    "bpe_simple_vocab_16e6.txt":    LINES.encode(),
    "bpe_simple_vocab_16e6.txt.gz": gzip.compress(LINES.encode()),
    "windows.txt":                  LINES.replace("\n", "\r\n").encode(),
}
# fmt: on


@pytest.mark.parametrize(("name", "data"), KINDS.items(), ids=KINDS)
def test_every_kind_of_file(name, data, clip, tmp_path):
    (path := tmp_path / name).write_bytes(data)
    assert vocabulary(path) == vocabulary(str(path)) == clip
    if name in FILES:
        assert vocabulary(tmp_path) == clip
    (tmp_path / "tokenizer.json").write_text(text := unigram())
    assert vocabulary(tmp_path) == vocabulary(tmp_path / "tokenizer.json") == text


def test_openai_reads_no_more_merges_than_it_has_ids_for(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("vitjax.tokenizer.MERGES", len(MERGES))
    (path := tmp_path / "merges.txt").write_text(LINES + "ca n\nnot a merge\n")
    assert vocabulary(path) == clip


def test_a_vocab_json_beside_has_the_ids(clip, tmp_path):
    (path := tmp_path / "merges.txt").write_text(LINES)
    vocab = {word: SIZE - 1 - id for word, id in json.loads(clip)["model"]["vocab"].items()}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    how = replace(OPENAI, start=vocab[START], end=vocab[END])
    found, plain = (Tokenizer(*args, 77, SIZE)("a cat's dog &")[0] for args in [(vocabulary(path), how), (clip, OPENAI)])
    assert (SIZE - 1 - found[:6]).tolist() == plain[:6].tolist()


# Refusals: one line, that names the file or says both sides.


def refused(call: Any, *words: str) -> None:
    with pytest.raises(Error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


# fmt: off
TEXTS = [
    (None,              "NoneType"),
    (7,                 "not int"),
    (b"a cat",          "not bytes"),
    ([b"a cat"],        "not bytes"),
    (["a cat", None],   "not NoneType"),
    ({"a cat"},         "not set"),
    (iter(["a cat"]),   "iterator"),
    (np.array(["cat"]), "not ndarray"),
    ([],                "no texts"),
]
# fmt: on


@pytest.mark.parametrize(("texts", "word"), TEXTS, ids=[word for _, word in TEXTS])
def test_refuses_what_is_no_text(texts, word, clip):
    refused(lambda: Tokenizer(clip, OPENAI, 77, SIZE)(texts), word)


CHARSMAP = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
WORDLEVEL = {"type": "WordLevel", "vocab": {"a": 0, "</s>": 1}, "unk_token": "?"}
# fmt: off
MISFITS = {  # a vocabulary, a convention, a network's size, and words of the error
    "too large":       (None,      OPENAI,                        SIZE - 1, f"ids up to {SIZE - 1}", f"end at {SIZE - 2}"),
    "real start":      (None,      replace(OPENAI, start=49406),  49408,    f"ids up to {SIZE - 1}", "none is 49406"),
    "real end":        (None,      replace(OPENAI, end=49407),    49408,    f"ids up to {SIZE - 1}", "none is 49407"),
    "pad":             (None,      replace(OPENAI, pad=49407),    49408,    f"ids up to {SIZE - 1}", "none is 49407"),
    "end is a word":   (None,      CANONICAL,                     49408,    "end is id 1", "the word '\"'"),
    "start is a word": (None,      replace(OPENAI, start=513),    49408,    "start is id 513", "'cat</w>'"),
    "not CLIP's":      (unigram(), replace(OPENAI, start=1, end=1), 49408,  "Unigram", "CLIP's"),
    "BPE, not CLIP's": (gemma(),   replace(HUGGINGFACE, start=1, end=1, pad=0), 49408, "BPE", "CLIP's"),
    "not JSON":        ("spam",    OPENAI,                        49408,    "no tokenizer.json", "expected value"),
    "empty":           ("{}",      OPENAI,                        49408,    "no tokenizer.json", "tokenizer.json"),
    "a list":          ("[]",      OPENAI,                        49408,    "no tokenizer.json"),
    "deep":            ('{"a":' * 9**6, OPENAI,                   49408,    "no tokenizer.json"),
    "Rust panics":     (unigram(normalizer=CHARSMAP), CANONICAL,  49408,    "no tokenizer.json", "charsmap"),
    "no unknown":      (unigram(model=WORDLEVEL), CANONICAL,      49408,    "cannot spell", "WordLevel"),
}
# fmt: on


@pytest.mark.parametrize("case", MISFITS)
def test_refuses_a_vocabulary_that_does_not_fit(case, clip):
    text, how, size, *expected = MISFITS[case]
    refused(lambda: Tokenizer(text or clip, how, 77, size)("a cat"), *expected, "give the tokenizer.json")


def test_refuses_impossible_settings(clip):
    refused(lambda: Tokenizer(clip, OPENAI, 2, SIZE), "context of 2")
    refused(lambda: Tokenizer(clip, OPENAI, "77", SIZE), "context must be")  # type: ignore[arg-type]
    refused(lambda: Tokenizer(clip.encode(), OPENAI, 77, SIZE), "json must be")  # type: ignore[arg-type]


PACKED = gzip.compress(LINES.encode())
# fmt: off
BROKEN = {
    "empty":            (b"",                                        "begins with ''"),
    "html":             (b"<!doctype html><title>404</title>",       "begins with '<!doctype html>"),
    "lfs pointer":      (b"version https://git-lfs.github.com/spec", "begins with 'version https:/"),
    "zip":              (b"PK\3\4\xff\xff",                          "begins with b'PK"),
    "pickle":           (b"\x80\4\x95",                              "begins with b'\\x80"),
    "sentencepiece":    (b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02",  "sentencepiece"),
    "gemma's":          (b"\n\x0e\n\x05<pad>\x15\0\0\0\0\x18\x03",  "sentencepiece"),
    "no merges":        (b"#version: 0.2\n",                         "not with '#version' and merges"),
    "not two words":    (b"#version: 0.2\na b\na b c\n",             "line 3"),
    "an empty line":    (b"#version: 0.2\na b</w>\n\nc d\n",         "line 3"),
    "gpt-2's":          ("#version: 0.2\nĠ t\nĠ a\n".encode(),       "not CLIP's"),
    "a word twice":     (b"#version: 0.2\na b</w>\na b</w>\n",       "twice"),
    "no such word":     (b"#version: 0.2\nab c</w>\n",               "does not fit together"),
    "a vocab.json":     (b'{"a": 0}',                                "no tokenizer.json"),
    "truncated json":   (unigram()[:500].encode(),                   "no tokenizer.json"),
    "truncated gzip":   (PACKED[:-12],                               "cannot read"),
    "gzip's checksum":  (PACKED[:-8] + bytes(8),                     "cannot read"),
    "gzip, broken":     (PACKED[:14] + b"\xff" * 20,                 "cannot read"),
    "gzip bomb":        (gzip.compress(bytes(MAX_BYTES + 1)),        str(MAX_BYTES)),
}
VOCABS = {
    "not JSON":       b"{",
    "deep":           b"[" * 9**6,
    "a list":         b"[]",
    "no special":     b'{"a": 0}',
    "not a number":   json.dumps({START: 0, END: "1"}).encode(),
    "true":           json.dumps({START: 0, END: True}).encode(),
    "an id twice":    json.dumps({START: 0, END: 0}).encode(),
    "negative":       json.dumps({START: 0, END: -1}).encode(),
    "large":          json.dumps({START: 0, END: 2**40}).encode(),
    "no such word":   json.dumps({START: 0, END: 1}).encode(),
}
# fmt: on


@pytest.mark.parametrize(("data", "word"), BROKEN.values(), ids=BROKEN)
def test_refuses_the_file(data, word, tmp_path):
    (path := tmp_path / "vocabulary").write_bytes(data)
    refused(lambda: vocabulary(path), str(path), word)


@pytest.mark.parametrize("data", VOCABS.values(), ids=VOCABS)
def test_refuses_the_ids(data, tmp_path):
    (path := tmp_path / "merges.txt").write_text(LINES)
    (tmp_path / "vocab.json").write_bytes(data)
    refused(lambda: vocabulary(path), str(tmp_path))


def test_refuses_what_is_not_a_file(tmp_path):
    refused(lambda: vocabulary(tmp_path), str(tmp_path), "holds no vocabulary", "merges.txt")
    (tmp_path / "spiece.model").write_bytes(BROKEN["sentencepiece"][0])
    refused(lambda: vocabulary(tmp_path), str(tmp_path / "spiece.model"), "sentencepiece")
    refused(lambda: vocabulary("/dev/zero"), "/dev/zero", "not a file")
    os.mkfifo(fifo := tmp_path / "fifo")
    refused(lambda: vocabulary(fifo), str(fifo), "not a file")
    refused(lambda: vocabulary("gone.txt"), "gone.txt", "No such file")
    refused(lambda: vocabulary("nul\0.txt"), "null")
    with open(large := tmp_path / "large.json", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    refused(lambda: vocabulary(large), str(large), str(MAX_BYTES))
