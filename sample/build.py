"""Make the sample images of this repository: emoji by four designers, and a few photographs.

    python sample/build.py

It needs npm, resvg-py and scikit-image, and writes emoji/, photos/, SOURCES.json and LICENSES.md next to this file; the
licence texts in licenses/ are not changed. The emoji are from the training half of the emoji benchmark, so that
settings can be tried out on them without seeing a test class.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

HERE = Path(__file__).resolve().parent
SIZE = 128

KEYS = {
    "animals": "1f408 1f415 1f404 1f407 1f40c 1f419 1f427 1f42c 1f438 1f43a 1f981 1f985 1f986 1f989 1f98b 1f992 1f993 "
    "1f9a9 1f980 1f41e",
    "fruit, food and plants": "1f345 1f349 1f34c 1f34f 1f350 1f352 1f33d 1f966 1f369 1f950 1f9c0 "
    "1f335 1f337 1f332 1f334",
    "vehicles": "1f680 1f681 1f682 1f692 1f69c 26f5 1f3ce 1f6f5",
    "tools and things": "1f511 1fa9b 1f52d 1f3b8 1f3ba 231a 2602 1f514 2693 270f",
    "faces": "1f600 1f60e 1f620 1f62d",
    "buildings": "1f3e0 1f3ed 26ea",
}
"""Emoji that are recognised at a glance, by class key."""

PHOTOS = {
    "chelsea": "Chelsea the cat, by Stefan van der Walt; CC0",
    "coffee": "a cup of coffee at Pikolo Espresso Bar, by Rachel Michetti; CC0",
    "rocket": "the launch of DSCOVR on Falcon 9, by SpaceX (https://www.flickr.com/photos/spacexphotos/16511594820/); "
    "released into the public domain",
}
"""Photographs from scikit-image, with the credits and terms stated in its documentation."""

VIEWS: dict[str, dict[str, Any]] = {
    "chelsea-mirrored-cropped-brighter": {
        "of": "chelsea",
        "crop": [70, 10, 430, 290],
        "mirrored": True,
        "scale": 1.0,
        "light": 1.3,
    },
    "coffee-closer-darker": {
        "of": "coffee",
        "crop": [150, 50, 510, 350],
        "mirrored": False,
        "scale": 1.5,
        "light": 0.7,
    },
}
"""Other views of two of them: cut out at `crop` (x0, y0, x1, y1 in pixels), mirrored, enlarged, brightness changed."""

LICENSES = """# Licences of the sample images

The images in this folder are not covered by the licence of the program. They are works of others, under these terms:

