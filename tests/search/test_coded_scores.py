"""Codes that are compared as they are stored: the scores of float64 on the maps that they stand for."""

import functools

import numpy as np
import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import CodedMaps, CodeLayout, Matcher, prepare, top_k
from diml.matching.kernels import BackendSettings, compiling, cpu_scores
from diml.matching.kernels.code_rows import new_scratch, read_rows
from diml.matching.kernels.lanes_codes import halves
from diml.search import Index
from diml.search.codes import Codec, parse_codes
from diml.search.codes.joined import JoinedCodec

# float32 rounds the numbers of a code, its length and its products; measured 2e-7 in maps of 128 numbers.
ROUNDING = 1e-6
# Of a plan that is solved to 1e-6, see `tests/matching/test_kernels.py`.
SOLVED = 1e-5
NAMES = [
    "float16",
    "int8",
    "int4",
    "pq24",
    "pq11",
    "pq5",
    "pq1",
    "pool8+float16",
    "pool3+int8",
    "pool7+int4",
    "pool8+pq7",
    "pool1+pq24",
]


def maps_of(n, grid=(4, 4), dim=24, seed=0, weighted=False, own=False):
    """Maps that share a component, as those of real images do."""
    g = torch.Generator().manual_seed(seed)
    parts = grid[0] * grid[1]
    common = torch.randn(1, 1, dim, generator=g) + torch.randn(n, 1, dim, generator=g)
    local = common + torch.randn(n, parts, dim, generator=g)
    weights = torch.rand(n, parts, generator=g) if weighted else None
    return FeatureMaps(local, grid, torch.randn(n, dim, generator=g) if own else None, weights=weights)


def codec_of(name, maps, fitted_on=None):
    codec = parse_codes(name, maps.parts, maps.dim)
    sample = fitted_on or maps
    return codec if codec.fitted else codec.fit(sample.local, sample.weights_or_uniform, "noise")


def coded(name, maps, codec=None):
    codec = codec or codec_of(name, maps)
    codes = codec.encode(maps.local, maps.weights_or_uniform).numpy()
    codes.flags.writeable = False  # as the engine gives them
    return CodedMaps(codes, codec.layout, maps.grid, codec.decode, maps.own_pooled, maps.weights)


@functools.cache
def some_coded(name, weighted):
    return coded(name, maps_of(300, weighted=weighted))


def exact(matcher, query, gallery, shortlist):
    twice = torch.float64
    exactly = matcher.replace(tolerance=1e-9, max_iterations=20_000)
    return exactly.rerank(query.to(twice), gallery.maps().to(twice), shortlist)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_unit_rows_are_those_of_the_decoded_maps(name, weighted, own):
    for grid, dim in (((4, 4), 24), ((3, 5), 37), ((5, 5), 33)):
        some = coded(name, maps_of(300, grid, dim, weighted=weighted, own=own))
        expected = prepare(some.maps().to(torch.float64)).rows
        out = np.full(300 * (some.layout.parts + 1) * dim + compiling.BORDER, 7, np.float32)
        read_rows(some, np.arange(300), new_scratch(some.layout), out)
        rows = torch.from_numpy(out[: -compiling.BORDER]).reshape(expected.shape)
        assert (rows - expected).abs().max() < 3e-7
        assert (some.pooled - expected[:, -1]).abs().max() < 3e-7
        assert torch.equal(some.pooled, rows[:, -1])
        # Others in the same call change nothing.
        alone = np.empty((some.layout.parts + 1) * dim + compiling.BORDER, np.float32)
        read_rows(some, np.array([77]), new_scratch(some.layout), alone)
        assert torch.equal(torch.from_numpy(alone[: -compiling.BORDER]).reshape(rows[77].shape), rows[77])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
