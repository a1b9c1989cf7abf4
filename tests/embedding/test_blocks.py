"""timm models that stop at an inner block, or take another input size: timm's own numbers, or a sentence."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from diml.embedding import Inference, TimmBackbone, attention_rollout, load_weights
from diml.embedding.rollout import block_attentions, rolled
from diml.errors import ModelError


@pytest.fixture(scope="module")
def whole():
    """A ViT with ten by ten patches; its attention, nearly even when untrained, is sharpened."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0).eval()
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.2)
    nn.init.normal_(model.norm.weight)
    return model


@pytest.fixture(scope="module")
def weights(whole, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(whole.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))


def loaded(weights, **options):
    backbone = TimmBackbone("test_vit", **options)
    load_weights(backbone, weights)
    return backbone.eval()


@torch.no_grad()
@pytest.mark.parametrize("block", range(6))
@pytest.mark.parametrize("norm", [False, True])
def test_a_block_is_what_a_loop_over_the_blocks_gives(whole, weights, pixels, block, norm):
    x = whole.norm_pre(whole._pos_embed(whole.patch_embed(pixels)))
    for each in whole.blocks[: block + 1]:
        x = each(x)
    tokens = (whole.norm(x) if norm else x)[:, whole.num_prefix_tokens :]
    backbone = loaded(weights, block=block, norm=norm)
    found = backbone(pixels)
    assert found.shape == (2, 64, 10, 10)
    torch.testing.assert_close(found.flatten(2).mT, tokens, atol=1e-6, rtol=0)
    assert torch.equal(backbone(pixels), found)


def test_what_comes_after_the_block_is_not_there(weights):
    backbone = loaded(weights, block=2)
    assert len(backbone.model.blocks) == 3
    assert isinstance(backbone.model.norm, nn.Identity)
    assert not any(name.startswith("model.norm.") for name in backbone.state_dict())
    assert isinstance(loaded(weights, block=2, norm=True).model.norm, nn.LayerNorm)


@torch.no_grad()
def test_the_last_block_with_the_norm_is_the_model_itself(weights, pixels):
    torch.testing.assert_close(loaded(weights, block=5, norm=True)(pixels), loaded(weights)(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "swin_s3_tiny_224", "convnext_atto"])
@torch.no_grad()
def test_a_stage_of_a_cnn(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    backbone = TimmBackbone(name, block=1)
    load = {key: value for key, value in model.state_dict().items() if key in backbone.model.state_dict()}
    backbone.model.load_state_dict(load)
    some = torch.randn(1, 3, *backbone.preprocessing().size)
    backbone.check()
    expected = model.forward_intermediates(some, indices=[1], intermediates_only=True)[0]
    torch.testing.assert_close(backbone(some), expected, atol=1e-6, rtol=0)
    assert sum(p.numel() for p in backbone.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.long
@pytest.mark.parametrize("family", timm.list_modules())
def test_a_block_of_every_family(family):
    """The smallest model of each: the numbers of timm's own second intermediate."""
    from tests.embedding.test_timm_families import smallest

    name, _ = smallest(family)
    torch.manual_seed(0)
    backbone = TimmBackbone(name, block=1)
    backbone.check()
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0).eval()
    some = torch.randn(1, 3, *backbone.preprocessing().size)
    with torch.no_grad():
        expected = whole.forward_intermediates(some, indices=[1], intermediates_only=True)[-1]
        assert torch.equal(backbone(some), expected)


@pytest.mark.parametrize(("block", "last"), [(2, 1), (3, 2), (3, 99)])
def test_a_rollout_ends_at_the_block(weights, pixels, block, last):
    found = attention_rollout(loaded(weights, block=block), pixels, last)
    whole = loaded(weights)
    steps = block_attentions(whole, pixels, 6)[max(0, block - last + 1) : block + 1]
    assert len(steps) == min(last, block + 1)
    torch.testing.assert_close(found.attention, rolled(steps, whole).attention)
    assert found.grid == (10, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "size"),
    [
        ("openvino", None),
        ("openvino", (96, 128)),
        ("onnx", (96, 128)),
        pytest.param("onnx", None, marks=pytest.mark.long),
    ],
)
def test_other_engines_agree(weights, backend, size):
    backbone, runs = loaded(weights, block=3, size=size), Inference(backend)
    some = torch.randn(3, 3, *backbone.preprocessing().size)
    with torch.no_grad():
        expected = backbone(some)
        for number in (1, 3):
            apart = (runs(backbone, some[:number]) - expected[:number]).abs().max() / expected.abs().max()
            assert apart < 1e-4
    assert runs.used(backbone) == backend