| images | work | by | licence |
|---|---|---|---|
| `emoji/*/noto.png` | [Noto Emoji](https://github.com/googlefonts/noto-emoji) | Google Inc. and contributors | [Apache License 2.0](licenses/Apache-2.0.txt) |
| `emoji/*/twemoji.png` | [Twemoji](https://github.com/jdecked/twemoji) | Copyright Twitter, Inc and other contributors | [CC BY 4.0](licenses/CC-BY-4.0.txt), <https://creativecommons.org/licenses/by/4.0/> |
| `emoji/*/openmoji.png` | All emojis designed by [OpenMoji](https://openmoji.org/), the open-source emoji and icon project | OpenMoji (HfG Schwäbisch Gmünd) and contributors | [CC BY-SA 4.0](licenses/CC-BY-SA-4.0.txt), <https://creativecommons.org/licenses/by-sa/4.0/> |
| `emoji/*/fluent-emoji-flat.png` | [Fluent Emoji](https://github.com/microsoft/fluentui-emoji), flat style | Copyright (c) Microsoft Corporation | [MIT](licenses/MIT-fluent-emoji.txt) |
{photos}

**Changes.** The emoji were taken from the npm packages {packages}, which contain them as SVG cleaned up by Iconify, rendered on white at {size} x {size}
pixels, and stored with at most 256 colours. The photographs were taken from scikit-image and stored as JPEG; `photos/views.json` describes
how the other views were cut from them.

**Share alike.** A picture that shows an OpenMoji emoji, such as a sheet of search results, is adapted material where copyright applies, and
must then be shared under CC BY-SA 4.0 with the attribution above.

None of the authors endorses this project. `python sample/build.py` rebuilds all of these images; `SOURCES.json` lists the checksums of the
packages they were made from.
"""  # noqa: E501  # a table in Markdown has one line per row


def main() -> None:
    emoji = _benchmark_builder()
    try:
        sets = emoji.fetch()
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            _make_emoji(emoji, sets, Path(folder) / "emoji")
            _make_photos(Path(folder) / "photos")
            for name in ("emoji", "photos"):
                shutil.rmtree(HERE / name, ignore_errors=True)
                (Path(folder) / name).rename(HERE / name)
    except (emoji.BuildError, OSError) as error:
        sys.exit(f"error: {error}")
    emoji.write_sources(sets, HERE / "SOURCES.json")
    packages = ", ".join(f"`{each.source.package}` {each.source.version}" for each in sets)
    text = LICENSES.format(photos="\n".join(_photo_rows()), packages=packages, size=SIZE)
    (HERE / "LICENSES.md").write_text(text, "utf-8")
    made = [file for name in ("emoji", "photos") for file in (HERE / name).rglob("*.*") if file.is_file()]
    print(f"wrote {len(made)} files, {sum(file.stat().st_size for file in made) / 1e6:.2f} MB, to {HERE}")


def _benchmark_builder() -> ModuleType:
    """The module benchmarks/emoji/build.py, which knows where emoji come from and how they are rendered."""
    file = HERE.parent / "benchmarks" / "emoji" / "build.py"
    spec = importlib.util.spec_from_file_location("emoji_build", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _make_emoji(emoji: ModuleType, sets: list[Any], into: Path) -> None:
    keys = " ".join(KEYS.values()).split()
    unfit = set(keys) - {key for key in emoji.common_keys(sets) if emoji.split_of(key) == "train"}
    if unfit or len(set(keys)) < len(keys):
        raise emoji.BuildError(f"not in the training half, or twice: {' '.join(sorted(unfit)) or 'see KEYS'}")
    for key in keys:
        folder = into / emoji.class_name(sets, key)
        folder.mkdir(parents=True)
        for each in sets:
            image = emoji.render(each.svg(key, SIZE), SIZE)
            # 256 colours without dithering: the flat colours of emoji stay as they are, at half the bytes.
            few = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            few.save(folder / f"{each.designer}.png", optimize=True)


def _make_photos(into: Path) -> None:
    into.mkdir()
    for name in PHOTOS:
        _save_photo(_photo(name), into / f"{name}.jpg")
    described = {}
    for name, view in VIEWS.items():
        _save_photo(_view(_photo(view["of"]), view), into / f"{name}.jpg")
        described[f"{name}.jpg"] = view | {"of": f"{view['of']}.jpg", "to_original": _to_original(view)}
    (into / "views.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")


def _photo(name: str) -> Image.Image:
    try:
        from skimage import data
    except ImportError:
        sys.exit("error: scikit-image is missing, which ships the photographs; pip install scikit-image")
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def _view(photo: Image.Image, view: dict[str, Any]) -> Image.Image:
    cut = photo.crop(view["crop"])
    if view["mirrored"]:
        cut = ImageOps.mirror(cut)
    enlarged = cut.resize(
        (round(cut.width * view["scale"]), round(cut.height * view["scale"])), Image.Resampling.LANCZOS
    )
    return ImageEnhance.Brightness(enlarged).enhance(view["light"])


def _to_original(view: dict[str, Any]) -> list[list[float]]:
    """The 2 x 3 matrix that takes a point (x, y, 1) of the view, in pixels, to the photograph that it was cut from."""
    x0, y0, x1, _ = view["crop"]
    step = 1 / view["scale"]
    across = [-step, 0.0, float(x1)] if view["mirrored"] else [step, 0.0, float(x0)]
    return [across, [0.0, step, float(y0)]]


def _save_photo(photo: Image.Image, file: Path) -> None:
    photo.save(file, quality=88, optimize=True)


def _photo_rows() -> list[str]:
    rows = []
    for name, credit in PHOTOS.items():
        what, _, terms = credit.rpartition("; ")
        views = "".join(f", `photos/{view}.jpg`" for view, how in VIEWS.items() if how["of"] == name)
        linked = "[CC0 1.0](licenses/CC0-1.0.txt)" if terms == "CC0" else terms
        work, _, author = what.rpartition(", by ")
        rows.append(f"| `photos/{name}.jpg`{views} | {work} | {author} | {linked} |")
    return rows


if __name__ == "__main__":
    main()