@pytest.mark.parametrize("scheme", ["uniform", "cross_correlation"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_float64(name, transport, scheme, weighted):
    matcher = Matcher(scheme, transport=transport, tolerance=1e-6, weight=0.85)
    gallery = some_coded(name, weighted)
    query = maps_of(2, seed=1, weighted=weighted)
    shortlist = torch.tensor([[0, 299, 17, 17, 4], [1, 2, 3, 250, 0]])
    found = matcher.rerank(query, gallery, shortlist)
    allowed = ROUNDING if transport == "one-sided" else SOLVED
    assert (found - exact(matcher, query, gallery, shortlist)).abs().max() < allowed
    assert found[0, 2] == found[0, 3]


@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 5), (5, 5)])
@pytest.mark.parametrize("name", ["int8", "int4", "pq3", "pool1+int8", "pool1+pq3"])
def test_any_number_of_parts_and_numbers(name, grid):
    if name.startswith("pool") and grid == (1, 1):
        name = name[6:]
    for dim in (3, 16, 17):
        gallery, query = coded(name, maps_of(300, grid, dim)), maps_of(1, grid, dim, seed=1)
        shortlist = torch.arange(300)[None]
        matcher = Matcher("uniform", transport="one-sided")
        found = matcher.rerank(query, gallery, shortlist)
        assert (found - exact(matcher, query, gallery, shortlist)).abs().max() < ROUNDING


@pytest.mark.parametrize("many", [1, 7, 40])
def test_more_images_than_are_read_together(many, monkeypatch):
    """In pieces, by several threads, or all at once: the same bits."""
    gallery, query = coded("pool8+pq7", maps_of(1000, weighted=True)), maps_of(1, seed=1)
    shortlist = torch.arange(1000)[None]
    matcher = Matcher(tolerance=1e-6)
    whole = matcher.rerank(query, gallery, shortlist)
    monkeypatch.setattr(cpu_scores, "CODED", many * 17 * 24)
    assert torch.equal(matcher.rerank(query, gallery, shortlist), whole)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(matcher.rerank(query, gallery, shortlist), whole)
    finally:
        torch.set_num_threads(threads)
    one = matcher.rerank(query, gallery[500:501], torch.tensor([[0]]))
    assert torch.equal(one[0, 0], whole[0, 500])


def test_no_images_and_empty_shortlists():
    gallery, query = coded("int8", maps_of(5)), maps_of(1, seed=1)
    assert Matcher().rerank(query, gallery, torch.zeros(1, 0, dtype=torch.int64)).shape == (1, 0)
    assert Matcher().rerank(query, gallery[:0], torch.zeros(1, 0, dtype=torch.int64)).shape == (1, 0)
    assert gallery[:0].pooled.shape == (0, 24)
    assert top_k(Matcher(), query, gallery[:0], 3).indices.shape == (1, 0)


@pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
def test_the_best_are_those_of_a_ranking_of_all(transport):
    gallery, query = coded("pool8+int8", maps_of(3000, weighted=True)), maps_of(1, seed=1)
    matcher = Matcher(transport=transport)
    scores = matcher.rerank(query, gallery, torch.arange(3000)[None])[0]
    best = top_k(matcher, query, gallery, 20)
    order = scores.sort(descending=True, stable=True)
    assert best.indices[0].equal(order.indices[:20])
    assert best.similarity[0].equal(order.values[:20])
    assert best.solved < 3000


@pytest.mark.parametrize("settings", [{"mass": 0.7}, {"marginals": lambda correlation: correlation.softmax(dim=-1)}])
def test_what_no_kernel_computes_is_computed_from_decoded_maps(settings):
    gallery, query = coded("pool8+int8", maps_of(40)), maps_of(1, seed=1)
    matcher, shortlist = Matcher(**settings), torch.arange(40)[None]
    assert torch.equal(matcher.rerank(query, gallery, shortlist), matcher.rerank(query, gallery.maps(), shortlist))