class TestSize:
    def test_the_input_and_the_map(self, weights):
        backbone = loaded(weights, size=(96, 128))
        assert backbone.preprocessing().size == (96, 128)
        assert backbone(torch.zeros(1, 3, 96, 128)).shape == (1, 64, 6, 8)
        assert attention_rollout(backbone, torch.zeros(1, 3, 96, 128), 2).grid == (6, 8)

    def test_position_embeddings_are_resampled(self, whole, weights):
        """From ten by ten to six by eight, bicubic; the class token keeps its own."""
        found = loaded(weights, size=(96, 128)).model.pos_embed.detach()
        stored, prefix = whole.pos_embed.detach(), whole.pos_embed.shape[1] - 100
        grid = stored[:, prefix:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
        expected = F.interpolate(grid, size=(6, 8), mode="bicubic", antialias=True).flatten(2).mT
        torch.testing.assert_close(found[:, prefix:], expected)
        assert torch.equal(found[:, :prefix], stored[:, :prefix])

    def test_the_own_size_changes_nothing(self, weights, pixels):
        with torch.no_grad():
            assert torch.equal(loaded(weights, size=(160, 160))(pixels), loaded(weights)(pixels))

    def test_a_file_of_another_size_needs_the_size(self, weights, tmp_path):
        smaller = loaded(weights, size=(96, 96))
        torch.save(smaller.model.state_dict(), tmp_path / "small.pth")
        with pytest.raises(ModelError, match=r"does not fit timm:test_vit: .* 1 have another shape, such as pos_embed"):
            load_weights(TimmBackbone("test_vit"), tmp_path / "small.pth")
        with torch.no_grad():
            some = torch.zeros(1, 3, 96, 96)
            assert torch.equal(loaded(tmp_path / "small.pth", size=(96, 96))(some), smaller(some))

    def test_a_cnn_takes_any(self):
        backbone = TimmBackbone("resnet10t", size=(96, 64))
        backbone.check()
        assert backbone(torch.zeros(1, 3, *backbone.preprocessing().size)).shape[2:] == (3, 2)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("test_vit", {"block": 6}, "timm:test_vit: has 6 blocks, 0 to 5, got 6"),
        ("test_vit", {"block": -1}, "has 6 blocks, 0 to 5, got -1"),
        ("resnet10t", {"block": 5}, "timm:resnet10t: has 5 blocks, 0 to 4, got 5"),
        ("test_vit", {"norm": True}, "norm is for a block; give block too"),
        ("resnet10t", {"block": 2, "norm": True}, "no final norm that can be applied to this block; leave norm out"),
        ("test_vit", {"size": (160, 100)}, "whole patches of 16x16 pixels, got 160x100"),
        ("resnet10t", {"size": (0, 32)}, "a size of 1 to 4096 pixels, got 0x32"),
        ("resnet10t", {"size": (64, 5000)}, "a size of 1 to 4096 pixels, got 64x5000"),
    ],
)
def test_what_cannot_be_is_refused(name, options, said):
    with pytest.raises(ModelError, match=said) as error:
        TimmBackbone(name, **options)
    assert "\n" not in str(error.value)


def test_a_model_without_intermediates_is_refused(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Identity())
    with pytest.raises(ModelError, match="timm:test_vit: gives only its last feature map; leave block out"):
        TimmBackbone("test_vit", block=1)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_model_that_fails_is_refused_in_a_sentence(monkeypatch):
    backbone = TimmBackbone("test_vit", block=1)
    monkeypatch.setattr(backbone.model, "forward_intermediates", lambda *_, **__: 1 / 0)
    with pytest.raises(ModelError, match=r"cannot be run with these options .*division by zero"):
        backbone.check()
    monkeypatch.setattr(backbone.model, "forward_intermediates", lambda pixels, **_: [pixels.mean(dim=(2, 3))])
    with pytest.raises(ModelError, match=r"expected a feature map, got a tensor of shape \(1, 3\)"):
        backbone.check()


def test_a_norm_that_changes_nothing_is_refused(monkeypatch):
    backbone = TimmBackbone("test_vit", block=1, norm=True)
    monkeypatch.setattr(backbone.model, "norm", nn.Identity())
    with pytest.raises(ModelError, match="no final norm"):
        backbone.check()
