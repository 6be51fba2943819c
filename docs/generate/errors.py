"""The errors page, read from the code: what each room of the library says when it refuses something."""

from __future__ import annotations

import ast
import builtins
import html
import keyword
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CHAPTERS = {  # and the files whose errors are in each, in this order
    "Names, downloads, this machine": "hub download variants catalogue cache doctor",
    "Checkpoint folders": "checkpoint checkpoint_commands manifest draft orbax arrays config values",
    "Networks": "networks surgery model clip_model attention attention_maps mesh hardware verify",
    "Pictures and texts": "preprocess pictures tokenizer picture_commands features rows terminal",
    "Which network a file holds": "converters/__init__ identify mapping dialect wrappers",
    "Files": "files json_file safetensors_file npz_file zip_file stored",
    "PyTorch files": "torch_file torch_legacy torch_names torch_pickle torch_values",
    "timm": "timm timm_arguments timm_settings",
    "Hugging Face": "huggingface huggingface_settings huggingface_clip huggingface_clip_settings huggingface_pictures",
    "open_clip and OpenAI": "open_clip open_clip_settings open_clip_inputs",
    "birder, Google, BAAI": "birder birder_settings google google_trees eva",
    "Training": "",  # vitjax/train/
}
VERBS = """
    add ask cast change check choose convert correct download export fetch get give install leave load look make mend merge move
    name pack pass remove rename run save say see set show shrink take try update upgrade use wait write
"""
# An instruction, or what would be right; or what is filled in is one.
NEXT = re.compile(
    rf"\b({'|'.join(VERBS.split())}|goes? on|only|must|should|needs?|one of|closest|known are)\b"
    r"|\{(hint|by_hand|wish|next_|take|how|_advice\(error\))\}",
    re.IGNORECASE,
)
NO_VERB = re.compile(r"\{(?!(hint|by_hand|wish|next_|take|how|_advice)\b)[^{}]*\}|\w+\.\w+ (did not write|writes)")
SPACE = "\N{MIDDLE DOT}"  # in what is filled in: it stays one word
INNER = re.compile(r"\{(str\()?error\b|\{next\(iter\(rows\.missing|\{reason\}")  # it ends with another one, which says what to do
# Said within another error, which says what to do: by the self-test of `vitjax doctor`, and by download.address.
INSIDE = (
    *("{file.name} is taken for", "logits are {off}", "parameters are not what"),
    *("the connection ended after", "the connection broke"),
)
INTRODUCTION = """# Errors

Whatever you can cause and mend is a `vitjax.Error`, and says three things: what was wrong, where, and the next step. On the
command line it is one line on stderr, with exit code 1; `vitjax --debug ...` shows where in the code it happened. Anything else
that is raised is a bug of vitjax: please report it.

These are the {count} messages there are, read from the code when this page was built. What is filled in is in *italics*,
**the next step is in bold**. A message often stands in a longer one, which begins with the file that it is about.
"""


class Message(NamedTuple):
    """What one `Error(...)` says; in braces what it fills in. A ValueError's is a reason that an Error passes on."""

    file: Path
    line: int
    text: str
    kind: str = "Error"

    @property
    def room(self) -> str:
        return self.file.relative_to(ROOT).with_suffix("").as_posix()

    @property
    def inside(self) -> bool:
        """Whether it is seen within another one only."""
        return self.text.startswith(INSIDE)

    @property
    def passes_on(self) -> bool:
        """Whether it only says where another error happened."""
        return not re.search(r"[a-z]{2}", re.sub(r"\{[^{}]*\}", "", self.text))

    @property
    def next_step(self) -> str:
        """The part that says what to do; "" if there is none."""
        parts = re.split(r"(?<=[;:.,(])\s+", self.text)
        first = next((at for at, part in enumerate(parts) if at and _instructs(part)), None)
        if first is None:
            return self.text if _instructs(self.text) else ""
        return self.text[self.text.index(parts[first], len(" ".join(parts[:first]))) :]

    @property
    def complete(self) -> bool:
        """Whether it says what to do, itself or in what it passes on."""
        return self.passes_on or bool(self.next_step) or bool(INNER.search(self.text))


def _instructs(text: str) -> bool:
    return bool(NEXT.search(NO_VERB.sub("", text)))


