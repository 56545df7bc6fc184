"""Real certificates, made with the openssl command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

OPENSSL = shutil.which("openssl")
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """Signs certificates; files lie in one directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.certificate = directory / f"{name}.pem"
        self._directory = directory
        self._key = directory / f"{name}.key"
        directory.mkdir(exist_ok=True)
        _openssl("req", "-x509", *EC, "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate)

    def issue(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
        """Certificate and key, `NAME.pem` and `NAME.key`; those of before are replaced."""
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        fresh = certificate.with_suffix(".new"), key.with_suffix(".keynew")
        signer = ("-CA", self.certificate, "-CAkey", self._key, "-addext", f"subjectAltName={names}")
        _openssl("req", "-x509", *EC, *signer, "-subj", f"/CN={name}", "-keyout", fresh[1], "-out", fresh[0])
        fresh[1].replace(key)
        fresh[0].replace(certificate)
        return certificate, key

    def client(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """What a client needs to trust it, and to show a certificate of its own."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
