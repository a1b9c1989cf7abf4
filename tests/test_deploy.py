"""The files for containers and systemd: what linters say, and what they promise about the service."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy" / "diml.service"
HADOLINT = Path(sys.executable).parent / "hadolint"
SYSTEMD = shutil.which("systemd-analyze")


def lines_of_dockerfile():
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_hadolint_finds_nothing():
    run = subprocess.run([HADOLINT, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout + run.stderr, run.returncode) == ("", 0)


def test_the_container_is_not_root_and_its_base_is_pinned():
    lines = lines_of_dockerfile()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM")) :]
    assert [line for line in last_stage if line.startswith("USER")] == ["USER 10001"]
    assert any(line.startswith("HEALTHCHECK") and "/health" in line for line in last_stage)


def test_the_health_check_is_a_program_that_fails_where_nothing_answers(monkeypatch):
    (check,) = [line for line in lines_of_dockerfile() if line.startswith("HEALTHCHECK")]
    program = re.search(r'"-c", "(.*)"\]$', check).group(1).replace('\\"', '"')
    monkeypatch.setenv("DIML_SERVE_PORT", "1")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "Connection refused" in run.stderr


def test_only_what_is_needed_is_sent_to_the_builder():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [line.split()[1:-1] for line in lines_of_dockerfile() if line.startswith("COPY") and "--from" not in line]
    assert sorted(name for names in copied for name in names) == sorted(kept)


@pytest.mark.skipif(SYSTEMD is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path):
    installed = tmp_path / "diml.service"
    installed.write_text(UNIT.read_text().replace("/opt/diml/bin/diml", shutil.which("true")))
    run = subprocess.run([SYSTEMD, "verify", installed], capture_output=True, text=True, check=False)
    assert (run.stdout + run.stderr, run.returncode) == ("", 0)


@pytest.mark.skipif(SYSTEMD is None, reason="no systemd-analyze here")
def test_the_unit_is_hardened():
    command = [SYSTEMD, "security", "--offline=true", "--no-pager", UNIT]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if "exposure level" not in run.stdout:
        pytest.skip("this systemd-analyze does not judge units offline")
    assert float(re.search(r"exposure level for diml.service: ([\d.]+)", run.stdout).group(1)) < 2


def test_the_unit_takes_the_token_from_a_credential_and_writes_nothing():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert "--token-file ${CREDENTIALS_DIRECTORY}/token" in service["ExecStart"]
    assert service["LoadCredential"].startswith("token:")
    expected = {"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "ReadOnlyPaths": "/srv/diml"}
    assert {name: service[name] for name in expected} == expected