def test_without_a_kernel_maps_are_decoded(monkeypatch):
    monkeypatch.setenv("DIML_KERNEL", "torch")
    gallery, query = coded("int4", maps_of(40)), maps_of(1, seed=1)
    matcher, shortlist = Matcher(), torch.arange(40)[None]
    assert torch.equal(matcher.rerank(query, gallery, shortlist), matcher.rerank(query, gallery.maps(), shortlist))
    assert isinstance(prepare(gallery).stored, torch.Tensor)


def test_pairs_that_are_too_wide_for_float32():
    local = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(2))
    local[1] = -local[0]
    gallery = coded("int8", FeatureMaps(local, (2, 2)))
    matcher = Matcher("uniform", eps=0.005, max_iterations=50_000, tolerance=1e-6)
    query, shortlist = FeatureMaps(local[:1], (2, 2)), torch.arange(6)[None]
    assert (matcher.rerank(query, gallery, shortlist) - exact(matcher, query, gallery, shortlist)).abs().max() < SOLVED


def test_tables_of_centroids_of_several_indices():
    maps = maps_of(300, weighted=True)
    codecs = [codec_of("pool8+pq7", maps, fitted_on=maps_of(300, seed=seed)) for seed in (3, 4, 5)]
    joined = JoinedCodec(codecs)
    which = torch.arange(300) % 3
    codes = torch.stack([codec.encode(maps.local, maps.weights) for codec in codecs])[which, torch.arange(300)]
    tags = torch.stack([which, torch.zeros_like(which)], dim=1).to(torch.uint8)
    tagged = torch.cat([codes, tags], dim=1).contiguous().numpy()
    gallery = CodedMaps(tagged, joined.layout, maps.grid, joined.decode, None, maps.weights)
    query, shortlist = maps_of(1, seed=1), torch.arange(300)[None]
    matcher = Matcher("uniform", transport="one-sided")
    found = matcher.rerank(query, gallery, shortlist)
    assert (found - exact(matcher, query, gallery, shortlist)).abs().max() < ROUNDING
    for number, codec in enumerate(codecs):
        own = coded("", maps, codec)
        alone = matcher.rerank(query, own, shortlist)[0]
        assert torch.equal(alone[which == number], found[0][which == number])


@pytest.mark.parametrize("name", ["float16", "int8", "pq5"])
def test_short_long_and_empty_vectors(name):
    local = maps_of(300).local
    local[0] *= 2.0**-16
    local[1] *= 1e-7
    local[2] = 0
    local[3, :5] = 0
    local[4, 1] = -local[4, 0]
    gallery = coded(name, FeatureMaps(local, (4, 4)), codec_of(name, maps_of(300)) if name == "pq5" else None)
    rows = np.empty(300 * 17 * 24 + compiling.BORDER, np.float32)
    read_rows(gallery, np.arange(300), new_scratch(gallery.layout), rows)
    expected = prepare(gallery.maps().to(torch.float64)).rows
    assert (torch.from_numpy(rows[: -compiling.BORDER]).reshape(expected.shape) - expected).abs().max() < 3e-7


def test_centroids_of_any_length():
    """Squares of their numbers leave the range of float32."""
    maps = maps_of(300)
    for scale in (1e-14, 1e25):
        codec = codec_of("pq24", maps)
        centroids = codec.vectors.centroids[None] * scale
        layout = CodeLayout("product", 16, 16, 24, centroids)
        codes = codec.encode(maps.local, maps.weights_or_uniform)
        own = torch.ones(300, 24)
        some = CodedMaps(codes.numpy(), layout, (4, 4), lambda codes, c=codec, s=scale: c.decode(codes) * s, own)
        rows = np.empty(300 * 17 * 24 + compiling.BORDER, np.float32)
        read_rows(some, np.arange(300), new_scratch(layout), rows)
        expected = prepare(some.maps().to(torch.float64)).rows
        assert (torch.from_numpy(rows[: -compiling.BORDER]).reshape(expected.shape) - expected).abs().max() < 3e-7


