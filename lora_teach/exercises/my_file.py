"""``my_lora.py``: what a learner wrote, as plain Python that can be read, imported and edited.

A piece stands between two lines that begin with ``# %%``; the first names it and holds a digest of what was written, so
that an edit by hand is seen. All else in the file is the learner's and stays as it is.
"""

import ast
import builtins
import hashlib
import inspect
import io
import linecache
import re
import symtable
import tokenize
from pathlib import Path
from types import ModuleType

from lora_teach.utils.atomic_write import replace_file

FILE = "my_lora.py"
BLOCK = re.compile(
    r"^# %% (?P<names>[\w, ]+) · notebook (?P<notebook>\d\d) · (?P<digest>[0-9a-f]{8})\n(?P<text>.*?)"
    r"(?:^# %% end\n?|(?=^# %% [\w, ]+ · notebook )|\Z)",
    re.DOTALL | re.MULTILINE,
)
READY_MADE = "lora_teach.exercises.ready_made"
HEAD = '''"""My own LoRA: what passed its check in the notebooks, each piece between two lines that begin with # %%.

Edit it as you like. A cell that passes again replaces its own piece, and nothing else.
"""

from lora_teach.exercises.ready_made import *  # noqa: F403 — the library's, for what does not stand below
'''


class NotKept(Exception):
    """A piece can't be written to the file, or the file can't be read; the message says why, and the cure."""


def blocks(text):
    """Return ``{(names): (notebook, text, whether it is as it was written)}`` of a file's text."""
    return {
        tuple(match["names"].split(", ")): (
            match["notebook"], match["text"].strip("\n"), digest(match["text"]) == match["digest"],
        )
        for match in BLOCK.finditer(text)
    }  # fmt: skip


def digest(text):
    """Return eight signs that stand for a piece's text."""
    return hashlib.sha256(text.strip("\n").encode()).hexdigest()[:8]


