"""From text to the abstract syntax tree, going on behind every statement that cannot be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from robspec.diagnostics import Diagnostic, Severity, Source, Span, nearest
from robspec.syntax import expected
from robspec.syntax.ast import File
from robspec.syntax.tokens import END, MAX_TOKENS, NEWLINE, grammar, span_of, tokenise

if TYPE_CHECKING:
    from lark import Token
    from lark.parsers.lalr_interactive_parser import InteractiveParser

MAX_DEPTH = 40
MAX_ERRORS = 20
MAX_DIGITS = 60
MAX_EXPONENT = 300
_BLOCKS = {"MODEL": "model", "DETECTOR": "detector", "PRIVACY": "privacy", "DATA": "data", "PROPERTY": "property"}
_OPEN = {"LPAR", "LSQB", "LCURLY"}
_CLOSE = {"RPAR", "RSQB", "RCURLY"}
_BRACES = {"LBRACE", "LCURLY"}
_CARRY_ON = {"COMMA", "AND", "OR"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What could be read of a text.

    Args:
        file: the statements that could be read; all of them when there is no diagnostic.
        diagnostics: the syntax errors, one for each statement that was skipped.
    """

    file: File
    diagnostics: tuple[Diagnostic, ...]


@lru_cache(maxsize=1)
def _starts() -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """The terminals that start a statement at top level, and in each kind of block, read off the grammar."""
    from lark import Token

    top = _accepts(grammar().parse_interactive()) - {END}
    inside = {}
    for terminal, kind in _BLOCKS.items():
        parser = grammar().parse_interactive()
        for name in _header(terminal):
            parser.feed_token(Token(name, ""))
        inside[kind] = _accepts(parser) - {"RBRACE"}
    return top, inside


def _accepts(parser: InteractiveParser) -> frozenset[str]:
    return frozenset(parser.accepts())  # type: ignore[no-untyped-call]


def accepted(block: str, statement: list[Token]) -> frozenset[str]:
    """Say which terminals can go on a statement.

    Args:
        block: "model", "data" or "property"; empty at top level.
        statement: its tokens so far; none where a statement starts.

    Returns:
        Names of terminals; none behind a mistake.
    """
    from lark import Token, UnexpectedToken

    parser = grammar().parse_interactive()
    try:
        for terminal, kind in _BLOCKS.items():
            if kind == block:
                for name in _header(terminal):
                    parser.feed_token(Token(name, ""))
        for token in statement:
            parser.feed_token(token)
    except UnexpectedToken:
        return frozenset()
    return _accepts(parser) - {END}


def _copy(parser: InteractiveParser) -> InteractiveParser:
    copied: InteractiveParser = parser.copy(deepcopy_values=False)  # type: ignore[no-untyped-call]
    return copied


def _header(terminal: str) -> tuple[str, ...]:
    return (terminal, "LBRACE") if terminal in ("MODEL", "DETECTOR", "PRIVACY") else (terminal, "NAME", "LBRACE")


def parse(source: Source) -> Parsed:
    """Read a specification, reporting every syntax error once.

    Args:
        source: the text.

    Returns:
        The tree of all statements that could be read, and the errors of the others.
    """
    return _Run(source).run()