@pytest.mark.parametrize("dim", [1 << 16, 1])
def test_every_float16_number(dim):
    """Sixteen at a time, and one by one."""
    numbers = torch.arange(1 << 16).to(torch.uint16).view(torch.float16)
    codes, found = numbers.view(torch.uint8).numpy(), np.zeros(1 << 16, np.float32)
    room = np.zeros(max(dim, 16), np.float32)
    for at in range(0, 1 << 16, dim):
        halves(codes, 2 * at, 1, dim, len(room), room)
        found[at : at + dim] = room[:dim]
    np.testing.assert_array_equal(found, numbers.float().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_damaged_codes_and_memory(name):
    """Any bytes are read without leaving the memory at hand, and rows stay within theirs."""
    maps = maps_of(300, (5, 5), 33)
    codec = codec_of(name.replace("pool8", "pool20"), maps)
    noise = np.random.default_rng(0).integers(0, 256, (300, codec.bytes), dtype=np.uint8)
    some = CodedMaps(noise, codec.layout, (5, 5), codec.decode)
    size = 300 * 26 * 33 + compiling.BORDER
    arrays = [np.zeros(size, np.float32), *new_scratch(codec.layout)]
    buffers = [np.full(len(array) + 128, 12345, array.dtype) for array in arrays]
    for buffer, array in zip(buffers, arrays, strict=True):
        buffer[64:-64] = array
    out, *scratch = (buffer[64:-64] for buffer in buffers)
    read_rows(some, np.arange(300), tuple(scratch), out)
    for buffer in buffers:
        assert (buffer[:64] == 12345).all()
        assert (buffer[-64:] == 12345).all()
    how = BackendSettings("uniform", transport="one-sided")
    query = prepare(maps[:1]).rows
    assert cpu_scores.score_pairs(query, some, torch.zeros(300).long(), torch.arange(300), how).pooled.shape == (300,)


@pytest.mark.parametrize("shortlist", [50, "all"])
def test_a_search_decodes_its_hits_only(shortlist, tmp_path, monkeypatch):
    maps = maps_of(200)
    index = Index.create(tmp_path / "i.diml", codes="pool8+int8")
    index.add_maps(maps, paths=[f"{i}" for i in range(200)], sizes=[(64, 64)] * 200)
    decoded, original = [], Codec.decode
    monkeypatch.setattr(Codec, "decode", lambda codec, codes: decoded.append(len(codes)) or original(codec, codes))
    assert index.search(maps[3], k=5, shortlist=shortlist)[0].path == "3"
    assert decoded == [6]  # one more than shown, for the margin of the last


def test_what_does_not_fit():
    maps = maps_of(3)
    codec = codec_of("int8", maps)
    codes = codec.encode(maps.local, maps.weights_or_uniform).numpy()
    for wrong in (codes[:, 1:], codes.astype(np.int32), np.asfortranarray(codes)):
        with pytest.raises(UsageError, match="expected rows of 416 bytes in one piece"):
            CodedMaps(wrong, codec.layout, (4, 4), codec.decode)
    with pytest.raises(UsageError, match="expected a grid of 16 parts, got 3x5"):
        CodedMaps(codes, codec.layout, (3, 5), codec.decode)
    with pytest.raises(UsageError, match=r"expected pooled of shape \(3, 24\)"):
        CodedMaps(codes, codec.layout, (4, 4), codec.decode, torch.ones(2, 24))
    with pytest.raises(UsageError, match="expected weights of shape"):
        CodedMaps(codes, codec.layout, (4, 4), codec.decode, weights=torch.ones(3, 15))
    with pytest.raises(UsageError, match="the last with centroids"):
        CodeLayout("product", 4, 4, 8)
    with pytest.raises(UsageError, match="expected 1 to 4 vectors"):
        CodeLayout("int8", 4, 5, 8)
    with pytest.raises(UsageError, match="expected centroids"):
        CodeLayout("product", 4, 4, 8, torch.zeros(1, 3, 256, 2))