def code_lines(text):
    """Count the lines that are neither blank nor comment nor docstring nor import."""
    unread = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for one in tokens if one.type not in unread for line in range(one.start[0], one.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or isinstance(node, (ast.Import, ast.ImportFrom)):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def keep(file, names, notebook, objects, pieces):
    """Write a piece to the file, in place of its earlier self; return what else there is to say, or nothing.

    Args:
        names: What the objects are called in the thread.
        pieces: Names of all pieces: those of others are not written again.

    Raises:
        NotKept: With the reason and the cure.
    """
    text = "\n\n\n".join(_written(names, objects, pieces))
    file = Path(file)
    old = file.read_text(encoding="utf-8") if file.exists() else HEAD
    parsed(old)
    there = next((match for match in BLOCK.finditer(old) if match["names"].split(", ") == list(names)), None)
    if there and there["text"].strip("\n") == text:
        return ""
    _refuse_clashes(names, text, old if there is None else old[: there.start()] + old[there.end() :])
    block = f"# %% {', '.join(names)} · notebook {notebook} · {digest(text)}\n{text}\n# %% end\n"
    new, said = old.rstrip("\n") + "\n\n\n" + block, ""
    if there:
        new = old[: there.start()] + block + old[there.end() :]
        if digest(there["text"]) != there["digest"]:
            number = next(n for n in range(1, 10_000) if not file.with_stem(f"{file.stem}_{n}").exists())
            spare = file.with_stem(f"{file.stem}_{number}")
            replace_file(spare, lambda path: path.write_text(old, encoding="utf-8"))
            said = f"you had edited it there; the file as it was is now {spare.name}"
    replace_file(file, lambda path: path.write_text(new, encoding="utf-8"))
    return said


def parsed(text):
    """Return the syntax tree of a file's text."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise NotKept(f"line {error.lineno} of {FILE} is not Python: {error.msg}. Mend it, or move it away.") from None


def bound(tree):
    """Return ``{name: the statement that binds it, in words}`` of a module's top level; not what the library gives."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if getattr(node, "module", None) != READY_MADE:
                found |= {_name(alias): _import(node, alias) for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = ast.unparse(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]
            found |= dict.fromkeys(stored, ast.unparse(node))
    return found


def _name(alias):
    return alias.asname or alias.name.split(".")[0]


def _import(node, alias):
    return ast.unparse(
        type(node)(**{**{field: getattr(node, field, None) for field in node._fields}, "names": [alias]})
    )


def _refuse_clashes(names, text, rest):
    """Refuse a piece that would change what a name means elsewhere in the file, or be changed itself."""
    elsewhere = bound(parsed(rest))
    for name, statement in bound(ast.parse(text)).items():
        if elsewhere.get(name, statement) != statement:
            owner = next(
                (", ".join(of) for of, (_, part, _) in blocks(rest).items() if name in bound(ast.parse(part))), ""
            )
            where = f"in the piece {owner}" if owner else "of your own"
            cure = "Move it away, or rename it there." if name in names else "Give yours another name."
            raise NotKept(f"{FILE} has another {name} {where}, which stays as it is. {cure}")


def _written(names, objects, pieces):
    """Return the statements that make the objects: imports in one, then helpers, then the objects themselves."""
    imports, parts = set(), {}
    for name, one in zip(names, objects, strict=True):
        own, text = source(one)
        _collect(text, vars_of(one), {*pieces, own}, imports, parts)
        parts[own] = text
        if own != name:
            parts[name] = f"{name} = {own}"
    lines = sorted(imports, key=lambda line: (line.startswith("from"), line))
    return ["\n".join(lines), *parts.values()] if lines else list(parts.values())


def _collect(text, space, known, imports, parts):
    """Add the imports, helpers and constants that a source needs."""
    for name in sorted(globals_of(text) - known):
        line = next((line for cell in reversed(space.get("In", [])) if (line := _imported(cell, name))), None)
        value = space.get(name, getattr(builtins, name, None))
        if line:
            imports.add(line)
        elif name not in space:
            continue  # Python's own, or nothing that the check came upon
        elif isinstance(value, ModuleType):
            imports.add(f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}"))
        elif callable(value) and getattr(value, "__module__", None) == space.get("__name__"):
            own, inner = source(value)
            if own != name or own in parts:
                continue
            _collect(inner, space, {*known, own}, imports, parts)
            parts[own] = inner
        elif getattr(inspect.getmodule(value), getattr(value, "__name__", ""), None) is value:
            imports.add(f"from {value.__module__} import {value.__name__}" + f" as {name}" * (value.__name__ != name))
        elif isinstance(value, (int, float, str, bool, type(None))):
            parts[name] = f"{name} = {value!r}"
        else:
            kind = type(value).__name__
            raise NotKept(f"it uses {name}, a {kind} of this notebook's, which a file lacks. Make it an argument.")


def globals_of(text):
    """Return the names that a source looks up outside itself."""
    found, tables = set(), [symtable.symtable(text, "cell", "exec")]
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        found |= {
            symbol.get_name() for symbol in table.get_symbols()
            if symbol.is_referenced() and (not symbol.is_assigned() if top else symbol.is_global())
        }  # fmt: skip
        tables += table.get_children()
    return found - {"__class__"}


def _imported(cell, name):
    """Return the import in a cell that binds this name, alone, or nothing."""
    try:
        nodes = ast.walk(compile(cell, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    except SyntaxError:  # of IPython's own, such as %time
        return None
    imports = (node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    return next((_import(node, a) for node in imports for a in node.names if _name(a) == name), None)


def vars_of(one):
    """Return the global names that a function or class of the learner's sees."""
    code = _code(one)
    return code.__globals__ if code else {}


def _code(one):
    """Return a function, or the first method of a class that was written in its body."""
    if not inspect.isclass(one):
        return one if inspect.isfunction(one) else None
    inside = f"{one.__qualname__}."
    return next((f for f in vars(one).values() if inspect.isfunction(f) and f.__qualname__.startswith(inside)), None)


def source(one):
    """Return the name and the text of the statement, at the left margin of a cell, that made a function or class."""
    function = _code(one)
    if function is None or function.__closure__ and not inspect.isclass(one):
        raise NotKept("write it as a plain def or class, at the left margin of a cell.")
    lines = linecache.getlines(function.__code__.co_filename)
    try:
        tree = compile("".join(lines), "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        tree = ast.Module([], [])
    at = function.__code__.co_firstlineno
    for node in tree.body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        names = list(bound(ast.Module([node], [])))
        if first <= at <= node.end_lineno and len(names) == 1 and function.__globals__.get(names[0]) is one:
            return names[0], "".join(lines[first - 1 : node.end_lineno]).rstrip("\n")
    raise NotKept("write it as a plain def or class, at the left margin of a cell.")
