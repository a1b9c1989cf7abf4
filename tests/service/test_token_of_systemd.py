"""The token where systemd hands it to a service: a file of root with an access list, which shows as mode 0440."""

import os

import pytest

from diml.errors import UsageError
from diml.service.token import read_token

TOKEN = "0123456789abcdef"
pytestmark = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="makes a file of root")


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


def test_a_service_that_is_not_root_takes_it(token_file, monkeypatch):
    token_file.chmod(0o440)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    assert read_token(token_file) == TOKEN


@pytest.mark.parametrize(("mode", "user"), [(0o440, 0), (0o444, 10001), (0o460, 10001), (0o604, 10001)])
def test_other_files_that_others_may_read_or_change_are_refused(token_file, monkeypatch, mode, user):
    token_file.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(UsageError, match="others may read the token"):
        read_token(token_file)
