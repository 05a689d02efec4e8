"""Makes the pictures of reports and the transcript of an editing session that the documentation shows.

    python docs/pictures/make.py

Needs Chromium, the extra `lsp` and pillow; writes beside itself and into docs/how-to/use-an-editor.md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "how-to" / "use-an-editor.md"
BEGIN, END = "<!-- session: begin -->\n", "<!-- session: end -->\n"
SIZES = {"wide": (1400, 2300), "narrow": (400, 2300)}
TEXT = """language 1
param size = 8/255
model {
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes road, grass
}
data val {
  images "i/*.png"
  masks "m/*.png"
}
property kept {
  metric iou[raod]
  norm l2
  budget size
  require worst_case >= 0.5 for all images
}
"""


def screenshots(browser: str) -> None:
    """Check the runway scenes, and draw the page at two widths."""
    command = [sys.executable, "-m", "robspec", "check", "runway/runway.pt2", "runway/runway.rspec", "-q"]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        subprocess.run([*command, "--output", f"html={page}"], cwd=ROOT / "specs", check=True)
        for name, (width, height) in SIZES.items():
            drawn = Path(folder) / f"{name}.png"
            # Chromium's window has a least width of 500: a narrower page is drawn within a frame of its own.
            frame = Path(folder) / "frame.html"
            style = f"border:0;width:{width}px;height:{height}px"
            frame.write_text(f'<body style="margin:0"><iframe src="report.html" style="{style}">')
            shot = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={drawn}"]
            size = f"--window-size={max(width, 500)},{height}"
            subprocess.run([browser, *shot, size, frame.as_uri()], check=True, capture_output=True)
            picture = Image.open(drawn).convert("RGB").crop((0, 0, width, height))
            picture.quantize(96).save(HERE / f"report-{name}.png", optimize=True)


def session() -> str:
    """Open a specification with a misspelt class in the real server, and note what is said."""
    position = {"line": TEXT[: TEXT.index("size\n  require")].count("\n"), "character": 9}
    document = {"uri": "file:///kept.rspec"}
    diagnostic_at = TEXT[: TEXT.index("iou[raod]")].count("\n")
    asked: list[tuple[str, dict[str, Any] | None]] = [
        ("initialize", {"processId": None, "rootUri": None, "capabilities": {}}),
        ("textDocument/hover", {"textDocument": document, "position": position}),
        (
            "textDocument/completion",
            {"textDocument": document, "position": {"line": diagnostic_at, "character": 13}},
        ),
        ("shutdown", None),
    ]
    server = subprocess.Popen([sys.executable, "-m", "robspec", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lines: list[str] = []

    def send(message: dict[str, Any]) -> None:
        assert server.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        server.stdin.flush()

    def receive() -> dict[str, Any]:
        assert server.stdout is not None
        length = 0
        while line := server.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        found: dict[str, Any] = json.loads(server.stdout.read(length))
        return found

    for number, (method, params) in enumerate(asked):
        send({"id": number, "method": method, "params": params})
        lines.append(f"-> {method}" + ("" if number == 0 or params is None else f" {json.dumps(params)}"))
        while (answer := receive()).get("id") != number:
            pass
        lines += shown(method, answer.get("result"))
        if method == "initialize":
            send({"method": "initialized", "params": {}})
            item = {**document, "languageId": "rspec", "version": 1, "text": TEXT}
            send({"method": "textDocument/didOpen", "params": {"textDocument": item}})
            lines.append("-> textDocument/didOpen kept.rspec, with `metric iou[raod]`")
            while (told := receive()).get("method") != "textDocument/publishDiagnostics":
                pass
            for d in told["params"]["diagnostics"]:
                start = d["range"]["start"]
                lines.append(
                    f"<- publishDiagnostics {d.get('code')} at {start['line'] + 1}:{start['character'] + 1}: "
                    f"{d['message'].splitlines()[0]}"
                )
    send({"method": "exit"})
    server.wait(timeout=60)
    return "\n".join(lines) + "\n"


def shown(method: str, result: Any) -> list[str]:
    """What of an answer is worth a line."""
    if method == "initialize":
        return [f"<- capabilities: {', '.join(sorted(k for k, v in result['capabilities'].items() if v))}"]
    if method == "textDocument/hover":
        return [f"<- {line}" for line in str(result["contents"]["value"]).splitlines() if line.strip("` ")]
    if method == "textDocument/completion":
        items = result["items"] if isinstance(result, dict) else result or []
        return [f"<- {', '.join(item['label'] for item in items)}"]
    return ["<- null"]


def main() -> int:
    """Make everything.

    Returns:
        0, or 1 where there is no Chromium; the transcript is made in any case.
    """
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}```text\n{session()}```\n{END}{after}", encoding="utf-8")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("no chromium: the pictures are as they were", file=sys.stderr)
        return 1
    screenshots(browser)
    return 0


if __name__ == "__main__":
    sys.exit(main())
