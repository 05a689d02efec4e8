#!/usr/bin/env bash
# pillow 13.0.0. Expected: an orientation of 6 in a file's metadata is left to ImageOps.exif_transpose, whatever the format. Seen:
# a TIFF comes out turned already, size included; a JPEG, a PNG and a WebP with the same orientation come out as stored.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/env/bin/python" - <<'PYTHON'
import io

import PIL
from PIL import Image

sizes = {}
for form in ("TIFF", "JPEG", "PNG", "WEBP"):
    picture, exif, out = Image.new("RGB", (30, 20)), Image.Exif(), io.BytesIO()
    exif[274] = 6
    picture.save(out, form, exif=exif)
    with Image.open(io.BytesIO(out.getvalue())) as read:
        read.load()
        sizes[form] = read.size
print(f"pillow {PIL.__version__}: stored 30 x 20 with orientation 6; read {sizes}")
assert sizes == {"TIFF": (20, 30), "JPEG": (30, 20), "PNG": (30, 20), "WEBP": (30, 20)}
PYTHON
