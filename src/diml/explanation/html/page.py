"""What the HTML pages share: escaping, embedded pictures, templates filled in one pass, a strict security policy."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

# An image with at most so many colours is a drawing: PNG keeps its edges and is smaller.
FEW_COLOURS = 4096


def text(raw: str) -> str:
    """Text as HTML, for elements and quoted attributes; what is not Unicode (a broken file name) becomes `?`.

    >>> text('<b> & "c"')
    '&lt;b&gt; &amp; &quot;c&quot;'
    """
    return escape(raw.encode("utf-8", "replace").decode("utf-8"), quote=True)


def template(name: str) -> str:
    """The text of a file in this folder."""
    return files("diml.explanation.html").joinpath(name).read_text(encoding="utf-8")


def fill(page: str, values: Mapping[str, str]) -> str:
    """The page with every `{{key}}` replaced in one pass, so that a file name that looks like a placeholder is kept.

    >>> fill("<p>{{a}}, {{b}}</p>", {"a": "{{b}}", "b": "2"})
    '<p>{{b}}, 2</p>'
    """
    first, *rest = page.split("{{")
    return first + "".join(values[key] + after for key, _, after in (piece.partition("}}") for piece in rest))


def jpeg_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{_base64(jpeg)}"


def image_uri(image: Image, side: int) -> str:
    """An RGB image at no more than `side` pixels across and down, as a `data:` URI: PNG for drawings, else JPEG."""
    small = image.copy()
    small.thumbnail((side, side))
    jpeg = _encoded(small, "JPEG", quality=88)
    if small.getcolors(FEW_COLOURS) is None:
        return jpeg_uri(jpeg)
    png = _encoded(small, "PNG")
    # A grey photograph has few colours as well.
    return jpeg_uri(jpeg) if len(png) > 2 * len(jpeg) else f"data:image/png;base64,{_base64(png)}"


def _encoded(image: Image, kind: str, **settings: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def fingerprint(source: str) -> str:
    """How a Content-Security-Policy names an inline script or style: by the SHA-256 of its content.

    >>> fingerprint("")
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    return f"'sha256-{_base64(hashlib.sha256(source.encode()).digest())}'"


def json_block(document: Any) -> str:
    """JSON for a `<script type="application/json">`: without `<`, so that nothing in it can end the block.

    >>> json_block({"name": "</script>"})
    '{"name":"\\\\u003c/script>"}'
    """
    # ASCII only, so that a broken file name becomes escapes and the page stays valid UTF-8.
    return json.dumps(document, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
