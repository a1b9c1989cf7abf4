"""The page over several indices that are served as one."""

import shutil

import pytest

import diml
from tests.service.page.conftest import serving

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect


def test_hits_say_which_index_they_are_in(visit, folder, index, tmp_path):
    parts = [tmp_path / "left.diml", tmp_path / "right.diml"]
    for at, path in enumerate(parts):
        shutil.copytree(folder / "photos.diml", path)
        diml.Index.open(path).remove(index.paths[at::2])
    both = diml.Index.open(parts)
    wanted = index.entries(limit=1)[0].id
    found = both.search(index.maps(wanted), k=12)
    with serving(shards=[f"both={parts[0]},{parts[1]}"]) as address:
        page = visit(address).go(f"#index=both&id={wanted}")
        paths = page.locator("#hits > li .path")
        expect(paths).to_have_text([f"{hit.path} in {hit.shard}" for hit in found])
        assert {hit.shard for hit in found} == {"left", "right"}
        page.locator("#hits svg.pair").first.click()
        expect(page.locator("dialog .path").first).to_have_text(f"{found[0].path} in {found[0].shard}")
