"""Find what a page of the site would load from the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

# The attributes that make a browser load something; a link that is only followed by a click (`a href`) is not one.
LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
REMOTE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
REMOTE_IN_CSS = re.compile(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")\s;]+)""", re.IGNORECASE)


def external_assets(site: Path) -> list[str]:
    """`page: address` for every asset of the built site that is not part of it."""
    found = []
    for page in sorted(site.rglob("*.html")):
        found += [
            f"{page.relative_to(site)}: {address}" for address in loaded_by_html(page.read_text(encoding="utf-8"))
        ]
    for sheet in sorted(site.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8")
        found += [f"{sheet.relative_to(site)}: {address}" for address in REMOTE_IN_CSS.findall(text)]
    return found


def loaded_by_html(text: str) -> list[str]:
    """The addresses outside the site that a browser loads with a page.

    >>> loaded_by_html('<script src="https://x.org/a.js"></script><a href="https://x.org">x</a><img src="b.png">')
    ['https://x.org/a.js']
    """
    reader = _Reader()
    reader.feed(text)
    return reader.found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        values = {name: value or "" for name, value in attrs}
        self.found += [value for value in self._addresses(tag, values) if REMOTE.match(value.strip())]
        self.found += REMOTE_IN_CSS.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += REMOTE_IN_CSS.findall(data)

    def _addresses(self, tag: str, values: dict[str, str]) -> Iterator[str]:
        if tag == "link" and values.get("rel") == "canonical":
            return
        for name in LOADING.get(tag, ()):
            # A srcset lists several addresses, each with a width or density after it.
            yield from values.get(name, "").split(",") if name == "srcset" else [values.get(name, "")]
