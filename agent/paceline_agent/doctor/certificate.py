"""Whether clients that trust the server's certificate would take it now."""

from __future__ import annotations

import ssl
from dataclasses import replace

from ..tls import TlsSettings, make_context

OUT_OF_DATE = {9: "it is not valid yet", 10: "it has expired"}
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of openssl/x509_vfy.h."""


def refusal(tls: TlsSettings) -> str:
    """Why none does, as for its dates; empty where they are good. Raises WebConfigError where no server could be
    made of these settings."""
    server = make_context(tls)
    if tls.client_auth != ssl.CERT_NONE:
        server = make_context(replace(tls, client_auth=ssl.CERT_NONE, client_ca=None))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this very certificate, whoever signed it
    client.load_verify_locations(cadata=tls.certificate.read())
    try:
        _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        return OUT_OF_DATE.get(error.verify_code, "")
    except ssl.SSLError:  # of a server that this client does not suit: says nothing of dates
        return ""
    return ""


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """In memory, until the client has seen the certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
