"""A Model Context Protocol server over stdin and stdout: assistants ask what looks like an image, and why."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
from mcp.server.mcpserver import Image as Picture
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, ContentBlock, TextContent, ToolAnnotations
from pydantic import Field

from diml import __version__
from diml.errors import DimlError, UsageError
from diml.explanation import Contrast, NamedImage, PairExplanation, explain_contrast, explain_hit, explain_pair
from diml.feature_maps import FeatureMaps
from diml.files import AnyPath, user_path
from diml.query_text import parse_region, parse_search_shortlist
from diml.search import Index, SearchResult
from diml.search.items import is_id
from diml.search.places import Place, index_place

INSTRUCTIONS = """Explained image search in one collection. Use `search` to find images that look like one, `explain` to
say why two images are similar or why one is more similar than another, and `info` to learn what the collection holds.

A similarity is between -1 and 1: 1 means identical, 0 unrelated, below 0 opposed. It is the exact sum of contributions
of regions that correspond, of background, of what found no counterpart and of a remainder. It says what the model
compared, not what is true in the world."""

ImageRef = Annotated[
    str, Field(description="A path of an image file, or the id or path of an image of the collection.")
]
Regions = Annotated[
    list[str],
    Field(description="Only these parts of the first image: boxes x0,y0,x1,y1 in its pixels, optionally :weight."),
]
Strongest = Annotated[int, Field(ge=0, le=10_000, description="Pairs of parts in the document, the strongest first.")]
READING = ToolAnnotations(read_only_hint=True, open_world_hint=False)
# Hits that are described with their regions.
DESCRIBED = 3


@dataclass
class Assistant:
    """What the tools do.

    Args:
        path: of the index.
        roots: folders in which image files may be read; by default that of the collection, and the working folder.
    """

    path: Place
    roots: Sequence[Path] = ()
    _opened: Index | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        collection = self.index().collection
        given = self.roots or [*([collection] if collection else []), *_working_folder()]
        self.roots = [root.resolve() for root in given]

    def index(self) -> Index:
        """The index, opened again after it was lost."""
        if self._opened is None:
            self._opened = Index.open(self.path)
        return self._opened

    def guarded(self, work: Callable[[], CallToolResult]) -> CallToolResult:
        """The result, or the library's sentence as the error of a tool, for any error that the user can correct."""
        try:
            return work()
        except DimlError as error:
            if not isinstance(error, UsageError):
                self._opened = None
            return CallToolResult(content=[_text(str(error))], is_error=True)

    def source(self, image: str) -> Path | FeatureMaps:
        """An image of the index as its stored maps, or a file.

        Raises:
            UsageError: neither, or a file outside of the folders that may be read.
        """
        index = self.index()
        if image in index:
            return index.maps(image)
        if is_id(image):
            raise UsageError(f"there is no image of the id {image} in {self.path}; search first, or give a path")
        file = user_path(image)
        resolved = file.resolve()
        if not any(resolved.is_relative_to(root) for root in self.roots):
            allowed = ", ".join(map(str, self.roots))
            raise UsageError(f"{image} is not in a folder that may be read ({allowed}); start the server with --root")
        return file

    def named(self, image: str) -> NamedImage:
        """An image for explanations, which show the thumbnail where only the maps are stored."""
        import PIL.Image

        source = self.source(image)
        if not isinstance(source, FeatureMaps):
            return NamedImage.of(source, image)
        index = self.index()
        entry, thumbnail = index.entry(image), index.thumbnail(image)
        shown = PIL.Image.open(io.BytesIO(thumbnail)).convert("RGB") if thumbnail else None
        return NamedImage(entry.path, Path(entry.path).name, source, shown=shown)

    def search(
        self, image: str, k: int, shortlist: str, where: str | None, regions: Sequence[str], thumbnails: bool
    ) -> CallToolResult:
        boxes = [parse_region(text, "regions") for text in regions]
        index = self.index()
        found = index.search(
            self.source(image), k, parse_search_shortlist(shortlist, "shortlist"), where or None, regions=boxes
        )
        text = "\n".join(_lines(found)) or "nothing was found"
        content: list[ContentBlock] = [_text(text)]
        if thumbnails:
            pictures = [Picture(data=hit.thumbnail, format="jpeg") for hit in found if hit.thumbnail]
            content += [picture.to_image_content() for picture in pictures]
        document = found.to_dict(index=str(self.path), query=image)
        return CallToolResult(content=content, structured_content=_unicode(document))

    def explain(
        self, a: str, b: str, rather_than: str | None, regions: Sequence[str], pairs: int, picture: bool
    ) -> CallToolResult:
        boxes = [parse_region(text, "regions") for text in regions]
        model, named = self.index().model, [self.named(each) for each in (a, b, rather_than) if each]
        explanation: PairExplanation | Contrast
        if rather_than:
            explanation = explain_contrast(model, named[0], named[1], named[2], regions=boxes)
        else:
            explanation = explain_pair(model, named[0], named[1], regions=boxes)
        document = explanation.to_dict()
        listed, number = ("parts", "difference") if rather_than else ("matches", "contribution")
        out = document[listed][pairs:]
        document[listed] = document[listed][:pairs]
        if out:  # so that the sum still closes
            document[f"{listed}_left_out"] = {"number": len(out), number: sum(each[number] for each in out)}
        content: list[ContentBlock] = [_text(explanation.describe())]
        if picture:
            content.append(Picture(data=_drawn(explanation), format="png").to_image_content())
        return CallToolResult(content=content, structured_content=_unicode(document))

    def info(self) -> CallToolResult:
        document = {**self.index().stats().to_dict(), "path": str(self.path)}
        text = json.dumps(document, ensure_ascii=False)
        return CallToolResult(content=[_text(text)], structured_content=_unicode(document))


