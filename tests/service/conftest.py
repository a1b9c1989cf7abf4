"""A small index of real images, and the service over it without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from starlette.testclient import TestClient

from diml.search import Index, index_folder
from diml.service import ServiceSettings, create_app

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"
FOLDERS = 12
URL = "http://localhost"

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def emoji(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 48 emoji in 12 classes."""
    folder = tmp_path_factory.mktemp("service") / "emoji"
    for each in sorted(SAMPLE.iterdir())[:FOLDERS]:
        shutil.copytree(each, folder / each.name)
    return folder


@pytest.fixture(scope="session")
def emoji_index(emoji: Path) -> Path:
    """An index of them; not to be changed."""
    torch.set_num_threads(1)
    path = emoji.parent / "emoji.diml"
    index_folder(emoji, path, labels_from="folder")
    return path


@pytest.fixture(scope="session")
def library(emoji_index: Path) -> Index:
    """The same index, opened by the library."""
    return Index.open(emoji_index)


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Start the service over indices; it is ready when it is returned."""
    with ExitStack() as stack:

        def start(*indexes: Path, **settings: object) -> TestClient:
            app = create_app(ServiceSettings.of(indexes=indexes, **settings))
            client = stack.enter_context(TestClient(app, base_url=URL, raise_server_exceptions=False))
            wait_until_ready(client)
            return client

        yield start


@pytest.fixture(scope="module")
def client(serve: Serve, emoji_index: Path) -> TestClient:
    return serve(emoji_index, batch=1)


def wait_until_ready(client: TestClient) -> None:
    import time

    end = time.monotonic() + 120
    while "prepared" in (detail := client.get("/health").json().get("detail", "")) or "not been opened" in detail:
        assert time.monotonic() < end, detail
        time.sleep(0.05)
