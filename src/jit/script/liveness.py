"""Which variables a statement's successors may read: only these are joined after branches and carried by loops."""

import ast
from dataclasses import dataclass, field

from .source import FunctionNode

__all__ = ["Liveness", "assigned_names", "liveness"]

Names = frozenset[str]
_NONE: Names = frozenset()


@dataclass
class Liveness:
    """Names live after each statement, at the head of each loop (before its test or its next item), and where control
    goes by a `break` or `continue` inside a statement."""

    after: dict[ast.stmt, Names] = field(default_factory=dict)
    head: dict[ast.stmt, Names] = field(default_factory=dict)
    leaving: dict[ast.stmt, Names] = field(default_factory=dict)
    final: dict[ast.stmt, Names] = field(default_factory=dict)  # live where the `finally` of a `try` starts
    captured: Names = _NONE


class _Reads(ast.NodeVisitor):
    """Names read and assigned in expressions, nested functions' free names among the reads."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.stored: set[str] = set()
        self.captured: set[str] = set()

    def visit_alias(self, node: ast.alias) -> None:
        self.stored.add(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self.stored.add(node.name)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.stored).add(node.id)

    def _function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        inner = _Reads()
        for part in node.body if isinstance(node.body, list) else [node.body]:
            inner.visit(part)
        self.captured |= inner.read | inner.captured
        self.read |= inner.read | inner.captured
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.stored.add(node.name)
        self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp) -> None:
        inner = _Reads()
        inner.generic_visit(node)
        targets = _Reads()
        for generator in node.generators:
            targets.visit(generator.target)
        self.read |= inner.read
        self.captured |= inner.captured
        self.stored |= inner.stored - targets.stored

    visit_ListComp = visit_GeneratorExp = visit_DictComp = visit_SetComp = _comprehension


def _reads(*nodes: ast.AST | None) -> _Reads:
    visitor = _Reads()
    for node in nodes:
        if node is not None:
            visitor.visit(node)
    return visitor


class _Analysis:
    def __init__(self) -> None:
        self.result = Liveness()

    def block(self, statements: list[ast.stmt], after: Names, on_break: Names, on_continue: Names) -> Names:
        """Names live before the statements."""
        live = after
        for statement in reversed(statements):
            # Where a statement may leave the loop, what is live there matters at its end too.
            leaves = any(isinstance(n, (ast.Break, ast.Continue)) for n in ast.walk(statement))
            self.result.after[statement] = live
            if leaves:
                self.result.leaving[statement] = on_break | on_continue
            live = self.statement(statement, live, on_break, on_continue)
        return live

    def statement(self, node: ast.stmt, after: Names, on_break: Names, on_continue: Names) -> Names:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                live = self.block(body, after, on_break, on_continue)
                live |= self.block(orelse, after, on_break, on_continue)
                return live | _reads(test).read
            case ast.While(test=test, body=body, orelse=orelse):
                return self.loop(node, body, orelse, after, on_break, on_continue, _reads(test).read, set())
            case ast.For(target=target, iter=iterable, body=body, orelse=orelse):
                stored = _reads(target)
                live = self.loop(node, body, orelse, after, on_break, on_continue, stored.read, stored.stored)
                return live | _reads(iterable).read
            case ast.Return(value=value):
                return frozenset(_reads(value).read)
            case ast.Raise(exc=exc, cause=cause):
                return frozenset(_reads(exc, cause).read)
            case ast.Break():
                return on_break
            case ast.Continue():
                return on_continue
            case ast.With(items=items, body=body):
                reads = _reads(*(i.context_expr for i in items))
                live = self.block(body, after, on_break, on_continue)
                # An exception may leave the body from anywhere, and the manager may end it.
                self.stay_live(body, after)
                self.result.head[node] = after
                return live | after | reads.read
            case ast.Try():
                return self.try_statement(node, after, on_break, on_continue)
            case ast.AugAssign(target=target, value=value):
                reads = _reads(target, value)
                return after | reads.read | reads.stored
        reads = _reads(node)
        # A walrus may sit behind a short-circuit: only plain targets surely overwrite.
        sure: set[str] = set()
        if isinstance(node, ast.Assign):
            sure = _reads(*node.targets).stored
        elif isinstance(node, (ast.AnnAssign, ast.Delete, ast.FunctionDef, ast.Import, ast.ImportFrom)):
            sure = reads.stored
        return (after - sure) | reads.read

    def stay_live(self, body: list[ast.stmt], names: Names) -> None:
        """Names that are live all through a body, since it may be left from anywhere."""
        for statement in body:
            for inner in ast.walk(statement):
                if isinstance(inner, ast.stmt) and inner in self.result.after:
                    self.result.after[inner] |= names
                    if inner in self.result.head:
                        self.result.head[inner] |= names

    def try_statement(self, node: ast.Try, after: Names, on_break: Names, on_continue: Names) -> Names:
        """An exception may leave from anywhere, so what handlers and `finally` read is live all through."""
        if node.finalbody:
            # What `return` and exceptions that go on need is not in the function's variables.
            after = self.block(node.finalbody, after | on_break | on_continue, on_break, on_continue)
            self.result.final[node] = after
            on_break, on_continue = on_break | after, on_continue | after
        handlers: Names = after
        for handler in node.handlers:
            handlers |= self.block(handler.body, after, on_break, on_continue) | _reads(handler.type).read
        orelse = self.block(node.orelse, after, on_break, on_continue)
        body = self.block(node.body, orelse | handlers, on_break | handlers, on_continue | handlers)
        self.stay_live(node.body, handlers)
        if node.finalbody:  # it is reached from everywhere
            for part in (*(h.body for h in node.handlers), node.orelse):
                self.stay_live(part, after)
        self.result.head[node] = orelse | handlers
        return body | handlers

    def loop(
        self,
        node: ast.stmt,
        body: list[ast.stmt],
        orelse: list[ast.stmt],
        after: Names,
        on_break: Names,
        on_continue: Names,
        test: set[str],
        target: set[str],
    ) -> Names:
        end = self.block(orelse, after, on_break, on_continue)
        # A for loop that runs no further iteration leaves its target as it was, so the target stays live at the head.
        head: Names = end | test
        while True:
            before = self.block(body, head, after, head)
            new = head | (before - target)
            if new == head:
                break
            head = new
        self.result.head[node] = head | after
        return head


def liveness(node: FunctionNode) -> Liveness:
    """Liveness of every statement of a function."""
    analysis = _Analysis()
    if not isinstance(node, ast.Lambda):
        analysis.block(node.body, _NONE, _NONE, _NONE)
    body = node.body if isinstance(node.body, list) else [node.body]
    analysis.result.captured = frozenset(_reads(*body).captured)
    return analysis.result


def assigned_names(nodes: list[ast.stmt]) -> tuple[set[str], set[str]]:
    """Names that statements may bind: all of them, and those bound only by augmented assignment."""
    reads = _Reads()
    augmented = set()
    plain: set[str] = set()
    for node in nodes:
        reads.visit(node)
        for child in ast.walk(node):
            if isinstance(child, ast.AugAssign) and isinstance(child.target, ast.Name):
                augmented.add(child.target.id)
            elif isinstance(child, ast.Assign):
                plain |= _reads(*child.targets).stored
            elif isinstance(child, (ast.AnnAssign, ast.For, ast.NamedExpr)):
                plain |= _reads(child.target).stored
    return reads.stored, augmented - plain
