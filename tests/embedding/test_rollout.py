"""Attention rollout of small, untrained ViTs against naive loops; what it leaves as it found it."""

import numpy as np
import pytest
import torch
from torch import nn

from diml.embedding import Rollout, TimmBackbone, attention_rollout
from diml.embedding.rollout import mixed
from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher
from diml.model import StructuralModel, rollout_marginals, rollout_of, spread


@pytest.fixture(scope="module")
def backbone():
    """Ten by ten patches and a class token; the attention of an untrained ViT is nearly even, so it is sharpened."""
    torch.manual_seed(0)
    made = TimmBackbone("test_vit")
    for block in made.model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.2)
    return made


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


def attentions(backbone, pixels):
    """(blocks, n, t, t) averaged over heads, from the inputs of each block's attention, head by head, in numpy."""
    inputs = []
    handles = [
        block.attn.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        for block in backbone.model.blocks
    ]
    with torch.no_grad():
        backbone(pixels)
    for handle in handles:
        handle.remove()
    found = []
    for block, x in zip(backbone.model.blocks, inputs, strict=True):
        attn = block.attn
        with torch.no_grad():
            q, k, _ = attn.qkv(x).double().numpy().reshape(*x.shape[:2], 3, -1).transpose(2, 0, 1, 3)
        heads = []
        for head in range(attn.num_heads):
            part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
            scores = q[:, :, part] @ k[:, :, part].transpose(0, 2, 1) / np.sqrt(attn.head_dim)
            weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(weights / weights.sum(axis=-1, keepdims=True))
        found.append(sum(heads) / len(heads))
    return found


def naive(backbone, pixels, last):
    found = attentions(backbone, pixels)
    rollout = np.stack([np.eye(found[0].shape[1])] * len(pixels))
    for attention in found[len(found) - min(last, len(found)) :]:
        step = attention + np.eye(attention.shape[1])
        rollout = (step / step.sum(axis=-1, keepdims=True)) @ rollout
    prefix = backbone.model.num_prefix_tokens
    patches = rollout[:, prefix:, prefix:]
    return patches / patches.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("last", [1, 2, 4, 99])
def test_it_is_what_loops_give(backbone, pixels, last):
    found = attention_rollout(backbone, pixels, last)
    np.testing.assert_allclose(found.attention.numpy(), naive(backbone, pixels, last), atol=1e-5)
    assert found.grid == (10, 10)
    assert not found.attention.requires_grad


@pytest.mark.parametrize("last", [1, 2, 4])
def test_a_token_keeps_its_share_of_its_own_patch(backbone, pixels, last):
    own = attention_rollout(backbone, pixels, last).attention.diagonal(dim1=1, dim2=2)
    assert (own >= 2.0**-last - 1e-6).all()


def test_more_blocks_say_something_else(backbone, pixels):
    one, two = (attention_rollout(backbone, pixels, last).attention for last in (1, 2))
    assert (one - two).abs().max() > 1e-3
    mass = one.mean(dim=1)
    assert mass.max() > 1.5 * mass.min()  # the sharpened attention prefers some patches


@pytest.mark.parametrize("name", ["test_vit2", "test_vit3", "test_vit4"])
def test_other_vits_of_timm(name):
    torch.manual_seed(0)
    backbone = TimmBackbone(name)
    side = backbone.preprocessing().size[0]
    found = attention_rollout(backbone, torch.randn(1, 3, side, side), 2)
    features = backbone(torch.zeros(1, 3, side, side))
    assert found.grid == tuple(features.shape[2:])
    torch.testing.assert_close(found.attention.sum(dim=2), torch.ones(1, found.attention.shape[1]))


class TestNothingIsLeftBehind:
    def state(self, backbone):
        blocks = backbone.model.blocks
        hooks = sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in backbone.modules())
        return [block.attn.fused_attn for block in blocks], [m.training for m in backbone.modules()], hooks

    def test_after_a_rollout(self, backbone, pixels):
        backbone.model.blocks[0].train()  # one module in another mode than the rest
        before, output = self.state(backbone), backbone(pixels)
        assert any(before[0]), "fused attention is on to begin with"
        attention_rollout(backbone, pixels, 2)
        assert self.state(backbone) == before
        assert torch.equal(backbone(pixels), output)
        backbone.eval()

    def test_after_an_error(self, backbone, pixels):
        def fail(*_):
            raise RuntimeError("in the middle of the last block")

        before = self.state(backbone)
        handle = backbone.model.blocks[-1].attn.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            attention_rollout(backbone, pixels, 2)
        handle.remove()
        assert self.state(backbone) == before

    def test_only_the_last_blocks_are_unfused(self, backbone, pixels):
        seen = []
        handles = [
            block.attn.register_forward_pre_hook(lambda module, _: seen.append(module.fused_attn))
            for block in backbone.model.blocks
        ]
        attention_rollout(backbone, pixels, 2)
        for handle in handles:
            handle.remove()
        assert seen == [True] * (len(seen) - 2) + [False] * 2