def messages(root: Path = ROOT) -> list[Message]:
    """Every message that is written out in a call of Error, in the order of files and lines."""
    files = sorted([*root.glob("vitjax/**/*.py"), *root.glob("converters/**/*.py")])
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    texts = {name: text for tree in trees.values() for name, text in _constants(tree)}
    return [
        Message(f, call.lineno, _shown(call.args[0], texts), kind) for f, tree in trees.items() for call, kind in _raised(tree)
    ]


def _raised(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name))
    found = [
        (call, call.func.id) for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("Error", "ValueError")
    ]
    yield from sorted(found, key=lambda pair: pair[0].lineno)


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """NAME = "text" of a module, for the messages that use it."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                yield name, text


def _shown(node: ast.expr, texts: dict[str, str]) -> str:
    """An expression as a text, in braces what is known only when it is raised."""
    match node:
        case ast.Constant(value=str(text)):
            return text.replace("{}", f"{{{SPACE}}}")
        case ast.Name(id=name) if name in texts:
            return texts[name]
        case ast.JoinedStr(values=parts):
            return "".join(_shown(part, texts) for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _shown(left, texts) + _shown(right, texts)
        case ast.FormattedValue(value=value):
            return _shown(value, texts)
        case ast.IfExp(body=body, orelse=orelse):
            return f"{_shown(body, texts)}{{or}}{_shown(orelse, texts)}"
    return "{" + re.sub(r"[{}]", "", ast.unparse(node)).replace(" ", SPACE) + "}"


def page(root: Path = ROOT) -> str:
    """The page, as Markdown: each message with its next step in bold."""
    found = [message for message in messages(root) if not (message.passes_on or message.inside)]
    lines = [INTRODUCTION.format(count=sum(message.kind == "Error" for message in found))]
    for chapter in CHAPTERS:
        inside = [message for message in found if chapter_of(message) == chapter]
        lines += ["", f"## {chapter}", "", *_listed(message for message in inside if message.kind == "Error")]
        if reasons := list(_listed(message for message in inside if message.kind == "ValueError")):
            lines += ["", "And the reasons that they give of a file that is not as it should be:", "", *reasons]
    return "\n".join(lines) + "\n"


def chapter_of(message: Message) -> str | None:
    """The chapter that a message is in."""
    folder, _, name = message.room.rpartition("/")
    if folder.startswith("vitjax/train") or name == "data_commands":
        return "Training"
    words = (name, f"{folder}/{name}")
    return next((chapter for chapter, rooms in CHAPTERS.items() if set(words) & set(rooms.split())), None)


def _listed(found: Iterable[Message]) -> Iterator[str]:
    """A list of messages, each once."""
    for text in dict.fromkeys(_markdown(message) for message in found):
        yield f"- {text}"


def _markdown(message: Message) -> str:
    """A message with names for what it fills in, its next step in bold."""
    step = message.next_step
    before, found, after = message.text.rpartition(step) if step else (message.text, "", "")
    before, found, after = (_readable(part) for part in (before, found, after))
    return f"{before}<strong>{found}</strong>{after}" if found.strip() else before


def _readable(text: str) -> str:
    """Text for a page: what is filled in by its name, in italics."""
    parts = re.split(r"\{([^{}]*)\}", re.sub(r"\s+", " ", text))
    return "".join(f"<var>{html.escape(_name(part))}</var>" if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_|\[\]])", r"\\\1", html.escape(text, quote=False))


def _name(expression: str) -> str:
    """A word for what an expression gives."""
    if expression in ("or", SPACE):
        return "/" if expression == "or" else "{}"
    if inner := re.search(r"\.join\((.*)\)$", expression):
        return f"{_name(inner[1])}, ..."
    if expression.startswith(("len(", "_advice(")):
        return "number" if expression.startswith("len(") else ", and what to try"
    names = re.findall(r"[a-z_]{2,}", re.sub(r"\[[^\]]*\]|'[^']*'", "", expression))
    names = [name for name in names if not keyword.iskeyword(name) and not hasattr(builtins, name) and name != "self"]
    return names[-1].strip("_").replace("_", " ") if names else expression.lower().replace("_", " ")
