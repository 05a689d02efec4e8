"""The language server on pygls: messages in, answers of the front end out."""

from __future__ import annotations

from collections import OrderedDict
from urllib.parse import unquote, urlparse

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from robspec import __version__
from robspec.diagnostics import Diagnostic, Severity, Span
from robspec.lsp import actions, completion, highlight, hover, names
from robspec.lsp.document import Document
from robspec.syntax import ast, format_file
from robspec.syntax.tokens import is_plain_name

_KEPT = 16
_KINDS = {
    "word": types.CompletionItemKind.Keyword,
    "param": types.CompletionItemKind.Variable,
    "metric": types.CompletionItemKind.Function,
    "class": types.CompletionItemKind.EnumMember,
    "norm": types.CompletionItemKind.Constant,
}
_OUTLINE = {
    "param": types.SymbolKind.Variable,
    "metric": types.SymbolKind.Function,
    "property": types.SymbolKind.Property,
    "data": types.SymbolKind.Namespace,
}

server = LanguageServer("robspec", __version__)
_documents: OrderedDict[str, Document] = OrderedDict()


def document(uri: str) -> Document:
    """The text of an open file, analysed once for as long as it does not change."""
    text = server.workspace.get_text_document(uri).source
    known = _documents.get(uri)
    if known is None or known.text != text or known.too_large:
        known = Document(text, unquote(urlparse(uri).path) or uri)
        _documents[uri] = known
    _documents.move_to_end(uri)
    while len(_documents) > _KEPT:
        _documents.popitem(last=False)
    return known


def _range(found: Document, span: Span) -> types.Range:
    start, end = found.place(span.start), found.place(span.end)
    return types.Range(types.Position(*start), types.Position(*end))


def _offset(found: Document, position: types.Position) -> int:
    return found.offset((position.line, position.character))


def _complaint(found: Document, one: Diagnostic) -> types.Diagnostic:
    parts = [one.message, *one.notes, *([one.mend] if one.mend else [])]
    error = one.severity is Severity.ERROR
    return types.Diagnostic(
        range=_range(found, one.span),
        message="\n".join(parts),
        severity=types.DiagnosticSeverity.Error if error else types.DiagnosticSeverity.Warning,
        code=one.code,
        source="robspec",
    )


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
@server.feature(types.TEXT_DOCUMENT_DID_SAVE)
def complain(
    ls: LanguageServer,
    params: types.DidOpenTextDocumentParams | types.DidChangeTextDocumentParams | types.DidSaveTextDocumentParams,
) -> None:
    """Say what is wrong or doubtful, whenever the text changes."""
    uri = params.text_document.uri
    found = document(uri)
    ls.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(
            uri=uri,
            diagnostics=[_complaint(found, d) for d in found.compiled[1]],
            version=server.workspace.get_text_document(uri).version,
        )
    )


@server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
def forget(ls: LanguageServer, params: types.DidCloseTextDocumentParams) -> None:
    """Forget a file, and what was complained of in it."""
    _documents.pop(params.text_document.uri, None)
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=params.text_document.uri, diagnostics=[]))


@server.feature(types.TEXT_DOCUMENT_HOVER)
def explain(params: types.HoverParams) -> types.Hover | None:
    """Explain the word under the pointer."""
    found = document(params.text_document.uri)
    said = hover.hover(found, _offset(found, params.position))
    if said is None:
        return None
    content = types.MarkupContent(types.MarkupKind.Markdown, said[0])
    return types.Hover(content, _range(found, said[1]))


@server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["[", " ", "("]))
def complete(params: types.CompletionParams) -> list[types.CompletionItem]:
    """List what can be written."""
    found = document(params.text_document.uri)
    return [
        types.CompletionItem(
            label=s.text, kind=_KINDS[s.kind], detail=s.detail, documentation=s.more or None, sort_text=f"{k:04d}"
        )
        for k, s in enumerate(completion.complete(found, _offset(found, params.position)))
    ]


