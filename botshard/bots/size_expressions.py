"""The two small languages in an exported program that loading it evaluates as Python.

A size expression such as `Add(Mul(Integer(5), Symbol('s17', positive=True, integer=True)), Integer(1))` goes through
`sympy.sympify`, a guard such as `L['x'].size()[0] == 3` into a generated function. Both are parsed, never evaluated,
and every node of the tree has to be of the few kinds that such expressions need.
"""

from __future__ import annotations

import ast
import re

__all__ = ["is_guard", "is_size_expression"]

_MOST_CHARS = 20_000
_MOST_DIGITS = 20
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SYMBOL = re.compile(r"(?:s|u|z|zf|zuf)[0-9]{1,9}\Z")
_FUNCTIONS = frozenset(
    """Symbol Integer Float Rational Add Mul Pow Max Min Mod Abs Eq Ne Lt Le Gt Ge And Or Not
    Equality Unequality LessThan StrictLessThan GreaterThan StrictGreaterThan
    FloorDiv ModularIndexing Where PythonMod CleanDiv CeilToInt FloorToInt CeilDiv IntTrueDiv FloatTrueDiv
    TruncToInt TruncToFloat RoundToInt RoundDecimal ToFloat Identity""".split()  # noqa: SIM905 - one name a line would be a page
)
_CONSTANTS = frozenset({"true", "false", "oo", "int_oo", "inf"})
_ASSUMPTIONS = frozenset({"integer", "positive", "nonnegative", "real", "negative", "nonzero", "zero", "finite"})
_SIZE_METHODS = frozenset({"size", "stride", "storage_offset", "dim", "numel"})
_OPERATIONS = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Load,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip
"""No power operator: `9**9**9` is a bomb; sizes are raised with `Pow(symbol, 2)`, checked below."""
_GREATEST_EXPONENT = 8


def is_size_expression(text: str, /) -> bool:
    """Is `text` made of symbols, numbers and the functions that torch writes for sizes?"""
    tree = _parse(text)
    return tree is not None and all(_is_size_node(node) for node in ast.walk(tree))


def is_guard(text: str, /) -> bool:
    """Is `text` a comparison of sizes of inputs, as in `L['x'].size()[0] == 3`?"""
    tree = _parse(text)
    return tree is not None and all(_is_guard_node(node) for node in ast.walk(tree))


def _parse(text: str) -> ast.Expression | None:
    if len(text) > _MOST_CHARS or "#" in text or not text.isascii() or not text.isprintable():
        return None
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_size_node(node: ast.AST) -> bool:  # noqa: PLR0911 - one kind of node, one answer
    match node:
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)], keywords=keywords):
            return bool(_SYMBOL.match(name)) and all(_is_assumption(keyword) for keyword in keywords)
        case ast.Call(func=ast.Name(id="Pow"), args=[_, exponent], keywords=[]):
            return _is_small(exponent)
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _FUNCTIONS - {"Symbol", "Pow"}
        case ast.Name(id=name):
            return name in _FUNCTIONS or name in _CONSTANTS or bool(_SYMBOL.match(name))
        case ast.Constant(value=str() as name):
            return bool(_SYMBOL.match(name))
        case ast.keyword():
            return _is_assumption(node)
        case _:
            return isinstance(node, _OPERATIONS) or _is_number(node)


def _is_guard_node(node: ast.AST) -> bool:  # noqa: PLR0911 - one kind of node, one answer
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=[], keywords=[]):
            return name in _SIZE_METHODS
        case ast.Call(func=ast.Name(id=name), keywords=[]):
            return name in _FUNCTIONS - {"Symbol", "Pow"}
        case ast.Attribute(attr=name):
            return name in _SIZE_METHODS
        case ast.Name(id=name):
            return name == "L" or name in _FUNCTIONS
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return bool(_IDENTIFIER.match(name))
        case ast.Subscript(slice=ast.Constant(value=int())):
            return True
        case ast.Constant(value=str() as name):
            return bool(_IDENTIFIER.match(name))
        case _:
            return isinstance(node, _OPERATIONS) or _is_number(node)


def _is_assumption(keyword: ast.keyword) -> bool:
    return (
        keyword.arg in _ASSUMPTIONS and isinstance(keyword.value, ast.Constant) and keyword.value.value in (True, False)
    )


def _is_number(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, bool | int | float)
        and len(str(node.value)) < _MOST_DIGITS
    )


def _is_small(node: ast.AST) -> bool:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Integer"
        and len(node.args) == 1
    ):
        node = node.args[0]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and 0 <= node.value <= _GREATEST_EXPONENT
