"""Valid inputs that are mutated: images of every format, tables, checkpoints, and pieces of filters."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, PngImagePlugin, features


def picture(size: tuple[int, int] = (40, 30), mode: str = "RGB") -> Image.Image:
    """A small image with structure, in any mode."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=2).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def images() -> dict[str, bytes]:
    """File name to bytes: each format that is read, in the variants that decoders treat differently."""
    grey16 = Image.fromarray((np.arange(1200, dtype=np.uint16) * 50).reshape(30, 40))
    floats = Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40), mode="F")
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "a" * 200)
    words.add_itxt("Title", "b" * 200, zip=True)
    frames = [picture(), picture().rotate(90)]
    rgba = picture(mode="RGBA")
    rgba.putalpha(picture(mode="L"))
    made: dict[str, tuple[Image.Image, str, dict]] = {
        "baseline.jpg": (picture(), "JPEG", {"exif": exif.tobytes(), "icc_profile": profile}),
        "progressive.jpg": (picture(), "JPEG", {"progressive": True, "quality": 60}),
        "grey.jpg": (picture(mode="L"), "JPEG", {}),
        "cmyk.jpg": (picture(mode="CMYK"), "JPEG", {}),
        "rgb.png": (picture(), "PNG", {"pnginfo": words, "icc_profile": profile, "exif": exif.tobytes()}),
        "rgba.png": (rgba, "PNG", {}),
        "palette.png": (picture(mode="P"), "PNG", {"transparency": 3}),
        "bits.png": (picture(mode="1"), "PNG", {}),
        "grey16.png": (grey16, "PNG", {}),
        "animated.png": (frames[0], "PNG", {"save_all": True, "append_images": frames[1:]}),
        "lossy.webp": (picture(), "WEBP", {"quality": 50, "exif": exif.tobytes(), "icc_profile": profile}),
        "lossless.webp": (rgba, "WEBP", {"lossless": True}),
        "animated.webp": (frames[0], "WEBP", {"save_all": True, "append_images": frames[1:]}),
        "animated.gif": (frames[0], "GIF", {"save_all": True, "append_images": frames[1:]}),
        "rgb.bmp": (picture(), "BMP", {}),
        "palette.bmp": (picture(mode="P"), "BMP", {}),
        "raw.tif": (picture(), "TIFF", {"exif": exif}),
        "lzw.tif": (picture(), "TIFF", {"compression": "tiff_lzw"}),
        "deflate16.tif": (grey16, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "float.tif": (floats, "TIFF", {}),
        "pages.tif": (frames[0], "TIFF", {"save_all": True, "append_images": frames[1:]}),
        "rgb.ppm": (picture(), "PPM", {}),
        "bits.pbm": (picture(mode="1"), "PPM", {}),
    }
    if features.check("avif"):
        made["rgb.avif"] = (picture(), "AVIF", {})
    return {name: _saved(*how) for name, how in made.items()}


def _saved(image: Image.Image, kind: str, options: dict) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tables() -> dict[str, bytes]:
    """Tables of the images `a/1.png`, `a/2.png`, `b/1.png`, `b/2.png`."""
    rows = [(f"{label}/{k}.png", label, str(k)) for label in "ab" for k in (1, 2)]
    text = "path,label,price\n" + "".join(",".join(row) + "\n" for row in rows)
    quoted = "path,label,price\n" + "".join(f'"{path}","{label}","{price}"\r\n' for path, label, price in rows)
    lines = "".join(json.dumps({"path": path, "label": label, "price": price}) + "\n" for path, label, price in rows)
    return {
        "plain.csv": text.encode(),
        "quoted.csv": quoted.encode("utf-8-sig"),
        "split.csv": ("path,label,split\n" + "".join(f"{p},{c},train\n" for p, c, _ in rows)).encode(),
        "plain.tsv": text.replace(",", "\t").encode(),
        "plain.jsonl": lines.encode(),
        "plain.parquet": _parquet(rows),
    }


def _parquet(rows: list[tuple[str, str, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(
        pa.table(dict(zip(("path", "label", "price"), map(list, zip(*rows, strict=True)), strict=True))), file
    )
    return file.getvalue()


TABLE_PIECES = (
    *(
        "path",
        "label",
        "split",
        "id",
        "width",
        "a.b",
        ",",
        "\n",
        "\r\n",
        "\t",
        ";",
        '"',
        '""',
        "'",
        " ",
        "\0",
        "\ufeff",
    ),
    *(
        "a/1.png",
        "b/2.png",
        "../a/1.png",
        "/etc/hostname",
        "http://localhost/a.png",
        "~/a.png",
        "é",
        "e\u0301",
        "train",
    ),
)

FILTER_PIECES = (
    *("label", "path", "id", "width", "height", "bytes", "price", "`price`", '"label"', "nothing", "label.x"),
    *(" = ", " > ", " LIKE ", " IN ", " IS NULL", " BETWEEN ", " AND ", " OR ", " NOT ", "::int", " ~ ", " || "),
    *("'a'", "'a", "N'cat'", "b'cat'", "X'00'", "?", "$1", ":name", "@p", "1", "-1", "1e400", "NULL", "true", "0x1F"),
    *(
        "(",
        ")",
        "('a','b')",
        ";",
        "--",
        "/*",
        "*/",
        "%",
        "\\",
        "CAST(",
        "SELECT 1",
        "DROP TABLE images",
        "current_date",
    ),
    *("regexp_match(path, '(')", "length(path)", "sum(width)", "interval '1 day'", "array[1]", "CASE WHEN", " END"),
)


def checkpoints(folder: Path) -> dict[str, bytes]:
    """Weights of the tiny test network, in the ways that people store them, and files that are none."""
    import timm
    from safetensors.torch import save

    state = timm.create_model("test_vit", num_classes=0).state_dict()

    def torch_saved(held: object) -> bytes:
        file = io.BytesIO()
        torch.save(held, file)
        return file.getvalue()

    return {
        "plain.safetensors": save({name: value.contiguous() for name, value in state.items()}),
        "plain.pth": torch_saved(state),
        "nested.pt": torch_saved({"state_dict": {f"module.model.{name}": value for name, value in state.items()}}),
        "pickled.pth": pickle.dumps({"weights": [1, 2, 3], "path": Path("x")}),
        "pointer.pth": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n",
        "page.pth": b"<!DOCTYPE html><html><body>404</body></html>",
    }


def collection(folder: Path) -> Path:
    """Class folders a and b with two images each."""
    for number, (label, k) in enumerate((label, k) for label in "ab" for k in (1, 2)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture((40 + number, 30)).save(folder / label / f"{k}.png")
    return folder


def cycled(names: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    while True:
        yield from names.items()