class _Run:
    """One pass over the tokens; `mark` is the parser as it was before the current statement."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens, self.comments = tokenise(source)
        self.parser: InteractiveParser = grammar().parse_interactive()
        self.top, self.inside = _starts()
        self.keywords = self.top.union(*self.inside.values())
        self.errors: list[Diagnostic] = []
        self.damage: list[int] = []
        self.at = 0
        self.last = NEWLINE
        self.depth = 0
        self.block: Token | None = None
        self.begin(None)

    def begin(self, first: Token | None) -> None:
        self.mark = _copy(self.parser)
        self.first = first
        self.start = self.at
        self.fed: list[Token] = []
        self.depth = 0

    def run(self) -> Parsed:
        if len(self.tokens) > MAX_TOKENS or len(self.comments) > MAX_TOKENS:
            self.report(self.too_long())
            return self.result(())
        while self.at < len(self.tokens) and len(self.errors) < MAX_ERRORS:
            self.step(self.tokens[self.at])
        if len(self.errors) >= MAX_ERRORS:
            self.report(self.too_many())
            return self.result(())
        self.finish()
        tree = self.parser.feed_token(self.token(END, ""))
        from robspec.syntax.build import build

        return self.result(build(tree.children[0]))

    def result(self, statements: tuple[object, ...]) -> Parsed:
        whole = Span(0, len(self.source.text))
        file = File(statements, self.comments, self.source, tuple(self.damage), span=whole)  # type: ignore[arg-type]
        return Parsed(file, tuple(self.errors))

    def step(self, token: Token) -> None:
        """Take one token, or decide that a newline does not end anything."""
        if token.type == NEWLINE and self.continues():
            self.at += 1
            return
        if token.type == "RBRACE" and self.last not in (NEWLINE, "LBRACE"):
            self.feed(self.token(NEWLINE, "", token))
            return
        if self.last in (NEWLINE, "LBRACE"):
            self.begin(token)
        self.at += 1
        self.feed(self.checked(token))

    def finish(self) -> None:
        """Supply what the end of the file leaves out."""
        if self.last not in (NEWLINE, "LBRACE"):
            self.feed(self.token(NEWLINE, ""))
        if self.block is not None:
            end = len(self.source.text)
            self.close(Span(end, end))

    def continues(self) -> bool:
        """Whether the newline at hand stands where no statement can end."""
        if self.last in (NEWLINE, "LBRACE"):
            return True
        following = self.following(self.at)
        if following == "LBRACE":
            return self.first is not None and self.first.type in _BLOCKS
        if following in self.keywords or following in ("RBRACE", END):
            return False
        return self.depth > 0 or self.last in _CARRY_ON

    def following(self, at: int) -> str:
        """The type of the first token at or behind a place that is no newline."""
        while at < len(self.tokens) and self.tokens[at].type == NEWLINE:
            at += 1
        return self.tokens[at].type if at < len(self.tokens) else END

    def checked(self, token: Token) -> Token:
        """Refuse a literal whose exact value would be too large to compute with."""
        if token.type != "NUMBER":
            return token
        exponent = re.search(r"[eE][+-]?0*(\d+)$", token)
        if len(token) <= MAX_DIGITS and (exponent is None or int(exponent[1]) <= MAX_EXPONENT):
            return token
        message = f"a number of more than {MAX_DIGITS} characters, or beyond 1e{MAX_EXPONENT}"
        self.report(Diagnostic("E0005", Severity.ERROR, span_of(token), message, "write a number of usual size"))
        return self.token("NUMBER", "1", token)

    def feed(self, token: Token) -> None:
        """Give one token to the parser; behind an error, go on at the next statement."""
        from lark import UnexpectedToken

        if self.depth >= MAX_DEPTH and token.type in _OPEN:
            message = f"brackets nested more than {MAX_DEPTH} deep"
            mend = "split it, with a `param` for each part"
            self.report(Diagnostic("E0003", Severity.ERROR, span_of(token), message, mend))
            self.skip()
            return
        try:
            self.parser.feed_token(token)
        except UnexpectedToken:
            self.recover(token)
            return
        self.fed.append(token)
        self.depth += (token.type in _OPEN) - (token.type in _CLOSE)
        if token.type == "LBRACE":
            self.block = self.first
        elif token.type == "RBRACE":
            self.block = None
            token = self.token(NEWLINE, "", token)
            self.parser.feed_token(token)
        self.last = token.type

    def recover(self, token: Token) -> None:
        """Report the token and find the place to go on from."""
        if self.block is not None and not self.fed and token.type in _BLOCKS:
            self.parser = self.mark
            self.at = self.start
            self.close(span_of(token))
            return
        before = _copy(self.mark)
        earlier: frozenset[str] = frozenset()
        for fed in self.fed:
            if fed is self.fed[-1]:
                earlier = _accepts(before)
            before.feed_token(fed)
        first = self.first if self.first is not None and self.fed else token
        place = expected.Place(first, tuple(self.fed), _accepts(before), earlier, self.block is None)
        self.report(expected.explain(token, place, self.inside))
        if token.type == NEWLINE and not self.reopen():
            self.resume()
        elif token.type != NEWLINE:
            self.skip()

    def resume(self) -> None:
        """Go back to the state before the statement, as if it were not there."""
        self.parser = self.mark
        self.last = NEWLINE
        self.depth = 0

    def skip(self) -> None:
        """Leave out the rest of the statement, and the block it opens unless its kind can be told."""
        if self.reopen():
            return
        self.at -= 1
        braces, nested, last = 0, False, ""
        while self.at < len(self.tokens):
            kind = self.tokens[self.at].type
            if kind == NEWLINE:
                nested = braces > 0 and (nested or last in _BRACES)
                if not nested or self.following(self.at) in _BLOCKS:
                    break
            if kind == "RBRACE" and braces == 0 and self.block is not None:
                break
            braces += (kind in _BRACES) - (kind in ("RBRACE", "RCURLY"))
            last = kind
            self.at += 1
        self.resume()

    def reopen(self) -> bool:
        """Behind a broken header, open the block all the same, so that its statements are read."""
        if self.block is not None or self.first is None:
            return False
        terminal = self.kind(self.first)
        if terminal is None:
            return False
        at = self.start
        while at < len(self.tokens) and self.tokens[at].type not in (NEWLINE, "LBRACE"):
            at += 1
        if at >= len(self.tokens):
            return False
        headless = self.tokens[at].type == NEWLINE
        if headless and self.following(at) not in self.inside[_BLOCKS[terminal]]:
            return False
        self.parser = self.mark
        for name in _header(terminal):
            self.parser.feed_token(self.token(name, _BLOCKS.get(name, ""), self.first))
        self.block = self.token(terminal, _BLOCKS[terminal], self.first)
        self.last = "LBRACE"
        self.at = at + 1
        return True

    def kind(self, first: Token) -> str | None:
        """The block a header means, its keyword perhaps mistyped."""
        if first.type in _BLOCKS:
            return first.type
        near = nearest(first, _BLOCKS.values()) if first.type == "NAME" else None
        return next((t for t, kind in _BLOCKS.items() if kind == near), None)

    def close(self, at: Span) -> None:
        """Close the open block on the user's behalf."""
        if self.block is None:
            return
        self.report(expected.unclosed(self.block, at, self.source.line(span_of(self.block).start)))
        self.parser.feed_token(self.token("RBRACE", "}"))
        self.parser.feed_token(self.token(NEWLINE, ""))
        self.block = None
        self.last = NEWLINE

    def report(self, diagnostic: Diagnostic) -> None:
        self.errors.append(diagnostic)
        self.damage.append(diagnostic.span.start)

    def too_many(self) -> Diagnostic:
        span = self.errors[-1].span
        message = f"more than {MAX_ERRORS} syntax errors; the rest of the file was not read"
        return Diagnostic("E0006", Severity.ERROR, span, message, "mend these first; is it a .rspec file?")

    def too_long(self) -> Diagnostic:
        span = span_of(self.tokens[-1]) if self.tokens else self.comments[-1].span
        message = f"more than {MAX_TOKENS} words and signs; the file was not read"
        return Diagnostic("E0007", Severity.ERROR, span, message, "is it a .rspec file?")

    def token(self, kind: str, text: str, at: Token | None = None) -> Token:
        """A token the text does not hold, placed before another one or at the end."""
        from lark import Token

        if at is None:
            end = len(self.source.text)
            return Token(kind, text, end, end_pos=end)
        position = span_of(at).start
        return Token(kind, text, position, end_pos=position + len(text))
