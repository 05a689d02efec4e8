"""The printer behind `robspec fmt`: one layout, every comment kept, ASCII but for comments and quoted text.

Statements of a block share one column behind their keywords. A comment stays behind the statement it follows
on a line, and otherwise on a line of its own before the one it precedes. A comment inside a statement of
several lines moves before the statement, except in `classes`, where it stays behind its class.
"""

from __future__ import annotations

from collections.abc import Iterable

from robspec.diagnostics import Source
from robspec.syntax import ast, write

WIDTH = 100
_INDENT = "  "
_COLUMN = {ast.Model: 10, ast.Detector: 10, ast.Privacy: 8, ast.Data: 7, ast.Property: 9}
_BLOCKS = (ast.Model, ast.Detector, ast.Privacy, ast.Data, ast.Property)


def format_file(file: ast.File) -> str:
    """Write a whole specification in its canonical layout.

    Args:
        file: a tree; one that was parsed carries its comments and blank lines along.

    Returns:
        Text that parses to an equal tree and that formatting leaves as it is.
    """
    return _Printer(file).print()


class _Printer:
    """Writes statements in order, letting the comments that were written before each go first."""

    def __init__(self, file: ast.File) -> None:
        self.file = file
        self.source = file.source or Source("")
        self.comments = list(file.comments)
        self.next = 0
        self.lines: list[str] = []
        self.last_line = 0
        self.fresh = True

    def print(self) -> str:
        previous: ast.Statement | None = None
        widths = self.param_widths()
        for statement in self.file.statements:
            block = isinstance(statement, _BLOCKS)
            wide = previous is not None and (block or isinstance(previous, _BLOCKS))
            self.gap(statement, wide=wide)
            if (
                isinstance(statement, ast.Data)
                and statement.ready
                and isinstance(statement.statements[0], ast.Layout)
            ):
                self.simple(statement, f"data {write.ready_made(statement.statements[0])}", "")
            elif isinstance(statement, _BLOCKS):
                self.block(statement)
            else:
                keyword, rest = write.statement(statement)
                if isinstance(statement, ast.Param):
                    name, _, value = rest.partition(" ")
                    rest = f"{name.ljust(widths[id(statement)])} {value}"
                self.simple(statement, f"{keyword} {rest}", "")
            previous = statement
        self.own_lines(None, "")
        return "".join(f"{line}\n" for line in self.lines)

    def param_widths(self) -> dict[int, int]:
        """The column of `=` for each parameter: one for a run of consecutive ones."""
        widths: dict[int, int] = {}
        run: list[ast.Param] = []
        for statement in (*self.file.statements, None):
            if isinstance(statement, ast.Param):
                run.append(statement)
            else:
                width = max((len(p.name.id) for p in run), default=0)
                widths.update((id(p), min(width, 24)) for p in run)
                run = []
        return widths

    def line_of(self, offset: int) -> int:
        return self.source.line(min(offset, len(self.source.text)))

    def emit(self, text: str, start: int, end: int) -> None:
        """Add lines that were written between two offsets."""
        self.lines.append(text)
        self.last_line = self.line_of(end)
        self.fresh = False

    def blank(self, offset: int) -> None:
        """Keep one of the blank lines before an offset."""
        if not self.fresh and self.file.source and self.line_of(offset) > self.last_line + 1:
            self.separate()

    def separate(self) -> None:
        if self.lines and self.lines[-1] != "" and not self.fresh:
            self.lines.append("")

    def gap(self, statement: ast.Statement, *, wide: bool) -> None:
        """Blank lines and comments before a top-level statement; blocks always stand apart."""
        pending = self.pending(statement.span.start)
        if wide:
            self.separate()
        self.comments_on_own_lines(pending, "")
        if not (wide and not pending):
            self.blank(statement.span.start)

    def pending(self, before: int | None) -> list[ast.Comment]:
        """Take the comments that start before an offset, or all that are left."""
        first = self.next
        while self.next < len(self.comments) and (before is None or self.comments[self.next].span.start < before):
            self.next += 1
        return self.comments[first : self.next]

    def own_lines(self, before: int | None, indent: str) -> None:
        self.comments_on_own_lines(self.pending(before), indent)

    def comments_on_own_lines(self, comments: Iterable[ast.Comment], indent: str) -> None:
        for comment in comments:
            self.blank(comment.span.start)
            self.emit(indent + comment.text, comment.span.start, comment.span.end)

    def trailing(self, offset: int) -> str:
        """Take the comment that follows an offset on its line."""
        if self.next < len(self.comments):
            comment = self.comments[self.next]
            between = self.source.text[offset : comment.span.start]
            if comment.span.start >= offset and "\n" not in between:
                self.next += 1
                return f"  {comment.text}"
        return ""

    def simple(self, node: ast.Node, text: str, indent: str) -> None:
        """Write a statement on one line, or broken where it is too long."""
        inside = self.pending(node.span.end)
        self.comments_on_own_lines(inside, indent)
        after = self.trailing(node.span.end)
        lines = _break(indent + text, indent)
        lines[-1] += after
        for line in lines:
            self.emit(line, node.span.start, node.span.end)

    def classes(self, node: ast.Classes, indent: str, column: int) -> None:
        """Write classes one a line, each with the comment behind it."""
        lead = indent + "classes".ljust(column)
        for k, name in enumerate(node.names):
            last = k == len(node.names) - 1
            self.own_lines(name.span.start, indent + " " * column)
            text = lead + write.class_name(name) + ("" if last else ",")
            lead = indent + " " * column
            end = name.span.end if last else self.source.text.index(",", name.span.end) + 1
            between = self.pending(end)
            self.comments_on_own_lines(between, lead)
            self.emit(text + self.trailing(end), name.span.start, end)

    def block(self, node: ast.Block) -> None:
        """Write a block, its statements indented and aligned."""
        word = type(node).__name__.lower()
        name = _name(node)
        open_end = self.opening(node)
        self.own_lines(open_end, "")
        self.emit(f"{word}{name} {{{self.trailing(open_end)}", node.span.start, open_end)
        self.fresh = True
        words = [write.statement(s)[0] for s in node.statements]
        column = max(_COLUMN[type(node)], *(len(w) + 1 for w in words), 0)
        for statement in node.statements:
            inside = isinstance(statement, ast.Classes) and any(
                statement.span.start <= c.span.start < statement.span.end for c in self.comments[self.next :]
            )
            self.own_lines(statement.span.start, _INDENT)
            self.blank(statement.span.start)
            if inside and isinstance(statement, ast.Classes):
                self.classes(statement, _INDENT, column)
                continue
            keyword, rest = write.statement(statement)
            self.simple(statement, keyword.ljust(column) + rest, _INDENT)
        close = node.span.end - 1
        self.own_lines(close, _INDENT)
        self.emit("}" + self.trailing(node.span.end), close, node.span.end)

    def opening(self, node: ast.Block) -> int:
        """The offset behind a block's `{`."""
        if self.file.source is None:
            return node.span.start
        after = node.span.start
        if isinstance(node, ast.Model):
            after = after if node.file is None else node.file.span.end
        elif not isinstance(node, (ast.Detector, ast.Privacy)):
            after = node.name.span.end
        skipped = [c.span for c in self.comments if after <= c.span.start < node.span.end]
        at = after
        while self.source.text[at] != "{":
            inside = next((s for s in skipped if at in s), None)
            at = at + 1 if inside is None else inside.end
        return at + 1


