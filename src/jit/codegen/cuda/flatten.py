"""Kernels without calls of their own functions: device functions are written out where they are called.

Numba compiles a device function for the GPU of the process, even where only PTX is asked for; a kernel that calls none
compiles to PTX on a machine that has no GPU. Device functions are straight-line code, branches and loops with one
`return` at the end, and pure: so a call may be computed before the statement that it is part of. Steps of ranges are
positive.
"""

import ast
import copy
from collections.abc import Sequence

__all__ = ["flatten"]


def flatten(source: str, entry: str) -> str:
    """The module with only its kernel `entry` left, in which all functions of the module are written out.

    >>> print(flatten("def twice(x):\\n    return x + x\\ndef k(y):\\n    y[0] = twice(y[1])", "k"))
    def k(y):
        x_1 = y[1]
        twice_2 = x_1 + x_1
        y[0] = twice_2
    """
    module = ast.parse(source)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    kernel = functions.pop(entry)
    flat = _Flattener(functions).kernel(kernel)
    rest = [node for node in module.body if not isinstance(node, ast.FunctionDef)]
    return ast.unparse(ast.fix_missing_locations(ast.Module([*rest, flat], [])))


class _Rename(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = copy.deepcopy(self.names.get(node.id, node))
        if isinstance(found, ast.Name):
            found.ctx = node.ctx
        return found


class _Flattener:
    def __init__(self, functions: dict[str, ast.FunctionDef]) -> None:
        self.functions = functions
        self.count = 0

    def kernel(self, kernel: ast.FunctionDef) -> ast.FunctionDef:
        flat = copy.deepcopy(kernel)
        flat.decorator_list = []
        flat.body = self.statements(flat.body)
        return flat

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def statements(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        flat: list[ast.stmt] = []
        for statement in body:
            for field in ("body", "orelse"):
                if hasattr(statement, field):
                    setattr(statement, field, self.statements(getattr(statement, field)))
            if isinstance(statement, ast.While) and self.calls(statement.test):
                raise ValueError(f"the condition of a loop calls a device function: {ast.unparse(statement.test)}")
            statement = _Hoist(self, flat).statement(statement)
            flat.extend(self.strided(statement) or [statement])
        return [s for s in flat if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]

    def strided(self, statement: ast.stmt) -> list[ast.stmt] | None:
        """A loop with a step as `while`: for a range Numba divides to know how often it goes around."""
        if not (isinstance(statement, ast.For) and isinstance(statement.iter, ast.Call)):
            return None
        if len(statement.iter.args) != 3:
            return None
        start, stop, step = statement.iter.args
        assert isinstance(statement.target, ast.Name)
        limit, by = self.fresh("limit"), self.fresh("step")
        counter = statement.target.id
        advance = ast.AugAssign(ast.Name(counter, ast.Store()), ast.Add(), ast.Name(by, ast.Load()))
        condition = ast.Compare(ast.Name(counter, ast.Load()), [ast.Lt()], [ast.Name(limit, ast.Load())])
        return [
            ast.Assign([ast.Name(limit, ast.Store())], stop),
            ast.Assign([ast.Name(by, ast.Store())], step),
            ast.Assign([ast.Name(counter, ast.Store())], start),
            ast.While(condition, [*statement.body, advance], []),
        ]

    def calls(self, node: ast.AST) -> bool:
        return any(
            isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in self.functions
            for n in ast.walk(node)
        )

    def inline(self, function: ast.FunctionDef, arguments: Sequence[ast.expr], out: list[ast.stmt]) -> ast.expr:
        """Write out a call, and give its result."""
        assigned = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        names: dict[str, ast.expr] = {}
        for parameter, argument in zip(function.args.args, arguments, strict=True):
            if parameter.arg in assigned or not isinstance(argument, (ast.Name, ast.Constant)):
                name = self.fresh(parameter.arg)
                out.append(ast.Assign([ast.Name(name, ast.Store())], argument))
                names[parameter.arg] = ast.Name(name, ast.Load())
            else:
                names[parameter.arg] = argument
        for name in sorted(assigned - names.keys()):
            names[name] = ast.Name(self.fresh(name), ast.Load())
        body = [_Rename(names).visit(copy.deepcopy(s)) for s in function.body]
        *before, last = body
        if not isinstance(last, ast.Return):
            out.extend(self.statements(body))
            return ast.Constant(None)
        if any(isinstance(n, ast.Return) for s in before for n in ast.walk(s)):
            raise ValueError(f"the device function {function.name} returns from the middle")
        assert last.value is not None
        result = self.fresh(function.name)
        out.extend(self.statements([*before, ast.Assign([ast.Name(result, ast.Store())], last.value)]))
        return ast.Name(result, ast.Load())


class _Hoist(ast.NodeTransformer):
    """Replaces the calls in a statement by their results, innermost first; bodies are left alone."""

    def __init__(self, flattener: _Flattener, out: list[ast.stmt]) -> None:
        self.flattener = flattener
        self.out = out

    def statement(self, statement: ast.stmt) -> ast.stmt:
        for field, value in ast.iter_fields(statement):
            if isinstance(value, ast.expr):
                setattr(statement, field, self.visit(value))
            elif field in ("targets", "items"):
                setattr(statement, field, [self.visit(v) for v in value])
        return statement

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and (function := self.flattener.functions.get(node.func.id)) is not None:
            return self.flattener.inline(function, node.args, self.out)
        return node
