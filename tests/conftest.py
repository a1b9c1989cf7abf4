"""Bounds the number of threads, so that test processes do not compete for cores, and keeps model hubs offline."""

import os
from pathlib import Path

# pytest-xdist starts one process per core: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import jaxtyping
import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

MATCHING = [
    *("concentration", "functional", "marginals", "match", "matcher", "newton", "pair_lists", "partial", "parts"),
    *("reference", "regions", "score", "topk", "transport", "unit_maps"),
]
# The shapes in signatures are checked wherever tests call; compiled kernels are left as they are.
jaxtyping.install_import_hook(
    [
        "diml.feature_maps",
        "diml.embedding",
        "diml.evaluation.metrics",
        *(f"diml.matching.{module}" for module in MATCHING),
        "diml.model.rollout",
    ],
    "beartype.beartype",
)


# Where those signatures are tested. Tests of what uses them would take a third longer with the checks.
CHECKED = {"matching", "embedding", "evaluation", "model", "test_feature_maps.py"}


@pytest.fixture(scope="module", autouse=True)
def checked_shapes(request):
    """The checks are on in the tests of `CHECKED` and in docstrings."""
    tests = Path(__file__).parent
    inside = request.path.relative_to(tests).parts[0] if request.path.is_relative_to(tests) else None
    jaxtyping.config.update("jaxtyping_disable", inside is not None and inside not in CHECKED)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def unchecked_shapes():
    """For tests of what a caller gets who passes something wrong, outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# --- small models whose cells see nothing but themselves, so that the right explanation is known ---------------------


def _noise_image(seed, size=(32, 32)):
    from PIL import Image

    values = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


@pytest.fixture(scope="session")
def noise_image():
    """An image of noise, by its seed."""
    return _noise_image


def _small_model(backbone=None, grid=(4, 4), **matcher):
    from diml.embedding import Preprocessing
    from diml.matching import Matcher
    from diml.model import StructuralModel

    if backbone is None:
        torch.manual_seed(0)
        backbone = torch.nn.Conv2d(3, 6, 8, 8)
    plain = Preprocessing(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return StructuralModel.wrap(backbone, plain, grid=grid, matcher=Matcher(**matcher))


@pytest.fixture(scope="session")
def small_model():
    """A model of 32 x 32 pixels and 4 x 4 cells, by its backbone and its matcher's settings."""
    return _small_model


class _OneCell(torch.nn.Module):
    def __init__(self, cell):
        super().__init__()
        torch.manual_seed(1)
        self.patches = torch.nn.Conv2d(3, 6, 8, 8)
        self.row, self.column = cell

    def forward(self, pixels):
        found = self.patches(pixels)
        features = torch.full_like(found, 0.01)
        features[:, :, self.row, self.column] = found[:, :, self.row, self.column]
        return features


@pytest.fixture(scope="session")
def one_cell():
    """A backbone for `small_model` of which one cell alone, `(row, column)`, depends on the image."""
    return _OneCell


# --- a small index of real images -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def emoji(tmp_path_factory):
    """A folder of 48 emoji in 12 classes."""
    import shutil

    sample = Path(__file__).parents[1] / "sample" / "emoji"
    folder = tmp_path_factory.mktemp("emoji") / "emoji"
    for each in sorted(sample.iterdir())[:12]:
        shutil.copytree(each, folder / each.name)
    return folder


@pytest.fixture(scope="session")
def emoji_index(emoji):
    """The path of an index of them; not to be changed."""
    from diml.search import index_folder

    path = emoji.parent / "emoji.diml"
    index_folder(emoji, path, labels_from="folder")
    return path


@pytest.fixture(scope="session")
def library(emoji_index):
    """The same index, opened by the library."""
    from diml.search import Index

    return Index.open(emoji_index)


# --- the images of a folder, packed ---------------------------------------------------------------------------------


class _Packing:
    """Packs the images of a folder into files; all give the folders in it as the labels."""

    def __init__(self, folder):
        self.folder = folder
        self.names = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*.png"))
        self.labels = [name.split("/")[0] for name in self.names]
        self.images = [(folder / name).read_bytes() for name in self.names]

    def tar(self, file, start=0, end=None, members=()):
        """A tar as WebDataset has it; `members` are (name, content) of further ones."""
        import io
        import json
        import tarfile

        with tarfile.open(file, "w") as tar:

            def add(name, content):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

            for at in range(len(self.names))[start:end]:
                key = self.names[at].partition(".")[0]
                add(f"{key}.cls", self.labels[at].encode())
                add(f"{key}.json", json.dumps({"number": at, "good": True, "box": [1, 2]}).encode())
                add(self.names[at], self.images[at])
            for name, content in members:
                add(name, content)
        return file

    def table(self, form="bytes", **columns):
        """An Arrow table: the images as bytes, or as a struct of Hugging Face's datasets."""
        import pyarrow as pa

        images = self.images
        if form == "struct":
            images = [{"bytes": data, "path": name} for data, name in zip(self.images, self.names, strict=True)]
        numbers = list(range(len(images)))
        return pa.table({"image": images, "label": self.labels, "number": numbers, **columns})

    def parquet(self, file, rows=7, **columns):
        """A Parquet file with a column of paths and small row groups."""
        import pyarrow.parquet as pq

        pq.write_table(self.table(path=self.names, **columns), file, row_group_size=rows)
        return file

    def lance(self, folder, **columns):
        """A Lance dataset with a column of paths."""
        import lancedb

        lancedb.connect(folder.parent).create_table(folder.stem, self.table(path=self.names, **columns))
        return folder


@pytest.fixture(scope="session")
def packing():
    """packing(folder): packs its images."""
    return _Packing


# --- an object store ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3_server():
    """The address of an S3-compatible server on loopback, which stops with the tests."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """`s3(files)` puts {path: content} into a new bucket and gives its address, `s3://...`."""
    import secrets

    import boto3

    from diml.data import object_files

    given = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    for name, value in {**given, "ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")

    def bucket(files, name=None):
        if name is None:
            name = f"bucket-{secrets.token_hex(4)}"
            client.create_bucket(Bucket=name)
        for path, content in files.items():
            client.put_object(Bucket=name, Key=path, Body=content)
        return f"s3://{name}"

    object_files._store.cache_clear()
    bucket.client = client
    yield bucket
    object_files._store.cache_clear()
