"""Certificates for tests, made by the `openssl` command."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    """Two PEM files."""

    cert_file: Path
    key_file: Path


def authority(folder: Path, name: str) -> Certificate:
    """A certificate that others are signed with."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(*_REQUEST, "-x509", "-subj", f"/CN={name}", "-out", made.cert_file, "-keyout", made.key_file)
    return made


def certificate(folder: Path, name: str, signer: Certificate, names: str = "IP:127.0.0.1") -> Certificate:
    """A certificate for a broker or a client, whose CN is the name."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\n", "ascii")
    _openssl(*_REQUEST, "-subj", f"/CN={name}", "-out", request, "-keyout", made.key_file)
    signing = ("-CA", signer.cert_file, "-CAkey", signer.key_file, "-CAcreateserial", "-days", "2")
    _openssl("x509", "-req", "-in", request, *signing, "-extfile", extensions, "-out", made.cert_file)
    return made


_REQUEST = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("openssl is not there, and this test needs certificates: install the package openssl")
    subprocess.run([found, *map(str, arguments)], check=True, capture_output=True)