class TestWeights:
    def random(self, grid, n=3):
        torch.manual_seed(0)
        parts = grid[0] * grid[1]
        return Rollout(torch.rand(n, parts, parts, dtype=torch.float64).softmax(dim=2), grid)

    @pytest.mark.parametrize("grid", [(4, 4), (7, 7), (2, 5), (1, 1)])
    def test_mass_and_shares_sum_to_1(self, grid):
        rolled = self.random((7, 5))
        torch.testing.assert_close(rolled.weights(grid).sum(dim=1), torch.ones(3, dtype=torch.float64))
        shares = rolled.shares(grid)
        assert shares.shape == (3, grid[0] * grid[1], 35)
        torch.testing.assert_close(shares.sum(dim=2), torch.ones(3, grid[0] * grid[1], dtype=torch.float64))

    def test_a_patch_is_shared_out_by_area(self):
        """7 x 7 patches to 4 x 4 cells, counted in 28 x 28 pieces."""
        rolled = self.random((7, 7), n=1)
        mass = rolled.attention[0].mean(dim=0).reshape(7, 7)
        fine = mass.repeat_interleave(4, 0).repeat_interleave(4, 1) / 16
        expected = fine.reshape(4, 7, 4, 7).sum(dim=(1, 3)).flatten()
        torch.testing.assert_close(rolled.weights((4, 4))[0], expected)

    def test_tokens_that_stay_at_home_weigh_alike(self):
        rolled = Rollout(torch.eye(49, dtype=torch.float64)[None], (7, 7))
        torch.testing.assert_close(rolled.weights((4, 4)), torch.full((1, 16), 1 / 16, dtype=torch.float64))

    def test_a_token_that_none_looks_at_weighs_nothing(self):
        attention = torch.full((1, 4, 4), 1 / 3)
        attention[..., 2] = 0
        assert Rollout(attention, (2, 2)).weights((2, 2))[0].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


def test_mixed_is_the_mean_of_heads_plus_identity():
    attention = torch.rand(2, 3, 5, 5).softmax(dim=-1)
    torch.testing.assert_close(mixed(attention), (attention.mean(dim=1) + torch.eye(5)) / 2)


class TestSpread:
    def maps(self, seed, n=2, grid=(2, 3)):
        g = torch.Generator().manual_seed(seed)
        return FeatureMaps(torch.randn(n, 6, 8, generator=g, dtype=torch.float64), grid)

    def rolled(self, seed, grid=(4, 5)):
        g = torch.Generator().manual_seed(seed)
        parts = grid[0] * grid[1]
        return Rollout(torch.rand(2, parts, parts, generator=g, dtype=torch.float64).softmax(dim=2), grid)

    def test_patches_sum_to_the_same_similarity(self):
        match = Matcher(mass=0.8).tight().match(self.maps(0), self.maps(1))
        patches = spread(match, self.rolled(0), self.rolled(1))
        assert patches.shape == (2, 20, 20)
        torch.testing.assert_close(patches.sum(dim=(1, 2)), match.similarity, atol=1e-13, rtol=0)

    def test_it_is_the_double_sum(self):
        match = Matcher().tight().match(self.maps(2), self.maps(3))
        a, b = self.rolled(2), self.rolled(3)
        patches = spread(match, a, b)
        pa, pb = a.shares((2, 3)), b.shares((2, 3))
        for s, t in ((0, 0), (7, 3), (19, 11)):
            naive = sum(pa[1, i, s] * match.contributions[1, i, j] * pb[1, j, t] for i in range(6) for j in range(6))
            torch.testing.assert_close(patches[1, s, t], naive)

    def test_tokens_that_stay_at_home_change_nothing(self):
        match = Matcher().tight().match(self.maps(4), self.maps(5))
        home = Rollout(torch.eye(6, dtype=torch.float64).repeat(2, 1, 1), (2, 3))
        torch.testing.assert_close(spread(match, home, home), match.contributions)

    def test_other_numbers_of_images_are_refused(self):
        match = Matcher().match(self.maps(4), self.maps(5))
        with pytest.raises(UsageError, match="rollouts of 2 images on each side"):
            spread(match, self.rolled(0)[:1], self.rolled(1))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return StructuralModel.from_pretrained("timm:test_vit?weights=random")


class TestModel:
    def test_marginals_of_images(self, model):
        images = torch.rand(11, 3, 50, 70)
        mu = rollout_marginals(model, list(images), last=2)
        assert mu.shape == (11, 16)
        torch.testing.assert_close(mu.sum(dim=1), torch.ones(11))
        torch.testing.assert_close(rollout_marginals(model, [images[9]], last=2)[0], mu[9], atol=1e-6, rtol=0)
        maps = model.encode(images)
        match = model.with_matcher(marginals=(mu[:1], mu[1:2]), mass=0.9).explain(maps[0], maps[1])
        assert match.residual.abs().max() < 1e-12
        assert (match.plan.sum(dim=2) <= mu[:1] / 0.9 + 1e-5).all()

    def test_pixels_are_those_of_encode(self, model):
        image = torch.rand(3, 50, 70)
        ready = model.encoder.preprocessing
        pixels = ready.normalise(ready(image).values[None])
        assert torch.equal(
            rollout_of(model, [image], 3).attention, attention_rollout(model.encoder.backbone, pixels, 3).attention
        )

    def test_what_is_refused(self, model, tmp_path):
        with pytest.raises(UsageError, match="at least 1 block, got 0"):
            rollout_of(model, [torch.rand(3, 9, 9)], 0)
        with pytest.raises(UsageError, match="no images"):
            rollout_of(model, [], 1)
        with pytest.raises(ImageError, match=r"none\.png"):
            rollout_of(model, [tmp_path / "none.png"], 1)

    @pytest.mark.parametrize(
        "name", ["lite0", "timm:test_resnet?weights=random", "timm:swin_s3_tiny_224?weights=random"]
    )
    def test_models_without_global_attention_are_refused(self, name):
        model = StructuralModel.from_pretrained(name)
        with pytest.raises(UsageError, match=r"expected a plain vision transformer.*partial transport"):
            rollout_of(model, [torch.rand(3, 9, 9)], 1)

    def test_a_module_of_the_callers_is_refused(self):
        with pytest.raises(UsageError, match="Conv2d"):
            attention_rollout(nn.Conv2d(3, 4, 8), torch.zeros(1, 3, 8, 8), 1)
