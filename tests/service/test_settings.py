"""Settings from arguments and from the environment, and sentences for wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from diml.errors import UsageError
from diml.service import ServiceSettings


def test_arguments_go_before_the_environment(monkeypatch):
    monkeypatch.setenv("DIML_SERVE_PORT", "9000")
    monkeypatch.setenv("DIML_SERVE_QUEUE", "7")
    monkeypatch.setenv("DIML_SERVE_INDEXES", "a.diml,b.diml")
    monkeypatch.setenv("DIML_SERVE_WRITABLE", "true")
    monkeypatch.setenv("DIML_SERVE_ALLOW_ORIGINS", "https://a.example,https://b.example")
    found = ServiceSettings.of(port=9001, queue=None)
    assert (found.port, found.queue, found.writable) == (9001, 7, True)
    assert found.allow_origins == ("https://a.example", "https://b.example")
    assert found.named == {"a": (Path("a.diml"),), "b": (Path("b.diml"),)}


def test_a_backend_that_does_not_exist():
    from diml.service import create_app

    with pytest.raises(
        UsageError,
        match="of auto, torch, openvino, onnx, torch-bf16, openvino-bf16, got 'tensorflow'",
    ):
        create_app(ServiceSettings.of(indexes=["a.diml"], backend="tensorflow"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "expected at least one index to serve; name one, or set DIML_SERVE_INDEXES"),
        ({"indexes": ["a.diml"], "port": 70000}, "port: input should be less than or equal to 65535, got 70000"),
        ({"indexes": ["a.diml"], "queue": "many"}, "queue: input should be a valid integer"),
        ({"indexes": ["a.diml"], "nothing": 1}, "nothing: extra inputs are not permitted"),
    ],
    ids=str,
)
def test_wrong_settings(given, sentence):
    with pytest.raises(UsageError) as caught:
        ServiceSettings.of(**given)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("DIML_SERVE_PORT", "many")
    with pytest.raises(UsageError, match=r"^DIML_SERVE_PORT: input should be a valid integer"):
        ServiceSettings.of(indexes=["a.diml"])


def test_two_indices_of_one_name():
    settings = ServiceSettings.of(indexes=["a/photos.diml", "b/photos"])
    with pytest.raises(UsageError, match="two indices have the name photos"):
        assert settings.named
