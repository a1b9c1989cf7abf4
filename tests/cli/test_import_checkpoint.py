"""diml import-checkpoint: a model folder out of a published file, or one line and no folder."""

import pytest
import torch


@pytest.mark.slow
def test_a_checkpoint_becomes_a_model_that_other_commands_take(diml, refused, shapes, tmp_path):
    import torchvision

    torch.manual_seed(0)
    state = {f"model.{name}": value for name, value in torchvision.models.resnet50(weights=None).state_dict().items()}
    state["model.last_linear.weight"] = torch.randn(8, 2048)
    state["model.last_linear.bias"] = torch.randn(8)
    torch.save({"model": state}, tmp_path / "birds.pth")
    done = diml("import-checkpoint", tmp_path / "birds.pth", "--out", tmp_path / "birds")
    assert done.code == 0
    assert done.out == f"The model is in {tmp_path / 'birds'}: birds, dim 8\n"
    assert done.err == "Left out, because the embedding does not use it: fc\n"
    explained = diml("explain", shapes / "disc" / "0.png", shapes / "disc" / "1.png", "--model", tmp_path / "birds")
    assert explained.out.startswith("Similarity 0.")
    refused(2, "is not an empty folder", "import-checkpoint", tmp_path / "birds.pth", "--out", tmp_path / "birds")


def test_what_is_no_checkpoint_is_refused_and_nothing_is_written(refused, tmp_path):
    out = tmp_path / "model"
    refused(2, "no such checkpoint", "import-checkpoint", tmp_path / "missing.pth", "--out", out)
    (tmp_path / "text.pth").write_text("no checkpoint")
    refused(1, "is neither a safetensors file", "import-checkpoint", tmp_path / "text.pth", "--out", out)
    torch.save({"weights": {}}, tmp_path / "other.pth")
    refused(
        1, "expected a state dict (tensors by name), got a dict", "import-checkpoint", tmp_path / "other.pth", "-o", out
    )
    assert not out.exists()
