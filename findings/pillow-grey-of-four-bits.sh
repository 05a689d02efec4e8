#!/usr/bin/env bash
# pillow 13.0.0. Expected: a grey PNG of 2 or 4 bits a pixel gives the numbers it stores, as a palette PNG of 4 bits gives its
# indices. Seen: the grey ones come out multiplied by 85 and 17, so that label 1 of a mask reads as 85 or 17.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/env/bin/python" - <<'PYTHON'
import io
import struct
import zlib

import PIL
from PIL import Image


def png(samples, depth, colour_type):
    bits = "".join(format(s, f"0{depth}b") for s in samples)
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", len(samples), 1, depth, colour_type, 0, 0, 0)
    colours = chunk(b"PLTE", bytes(range(3 * 2**depth))) if colour_type == 3 else b""
    parts = chunk(b"IHDR", head) + colours + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts))


stored = [0, 1, 2, 3]
found = {f"grey {d}": list(png(stored, d, 0).get_flattened_data()) for d in (2, 4)}
found["palette 4"] = list(png(stored, 4, 3).get_flattened_data())
print(f"pillow {PIL.__version__}: stored {stored}; read {found}")
assert found == {"grey 2": [0, 85, 170, 255], "grey 4": [0, 17, 34, 51], "palette 4": [0, 1, 2, 3]}
PYTHON
