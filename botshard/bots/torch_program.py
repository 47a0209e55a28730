"""Is this exported program (the JSON of a `.pt2`) only operators on tensors?

Loading a program evaluates some of its strings as Python; `botshard.bots.torch_export` lists where. So every string in
the document has to be of the kind that its key allows: an identifier, an operator of the list, an expression of sizes.
"""

from __future__ import annotations

import json
import re

from botshard.bots.refusals import RefusedFileError
from botshard.bots.size_expressions import is_guard, is_size_expression

__all__ = ["check_program"]

_WHAT = "an exported program of plain operators"
_MOST_DEPTH = 64

_NAME = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)?\Z")
_PATH = re.compile(r"(?:[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)?\Z")
"""As `_NAME`, but parts may begin with a digit: the modules of a `Sequential` are called 0, 1, 2."""
_PATH_KEYS = frozenset({"parameter_name", "buffer_name", "fqn"})
"""Kept as keys of dictionaries, never as names in code."""
_FREE_TEXT_KEYS = frozenset({"as_string", "metadata", "torch_version"})
"""Kept as data: a constant is shown with repr(), metadata (stack traces) is never evaluated."""
_METADATA_KEYS = frozenset({"custom", "from_node", "nn_module_stack", "stack_trace", "torch_fn"})

_OPERATORS = re.compile(
    r"torch\.ops\.(?:aten|prims)\.(?P<name>[a-z][a-z0-9_]*|_[a-z][a-z0-9_]*|__(?:and|or|xor|lshift|rshift)__)\.[A-Za-z]\w*"
    r"|torch\.ops\.higher_order\.(?:cond|map_impl|scan|while_loop|wrap_with_autocast|wrap_with_set_grad_enabled)"
    r"|torch\.sym_(?:float|int|ite|max|min|not|sqrt|sum)"
    r"|math\.(?:ceil|floor|sqrt|trunc)"
    r"|_operator\.(?:abs|add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub|truediv)"
)
_FORBIDDEN_ATEN = frozenset({"_print", "dist_backward", "from_file", "manual_seed", "save", "warn"})
"""The ATen operators that touch files, output or what other bots in the process share."""
_TREE_TYPES = frozenset({"builtins.dict", "builtins.list", "builtins.tuple"})


def check_program(document: object, /) -> None:
    """Raises: RefusedFileError at the first thing that is not plain."""
    if not isinstance(document, dict) or not isinstance(document.get("graph_module"), dict):
        raise RefusedFileError("a program without graph_module", _WHAT)
    if document["graph_module"].get("treespec_namedtuple_fields"):
        raise RefusedFileError(
            "a program whose inputs or outputs are named tuples", f"{_WHAT} on tuples, lists or dicts"
        )
    _check(document, "", 0)


def _check(value: object, key: str, depth: int) -> None:
    """`value` below `key`; lists are of their key's kind."""
    if depth > _MOST_DEPTH:
        raise RefusedFileError("a program nested too deeply", f"{_WHAT} nested at most {_MOST_DEPTH} deep")
    if isinstance(value, str):
        _check_text(value, key)
    elif key == "metadata":
        _check_metadata(value)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not (_NAME.match(name) or (key == "range_constraints" and is_size_expression(name))):
                raise RefusedFileError(f"the key {name!r:.80} in a program", f"{_WHAT} with identifiers as keys")
            _check(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, key, depth + 1)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        _check_operator(text)
    elif key in ("expr_str", "guards_code"):
        if not (is_guard if key == "guards_code" else is_size_expression)(text):
            raise RefusedFileError(
                f"the expression {text!r:.80} in a program", f"{_WHAT} with expressions of sizes only"
            )
    elif key in ("in_spec", "out_spec"):
        _check_tree(text)
    elif key not in _FREE_TEXT_KEYS and not (_PATH if key in _PATH_KEYS else _NAME).match(text):
        raise RefusedFileError(f"the {key} {text!r:.80} in a program", f"{_WHAT} with identifiers as names")


def _check_operator(text: str) -> None:
    match = _OPERATORS.fullmatch(text)
    if match is None or match["name"] in _FORBIDDEN_ATEN:
        raise RefusedFileError(f"the operator {text!r:.80}", f"{_WHAT} from ATen, without files and without Python")


def _check_metadata(value: object) -> None:
    """A node's notes: texts under known keys."""
    if (
        not isinstance(value, dict)
        or not value.keys() <= _METADATA_KEYS
        or not all(isinstance(v, str) for v in value.values())
    ):
        raise RefusedFileError(f"the metadata {value!r:.80}", f"{_WHAT} with the metadata that torch.export writes")


def _check_tree(text: str) -> None:
    """A pytree's shape: `[1, {"type": …, "context": …, "children_spec": […]}]`."""
    try:
        version, tree = json.loads(text)
        sound = version == 1 and _is_plain_tree(tree, 0)
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise RefusedFileError(f"the shape {text!r:.80} of inputs or outputs", f"{_WHAT} on tuples, lists or dicts")


def _is_plain_tree(tree: object, depth: int) -> bool:
    if depth > _MOST_DEPTH or not isinstance(tree, dict) or set(tree) != {"type", "context", "children_spec"}:
        return False
    kind, context, children = tree["type"], tree["context"], tree["children_spec"]
    if not isinstance(children, list) or not all(_is_plain_tree(child, depth + 1) for child in children):
        return False
    if kind is None:
        return context is None and not children
    if kind == "builtins.dict":
        keys = json.loads(context) if isinstance(context, str) else None
        return isinstance(keys, list) and all(isinstance(name, str) and bool(_NAME.match(name)) for name in keys)
    return kind in _TREE_TYPES and context == "null"
