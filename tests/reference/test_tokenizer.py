"""Our ids against those of open_clip and transformers, live: on 3,700 strings of all sorts, every one the same."""

import json

import numpy as np
import open_clip.tokenizer as open_clip
import pytest
import regex
import sentencepiece
import tokenizers
import transformers

from tests.test_tokenizer import gemma, strings, unigram
from vitjax.config import Tokenize
from vitjax.tokenizer import END, START, Tokenizer, vocabulary

OPENAI = Tokenize()
STRINGS = strings()
ENCODABLE = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in STRINGS]  # what `tokenizers` takes


@pytest.fixture(scope="module")
def clip():
    return vocabulary(open_clip.default_bpe())


def check(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert len(ours) == len(theirs) and len(STRINGS) > 3500
    assert not [
        (ascii(s)[:200], a.tolist(), b.tolist()) for s, a, b in zip(STRINGS, ours, theirs, strict=True) if (a != b).any()
    ][:3]


def test_open_clip(clip):
    theirs = open_clip.SimpleTokenizer()
    start, end = theirs.decoder[49406], theirs.decoder[49407]
    clip = clip.replace(START, start).replace(END, end)
    check(Tokenizer(clip, OPENAI, 77, 49408)(STRINGS), theirs(STRINGS).numpy())


def test_openai(clip):
    """OpenAI's own clip/simple_tokenizer.py is open_clip's with other names of start and end."""
    theirs = open_clip.SimpleTokenizer()
    for name, id in (START, 49406), (END, 49407):
        pattern = theirs.pat.pattern.replace(theirs.decoder[id], regex.escape(name))
        theirs.pat = regex.compile(pattern, regex.IGNORECASE)
        theirs.cache[name] = name
        theirs.encoder[name] = theirs.encoder.pop(theirs.decoder[id])
    assert theirs.pat.pattern.startswith(r"<\|startoftext\|>|<\|endoftext\|>|'s|")
    check(Tokenizer(clip, OPENAI, 77, 49408)(STRINGS), theirs(STRINGS).numpy())


@pytest.mark.parametrize("pad", [49407, 0])
def test_transformers_clip(clip, pad):
    model = json.loads(clip)["model"]
    theirs = transformers.CLIPTokenizer(model["vocab"], [tuple(m) for m in model["merges"]], pad_token={49407: END, 0: "!"}[pad])
    assert theirs.pad_token_id == pad
    found = theirs(ENCODABLE, padding="max_length", truncation=True, max_length=77, return_tensors="np").input_ids
    check(Tokenizer(clip, Tokenize("huggingface", pad=pad), 77, 49408)(STRINGS), found)


def test_files_of_transformers(clip, tmp_path):
    """What transformers reads is what we wrote, and what it writes we read, in both of its ways."""
    (tmp_path / "tokenizer.json").write_text(clip)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    found = theirs(ENCODABLE, padding="max_length", truncation=True, max_length=77, return_tensors="np").input_ids
    theirs.save_pretrained(tmp_path / "saved")
    (old := tmp_path / "old").mkdir()
    theirs.backend_tokenizer.model.save(str(old))
    assert sorted(path.name for path in old.iterdir()) == ["merges.txt", "vocab.json"] and vocabulary(old) == clip
    for text in vocabulary(tmp_path), vocabulary(tmp_path / "saved"):
        check(Tokenizer(text, Tokenize("huggingface", pad=49407), 77, 49408)(STRINGS), found)


@pytest.mark.parametrize(("clean", "theirs"), [("repaired", "canonicalize"), ("whitespace", "whitespace")])
def test_other_vocabularies_of_open_clip(clean, theirs, tmp_path):
    """Through its wrapper of transformers: SigLIP's texts, and those of CLIPA and MetaCLIP 2."""
    (tmp_path / "tokenizer.json").write_text(unigram())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    wrapper = open_clip.HFTokenizer(str(tmp_path), 64, clean=theirs)
    wrapper.tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    ours = Tokenizer(unigram(), Tokenize(clean, None, 1, 1), 64, 20)
    check(ours(STRINGS), wrapper(STRINGS).numpy())


def test_siglip(tmp_path):
    """Through transformers and sentencepiece itself, by a vocabulary trained here: </s> is 1, as in SigLIP's."""
    from transformers.convert_slow_tokenizer import T5Converter
    from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

    (corpus := tmp_path / "corpus.txt").write_text("\n".join(text.lower() for text in ENCODABLE[9:1600]))
    # Of sentencepiece's usual rules only that ▁ is a space: by the others, `tokenizers` normalises half-width ガ, and å before a
    # joiner, otherwise than sentencepiece (83 of these strings); where a tokenizer.json is the vocabulary, that is right.
    (rules := tmp_path / "rules.tsv").write_text("2581\t20\n")
    options = {"vocab_size": 450, "normalization_rule_tsv": str(rules), "minloglevel": 2}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(tmp_path / "spiece"), **options, **ids)
    theirs = SiglipTokenizer(str(tmp_path / "spiece.model"))
    theirs._extra_ids = 0
    converted = T5Converter(theirs).converted().to_str()
    found = theirs(ENCODABLE, padding="max_length", truncation=True, max_length=64, return_tensors="np").input_ids
    check(Tokenizer(converted, Tokenize("canonical", None, 1, 1), 64, 450)(STRINGS), found)


@pytest.mark.parametrize("lowers", [True, False])
def test_siglip_2(lowers):
    """The published tokenizer.json is Gemma's, which leaves the lower case to transformers' class; saved again, it has it."""
    own = json.loads(gemma())
    theirs = transformers.Siglip2Tokenizer(
        own["model"]["vocab"],
        [tuple(m) for m in own["model"]["merges"]],
        add_eos_token=True,
        add_bos_token=False,
        padding_side="right",
    )
    assert (theirs.eos_token_id, theirs.pad_token_id) == (1, 0)
    text = json.loads(theirs.backend_tokenizer.to_str())
    if not lowers:
        text["normalizer"] = text["normalizer"]["normalizers"][1]
        assert text["normalizer"] == own["normalizer"]
    found = theirs(ENCODABLE, padding="max_length", truncation=True, max_length=64, return_tensors="np").input_ids
    check(Tokenizer(json.dumps(text), Tokenize("lower", None, 1, 0), 64, len(theirs))(STRINGS), found)
