"""The code of a Markdown page, run as a reader would: block after block, in one namespace.

    names = run(blocks(ROOT / "docs/index.md"))

What a line says of itself in its comment is held, where the comment begins as a value does: `model(x).shape  # (1, 10) logits`,
`model.classify(digit, top=1)  # [('3', 0.9...)]`, `print(model.spec.name)  # vit_...`. Of an array that is its shape, "..." is
anything, and words may follow. An assignment's comment speaks of the value that is assigned.

A block that needs what a test does not have stands below a line `<!-- needs: network -->`. It is compiled only, and what it takes
from vitjax looked up: names, keywords, published checkpoints. `run(..., have={"timm"})` runs those that need timm.
"""

import ast
import contextlib
import inspect
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import vitjax
from vitjax import variants
from vitjax.clip_model import TextModel

FENCE = re.compile(
    r"^(?:(?P<before>[ ]*)<!-- *needs: *(?P<needs>[^>]*?) *-->[ ]*\n\s*)?"  # what it needs, in the line above
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE,
)
VALUE = re.compile(r"[\[({'\"\d-]|True|False|None|Model\(")  # how a comment begins that states one
PATHS = re.compile(r"^\w+://|^(runs|my_\w+)\b|/$|\.(safetensors|npz|pth?|bin|tar|ckpt)$|^hf:")  # files and folders


class Block(NamedTuple):
    """One block of code, and where it is."""

    path: Path
    line: int  # of its first line in the page
    code: str
    needs: frozenset[str]

    @property
    def tree(self) -> ast.Module:
        return ast.increment_lineno(ast.parse(self.code, str(self.path)), self.line - 1)


def blocks(path: Path, language: str = "python") -> list[Block]:
    """The blocks of a page that are in a language, in their order; "" for those that name none."""
    text, found = path.read_text(encoding="utf-8"), list[Block]()
    for match in FENCE.finditer(text):
        if match["language"] == language:
            line = text.count("\n", 0, match.start("code")) + 1
            code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
            found.append(Block(path, line, code, frozenset((match["needs"] or "").replace(",", " ").split())))
    return found


def run(page: Sequence[Block], have: Collection[str] = (), names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run blocks in one namespace, which is returned; those that need more than there is are compiled, and looked up."""
    names = {} if names is None else names
    for block in page:
        if block.needs <= set(have):
            _execute(block, names)
        else:
            look_up(block)
    return names


def _execute(block: Block, names: dict[str, Any]) -> None:
    comments = dict(_comments(block))
    for statement in block.tree.body:
        where, said = f"{block.path.name}:{statement.lineno}", comments.get(statement.end_lineno or 0, "")
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                value = _value(statement, names)
        except Exception as error:
            error.add_note(f"in {where}: {ast.unparse(statement)}")
            raise
        if isinstance(statement, ast.Expr | ast.Assign) and (VALUE.match(said) or (said and printed.getvalue())):
            shown = printed.getvalue().strip() or (repr(tuple(value.shape)) if hasattr(value, "shape") else repr(value))
            assert _states(said, shown), f"{where}: {ast.unparse(statement)} is {shown}, not {said}"


def _value(statement: ast.stmt, names: dict[str, Any]) -> Any:
    """Run one statement: the value of an expression, or what an assignment gave its first name."""
    if isinstance(statement, ast.Expr):
        return eval(compile(ast.Expression(statement.value), "<page>", "eval"), names)
    exec(compile(ast.Module([statement], []), "<page>", "exec"), names)
    target = statement.targets[0] if isinstance(statement, ast.Assign) else None
    return names[target.id] if isinstance(target, ast.Name) else None


def _comments(block: Block) -> Iterator[tuple[int, str]]:
    """(line in the page, its comment)."""
    for token in tokenize.generate_tokens(io.StringIO(block.code).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0] + block.line - 1, token.string.lstrip("# ")


def _states(said: str, shown: str) -> bool:
    """Whether a comment, or its first words, are what came out."""
    starts = [said, *(said[: gap.start()] for gap in re.finditer(r"[ :;,]", said))]
    return any(re.fullmatch(re.escape(start).replace(r"\.\.\.", ".*"), shown, re.DOTALL) for start in starts)


def look_up(block: Block) -> None:
    """Hold that a block can be compiled, and that what it takes from vitjax is there."""
    compile(block.code, f"{block.path.name}:{block.line}", "exec")
    kinds = (vitjax.Model, vitjax.CLIP, TextModel)
    models: set[str] = set()  # names of what `load` gave
    for node in ast.walk(block.tree):
        if isinstance(node, ast.Assign) and _called(node.value) in ("vitjax.load", "vitjax.create"):
            models |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    for node in ast.walk(block.tree):
        where = f"{block.path.name}:{getattr(node, 'lineno', block.line)}"
        match node:
            case ast.Attribute(value=ast.Name(id="vitjax"), attr=name):
                assert hasattr(vitjax, name) or _room(name), f"{where}: vitjax has no {name}"
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in models:
                fields = {field for kind in kinds for field in (*dir(kind), *kind.__dataclass_fields__)}
                assert attr in fields, f"{where}: a model has no {attr}"
            case ast.ImportFrom(module=str(module), names=aliases) if module.partition(".")[0] == "vitjax":
                room = __import__(module, fromlist=["_"])
                assert not [a.name for a in aliases if not hasattr(room, a.name) and not _room(a.name)], where
            case ast.Call() if _called(node) in ("vitjax.load", "vitjax.create"):
                _look_up_call(node, where)


def _look_up_call(call: ast.Call, where: str) -> None:
    """The keywords of `load` and `create`, and the name where it is that of published weights."""
    known = inspect.signature(getattr(vitjax, str(_called(call)).partition(".")[2])).parameters
    keywords = {keyword.arg for keyword in call.keywords if keyword.arg}
    assert keywords <= set(known), f"{where}: no keyword {', '.join(keywords - set(known))}"
    match call.args:
        case [ast.Constant(value=str(name)), *_] if not keywords & {"variant", "config"} and not PATHS.search(name):
            variants.spec(variants.resolve(name))


def _called(node: ast.AST) -> str | None:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else None


def _room(name: str) -> bool:
    """Whether this is a module of the library."""
    root = Path(__file__).parents[1]
    return name == "converters" or any((root / "vitjax" / f"{name}{end}").exists() for end in (".py", "/__init__.py"))