@server.feature(types.TEXT_DOCUMENT_DEFINITION)
def define(params: types.DefinitionParams) -> types.Location | None:
    """Go to where a name is declared."""
    found = document(params.text_document.uri)
    named = names.at(found, _offset(found, params.position))
    declared = None if named is None else names.declaration(found, named.symbol)
    return None if declared is None else types.Location(params.text_document.uri, _range(found, declared.span))


@server.feature(types.TEXT_DOCUMENT_REFERENCES)
def refer(params: types.ReferenceParams) -> list[types.Location]:
    """List every place that means the same."""
    found = document(params.text_document.uri)
    named = names.at(found, _offset(found, params.position))
    if named is None:
        return []
    wanted = names.places(found, named.symbol)
    return [
        types.Location(params.text_document.uri, _range(found, o.span))
        for o in wanted
        if params.context.include_declaration or not o.declares
    ]


@server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
def prepare(params: types.PrepareRenameParams) -> types.Range | None:
    """Say whether the name under the pointer can be changed."""
    found = document(params.text_document.uri)
    named = names.at(found, _offset(found, params.position))
    renamed = named is not None and names.declaration(found, named.symbol) is not None
    return _range(found, named.span) if named is not None and renamed else None


@server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
def rename(params: types.RenameParams) -> types.WorkspaceEdit | None:
    """Change a name everywhere; nothing where the new one cannot be written or means something already."""
    found = document(params.text_document.uri)
    named = names.at(found, _offset(found, params.position))
    if named is None or names.declaration(found, named.symbol) is None:
        return None
    text, symbol = params.new_name, named.symbol
    if symbol.kind == "class" and not is_plain_name(text):
        text = f'"{text}"' if '"' not in text and text.isprintable() else ""
    taken = {o.symbol.name for o in names.occurrences(found)}
    if not text or params.new_name in taken or (symbol.kind != "class" and not is_plain_name(text)):
        return None
    edits = [types.TextEdit(_range(found, o.span), text) for o in names.places(found, symbol)]
    return types.WorkspaceEdit(changes={params.text_document.uri: edits})


@server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
def outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    """List params, metrics, data sets and properties."""
    found = document(params.text_document.uri)
    listed = []
    for node in found.parsed.file.statements:
        if isinstance(node, ast.Param | ast.Definition | ast.Property | ast.Data):
            kind = type(node).__name__.lower().replace("definition", "metric")
            whole, name = _range(found, node.span), _range(found, node.name.span)
            listed.append(types.DocumentSymbol(node.name.id, _OUTLINE[kind], whole, name))
    return listed


@server.feature(types.TEXT_DOCUMENT_FORMATTING)
def layout(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    """Bring the text into its one layout; nothing while it has syntax errors."""
    found = document(params.text_document.uri)
    if found.too_large or found.parsed.diagnostics:
        return None
    text = format_file(found.parsed.file)
    return [] if text == found.text else [types.TextEdit(_range(found, Span(0, len(found.text))), text)]


@server.feature(types.TEXT_DOCUMENT_CODE_ACTION)
def repair(params: types.CodeActionParams) -> list[types.CodeAction]:
    """Offer the mends that compile."""
    found = document(params.text_document.uri)
    wanted = Span(_offset(found, params.range.start), _offset(found, params.range.end))
    return [
        types.CodeAction(
            title=r.title,
            kind=types.CodeActionKind.QuickFix,
            diagnostics=[_complaint(found, r.diagnostic)],
            edit=types.WorkspaceEdit(
                changes={params.text_document.uri: [types.TextEdit(_range(found, r.span), r.text)]}
            ),
        )
        for r in actions.repairs(found, wanted)
    ]


@server.feature(
    types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
    types.SemanticTokensLegend(token_types=highlight.TYPES, token_modifiers=[]),
)
def mark(params: types.SemanticTokensParams) -> types.SemanticTokens:
    """Say what each word is."""
    return types.SemanticTokens(highlight.encode(document(params.text_document.uri)))