def _name(node: ast.Block) -> str:
    """What stands between a block's keyword and its brace."""
    if isinstance(node, ast.Model):
        return "" if node.file is None else f' "{node.file.text}"'
    return "" if isinstance(node, (ast.Detector, ast.Privacy)) else f" {node.name.id}"


def _break(line: str, indent: str) -> list[str]:
    """Break a long line behind commas, `and` and `or`; within brackets only if it must."""
    if len(line) <= WIDTH:
        return [line]
    room = WIDTH - len(indent) - 2 * len(_INDENT)
    coarse = _pieces(line, deep=False)
    pieces = [p for c in coarse for p in ([c] if len(c) <= room else _pieces(c, deep=True))]
    lines, current = [], pieces[0]
    for piece in pieces[1:]:
        if len(current) + 1 + len(piece) > WIDTH:
            lines.append(current)
            current = indent + _INDENT * 2 + piece
        else:
            current += " " + piece
    return [*lines, current]


def _pieces(line: str, *, deep: bool) -> list[str]:
    """The parts of a line between the blanks at which it may break."""
    pieces, start, depth, quoted = [], 0, 0, False
    for k, c in enumerate(line):
        if c == '"':
            quoted = not quoted
        elif not quoted:
            depth += (c in "([") - (c in ")]")
            comma = line[k - 1] == "," and (deep or depth == 0)
            if c == " " and (comma or line[k - 4 : k] == " and" or line[k - 3 : k] == " or"):
                pieces.append(line[start:k])
                start = k + 1
    return [*pieces, line[start:]]
