"""What the source of a user's function says about it, read and not run."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path


def source_problems(key: str, path: str, *parameters: str) -> Iterator[str]:
    """A sentence if the module surely has no such function, or one that is called otherwise.

    Silent where only running the module could tell: a package that makes names up, imports them or
    is no Python file.
    """
    module, _, name = path.partition(":")
    tree = _parsed(module)
    if tree is None or _may_have_more(tree):
        return
    functions = [node for node in tree.body if _is_named(node, name)]
    if not functions:
        yield f"{key}={path}: {module} has no {name}"
    elif isinstance(functions[-1], ast.FunctionDef):
        yield from _called_otherwise(key, path, functions[-1], parameters)


def _parsed(module: str) -> ast.Module | None:
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        if spec is None or spec.origin is None:
            return None
        file = Path(spec.origin)
        if rest:
            file = file.parent.joinpath(*rest).with_suffix(".py")
        return ast.parse(file.read_text(encoding="utf-8")) if file.suffix == ".py" else None
    except (ValueError, OSError, SyntaxError, UnicodeDecodeError):
        return None


def _may_have_more(tree: ast.Module) -> bool:
    """Whether a name may be there that no line at the top of the file gives."""
    plain = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return any(
        not isinstance(node, (*plain, ast.Expr, ast.Import, ast.ImportFrom))
        or _is_named(node, "__getattr__")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names))
        for node in tree.body
    )


def _is_named(node: ast.stmt, name: str) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.Import() | ast.ImportFrom():
            return any(
                (alias.asname or alias.name.partition(".")[0]) == name for alias in node.names
            )
        case ast.Assign():
            return any(name in _names(target) for target in node.targets)
        case ast.AnnAssign():
            return name in _names(node.target)
    return False


def _names(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def _called_otherwise(
    key: str, path: str, function: ast.FunctionDef, parameters: tuple[str, ...]
) -> Iterator[str]:
    arguments = function.args
    if function.decorator_list:
        return
    most = [*arguments.posonlyargs, *arguments.args]
    fewest = len(most) - len(arguments.defaults)
    keywords = sum(default is None for default in arguments.kw_defaults)
    too_many = len(parameters) > len(most) and arguments.vararg is None
    if too_many or len(parameters) < fewest or keywords:
        taken = ast.unparse(arguments)
        yield f"{key}={path} must take ({', '.join(parameters)}), but takes ({taken})"
