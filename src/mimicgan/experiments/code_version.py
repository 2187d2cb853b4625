"""A digest of what code does, so that a measurement knows whether it is out of date."""

import ast
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

PACKAGE = "mimicgan"


@cache
def code_digest(*modules: str) -> str:
    """Digest of the modules' code and of all modules of this package that they import.

    Comments, docstrings and layout do not count.
    """
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        tree = ast.parse(_source(name))
        seen[name] = ast.dump(_Bare().visit(tree))
        waiting += [found for found in _imports(tree) if found not in seen]
    text = "\n".join(f"{name}\n{code}" for name, code in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class _Bare(ast.NodeTransformer):
    """Drops strings that stand alone: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        plain = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if plain else node


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module {name}")
    return Path(spec.origin).read_text(encoding="utf-8")


def _imports(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` names a module in its second half.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [node.module, *(name for name in inner if _is_module(name))]
    return [name for name in found if name.split(".")[0] == PACKAGE and name != PACKAGE]


def _is_module(name: str) -> bool:
    if name.split(".")[0] != PACKAGE:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
