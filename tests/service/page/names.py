"""Where the pictures of these tests come from, and names of files that a careless page would get wrong."""

from pathlib import Path

SAMPLE = Path(__file__).parents[3] / "sample"
CJK = "黒い猫の写真、とても長いファイル名でも折り返して全部読めること.png"
ARABIC = "كلب جميل في الحديقة.png"
FORMULA = "=cmd()|A1.png"
MARKUP = "<b>tomato&amp;.png"
LONG = "averyveryveryveryveryveryveryveryverylongnamewithoutanyspaces_0123456789.png"
# The same drawing under a name that a careless page would get wrong, by its file in sample/emoji.
NAMES = {
    "1f408-cat/noto": f"猫/{CJK}",
    "1f408-cat/twemoji": "猫/猫二.png",
    "1f415-dog/noto": ARABIC,
    "1f415-dog/twemoji": "כלב.png",
    "1f34c-banana/noto": FORMULA,
    "1f34c-banana/twemoji": LONG,
    "1f345-tomato/noto": MARKUP,
    "1f345-tomato/twemoji": "tomato 2.png",
}
