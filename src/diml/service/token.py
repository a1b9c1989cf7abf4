"""The token that requests must carry, from a file that only its owner can read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from diml.errors import UsageError

LENGTH = 16
MAKE = "make one with: (umask 077; openssl rand -hex 32 > FILE)"


def read_token(file: Path) -> str:
    """The token in a file: one line of at least 16 printable characters, in a file of mode 0600 or stricter.

    A file of root that the group may read is taken too, unless root asks: systemd hands credentials to a service with
    an access list, which shows as mode 0440.

    Raises:
        UsageError: the file cannot be read, others may read it, or it holds no token.
    """
    try:
        with open(file, "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{file} is not a regular file; expected a file with a token; {MAKE}")
            of_root = os.name == "posix" and status.st_uid == 0 and os.geteuid() != 0
            if os.name == "posix" and status.st_mode & (0o037 if of_root else 0o077):
                mode = stat.S_IMODE(status.st_mode)
                raise UsageError(f"{file} has mode {mode:04o}, so others may read the token; use: chmod 600 {file}")
            if os.name == "posix" and status.st_uid not in (os.geteuid(), 0):
                raise UsageError(f"{file} belongs to another user, who may change it; copy it to a file of yours")
            text = opened.read(4096).decode("ascii", "replace").strip()
    except OSError as error:
        raise UsageError(f"{file} cannot be read as a token ({error.strerror}); {MAKE}") from error
    if not re.fullmatch(rf"[\x21-\x7e]{{{LENGTH},}}", text):
        raise UsageError(f"{file} holds no token: expected one line of at least {LENGTH} characters; {MAKE}")
    return text