def make_server(path: AnyPath, roots: Sequence[AnyPath] = ()) -> MCPServer[Any]:
    """The server of one index; `make_server(...).run("stdio")` serves until its input ends.

    Args:
        path: of the index.
        roots: folders in which image files may be read; by default that of the collection, and the working folder.

    Raises:
        StoreError: the index cannot be opened.
    """
    assistant = Assistant(index_place(path), [user_path(root) for root in roots])
    server: MCPServer[Any] = MCPServer(
        "diml", title="Explained image search", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING"
    )

    async def answer(work: Callable[[], CallToolResult]) -> CallToolResult:
        return await anyio.to_thread.run_sync(lambda: assistant.guarded(work))

    @server.tool(title="Find similar images", annotations=READING)
    async def search(
        image: ImageRef,
        k: Annotated[int, Field(ge=1, le=1000, description="How many hits.")] = 5,
        shortlist: Annotated[
            str, Field(description="Images that are compared part by part: a number, or all, which is slow and exact.")
        ] = "100",
        where: Annotated[
            str | None, Field(description="SQL condition on the columns that `info` names, such as label = 'cat'.")
        ] = None,
        regions: Regions = [],  # noqa: B006
        thumbnails: Annotated[
            bool, Field(description="Also return small pictures of the hits, in their order.")
        ] = False,
    ) -> CallToolResult:
        """Find the images of the collection that are most similar to an image, or to a part of it.

        Hits are ordered by `similarity` (-1 to 1; compare hits of one search with each other, not with a fixed
        threshold). `structural` compares the matched parts and `pooled` the images as a whole. A small `margin` means
        that the next image is as good; `concentration` (0 to 1) says how clearly parts correspond. The text says for
        the first hits which regions make them similar; use `explain` for the others.
        """
        return await answer(lambda: assistant.search(image, k, shortlist, where, regions, thumbnails))

    @server.tool(title="Explain a similarity", annotations=READING)
    async def explain(
        a: ImageRef,
        b: ImageRef,
        rather_than: Annotated[
            str | None, Field(description="A third image: why is a more like b than like this one?")
        ] = None,
        regions: Regions = [],  # noqa: B006
        pairs: Strongest = 12,
        picture: Annotated[bool, Field(description="Also return a picture of the explanation.")] = False,
    ) -> CallToolResult:
        """Say why two images are similar, or why the first is more similar to the second than to a third.

        The regions and their contributions are complete: with `residual` they sum to the similarity (or to the
        difference of two similarities) exactly. Of the pairs of parts beneath them only the strongest `pairs` are
        listed, with the sum of the others. Boxes are [x0, y0, x1, y1] in pixels of the images.
        """
        return await answer(lambda: assistant.explain(a, b, rather_than, regions, pairs, picture))

    @server.tool(title="What the collection holds", annotations=READING)
    async def info() -> CallToolResult:
        """Number of images and labels, names of the columns for `where`, the model and how it compares images."""
        return await answer(assistant.info)

    return server


def _working_folder() -> list[Path]:
    """The working folder, unless it is one where a host starts programs that have no folder of their own."""
    folder = Path.cwd()
    return [] if folder in (Path(folder.anchor), Path.home()) else [folder]


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=_unicode(text))


def _unicode(value: Any) -> Any:
    """Names of files may hold bytes that are no text; the protocol cannot."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _unicode(each) for key, each in value.items()}
    return [_unicode(each) for each in value] if isinstance(value, list) else value


def _lines(found: SearchResult) -> list[str]:
    """A line for each hit, and for the first ones which regions make them similar."""
    lines = []
    for hit in found:
        label = f" ({hit.label})" if hit.label else ""
        lines.append(f"{hit.rank}. {hit.path}{label}: similarity {hit.similarity:.3f}, id {hit.id}")
        if hit.rank <= DESCRIBED:
            lines += [
                f"   {line}" for line in explain_hit(found, hit).describe().splitlines() if line.startswith("Region")
            ]
    return lines


def _drawn(explanation: PairExplanation | Contrast) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="diml-") as place:
        file = Path(place) / "explanation.png"
        explanation.draw(file)
        return file.read_bytes()
