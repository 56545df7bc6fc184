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

    def issue_between(self, name: str, first: str, last: str) -> tuple[Path, Path]:
        """One that is good between two dates, written `20240131000000Z`."""
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        request, settings = certificate.with_suffix(".request"), certificate.with_suffix(".conf")
        files = "\n".join(f"{kind} = {self._directory / kind}" for kind in ("database", "new_certs_dir"))
        settings.write_text(
            f"[ca]\ndefault_ca = one\n[one]\n{files}\npolicy = any\ndefault_md = sha256\nrand_serial = yes\n"
            "[any]\ncommonName = supplied\n"
        )
        (self._directory / "database").touch()
        (self._directory / "new_certs_dir").mkdir(exist_ok=True)
        _openssl("req", *EC[:-2], "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signer = ("-cert", self.certificate, "-keyfile", self._key, "-startdate", first, "-enddate", last)
        _openssl("ca", "-batch", "-notext", "-config", settings, *signer, "-in", request, "-out", certificate)
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
