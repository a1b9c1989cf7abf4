"""The whitening head against scikit-learn, and with too little to fit it on."""

import pytest
import torch
from sklearn.decomposition import PCA

from diml.embedding import fit_whitening
from diml.errors import UsageError


def sample(n, channels=12):
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, channels, generator=g, dtype=torch.float64)
        @ torch.randn(channels, channels, generator=g).double()
    )


def test_without_shrinkage_it_is_whitened_pca():
    x = sample(200)
    ours = fit_whitening(x, 5, shrinkage=0.0).double()(x)
    theirs = torch.from_numpy(PCA(5, whiten=True).fit_transform(x.numpy()))
    torch.testing.assert_close((ours * theirs).mean(0).abs(), torch.ones(5).double() * 199 / 200, atol=1e-4, rtol=0)


def test_it_commutes_with_the_mean():
    x = sample(100).float()
    head = fit_whitening(x, 4)
    torch.testing.assert_close(head(x).mean(0), head(x.mean(0)), atol=1e-5, rtol=0)


def test_directions_without_variance_are_dropped():
    x = sample(100)
    x[:, 3:] = x[:, :3].sum(1, keepdim=True)
    head = fit_whitening(x, 8)
    assert head.out_features == 3
    assert torch.isfinite(head.weight).all()


def test_repeats_and_keeps_the_sign():
    x = sample(60)
    assert torch.equal(fit_whitening(x, 6).weight, fit_whitening(x.clone(), 6).weight)


@pytest.mark.parametrize(
    ("x", "dim", "said"),
    [
        (sample(8), 8, "better twice as many"),
        (sample(40), 13, "12 channels"),
        (sample(40), 0, "1 to"),
        (torch.ones(40, 12), 4, "same embedding"),
    ],
)
def test_what_cannot_be_fitted_is_refused(x, dim, said):
    with pytest.raises(UsageError, match=said):
        fit_whitening(x, dim)
