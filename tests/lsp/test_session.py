"""An editing session with the real server, driven by a real client over its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from lsprotocol import types
from pygls.lsp.client import LanguageClient

URI = "file:///project/model.rspec"
TEXT = """language 1
param budget_size = 8/255  # 😀 grey levels
model {
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes road, "no road"
}
data val {
  images "i/*.png"
  masks "m/*.png"
}
metric missed(k) lower_is_better = FN[k] / (TP[k] + FN[k])
property kept {
  metric missed[road]
  norm l2
  budget budget_size
  require worst_case <= 0.5 for all images
}
"""


def session(text: str, work: Callable[[LanguageClient, list[types.Diagnostic]], Awaitable[Any]]) -> Any:
    """Open a text in a server of its own, and do something there."""

    async def run() -> Any:
        client = LanguageClient("tests", "1")
        told: asyncio.Queue[list[types.Diagnostic]] = asyncio.Queue()

        @client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def listen(params: types.PublishDiagnosticsParams) -> None:
            told.put_nowait(list(params.diagnostics))

        await client.start_io(sys.executable, "-m", "robspec", "lsp")
        try:
            await client.initialize_async(types.InitializeParams(capabilities=types.ClientCapabilities()))
            client.initialized(types.InitializedParams())
            item = types.TextDocumentItem(URI, "rspec", 1, text)
            client.text_document_did_open(types.DidOpenTextDocumentParams(item))
            first = await asyncio.wait_for(told.get(), 120)
            return await work(client, first)
        finally:
            await client.shutdown_async(None)
            client.exit(None)
            await client.stop()

    return asyncio.run(run())


def where(word: str, nth: int = 0, text: str = TEXT) -> types.Position:
    """The position of a word, in UTF-16 code units."""
    offset = -1
    for _ in range(nth + 1):
        offset = text.index(word, offset + 1)
    line = text.count("\n", 0, offset)
    before = text[text.rfind("\n", 0, offset) + 1 : offset]
    return types.Position(line, len(before.encode("utf-16-le")) // 2)


def test_a_session() -> None:
    identifier = types.TextDocumentIdentifier(URI)

    async def work(client: LanguageClient, first: list[types.Diagnostic]) -> None:
        said = await client.text_document_hover_async(types.HoverParams(identifier, where("missed", 1)))
        assert said is not None
        assert "metric missed(k) lower_is_better" in str(said.contents)
        said = await client.text_document_hover_async(types.HoverParams(identifier, where("budget_size", 1)))
        assert "8 grey levels" in str(said and said.contents)
        found = await client.text_document_definition_async(
            types.DefinitionParams(identifier, where("budget_size", 1))
        )
        assert isinstance(found, types.Location)
        assert found.range.start == where("budget_size")
        places = await client.text_document_references_async(
            types.ReferenceParams(types.ReferenceContext(True), identifier, where("road"))
        )
        assert [p.range.start for p in places or []] == [where("road"), where("road]", 0)]
        changed = await client.text_document_rename_async(types.RenameParams(identifier, where("missed"), "lost"))
        assert changed is not None
        assert changed.changes is not None
        assert [e.new_text for e in changed.changes[URI]] == ["lost", "lost"]
        listed = await client.text_document_document_symbol_async(types.DocumentSymbolParams(identifier))
        assert [s.name for s in listed or []] == ["budget_size", "val", "missed", "kept"]
        marks = await client.text_document_semantic_tokens_full_async(types.SemanticTokensParams(identifier))
        assert marks is not None
        assert len(marks.data) % 5 == 0
        options = types.FormattingOptions(2, True)
        edits = await client.text_document_formatting_async(types.DocumentFormattingParams(identifier, options))
        assert edits is not None

    session(TEXT, work)


def test_a_mistake_is_told_and_repaired() -> None:
    text = TEXT.replace("norm l2", "norm l2\n  bugdet 3").replace("  budget budget_size\n", "")
    identifier = types.TextDocumentIdentifier(URI)

    async def work(client: LanguageClient, first: list[types.Diagnostic]) -> None:
        (wrong, *_) = first
        assert wrong.code == "E0001"
        assert wrong.range.start == where("bugdet", 0, text)
        context = types.CodeActionContext(first)
        asked = types.CodeActionParams(identifier, wrong.range, context)
        offered = await client.text_document_code_action_async(asked)
        titles = [a.title for a in offered or [] if isinstance(a, types.CodeAction)]
        assert titles == ["replace by budget"]

    session(text, work)
