"""What a TLS failure tells a person to do."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from service_identity import VerificationError

from regproxy.upstream.failures import explain, tls_reason


def broken(*words: str) -> SSL.Error:
    return SSL.Error([("SSL routines", "", word) for word in words])


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (broken("certificate verify failed"), "'ca:' names its file"),
        (broken("certificate verify failed"), "expired"),
        (broken("tlsv13 alert certificate required"), "'client_cert:' names a certificate"),
        (broken("tls alert bad certificate"), "'client_cert:' names a certificate"),  # Go, TLS 1.2 and 1.3
        (broken("sslv3 alert handshake failure"), "'client_cert:' names a certificate"),  # OpenSSL, TLS 1.2
        (broken("tlsv1 alert unknown ca"), "the authority that signed our 'client_cert'"),
        (broken("wrong version number"), "'insecure: true'"),
        (VerificationError(errors=[]), "for another name"),
        (broken(), "the connection was lost"),
    ],
)
def test_it_says_what_to_write(error: Exception, hint: str) -> None:
    assert hint in tls_reason(error)
    assert hint in explain("corp", "corp.example", error).reason


def test_other_words_have_no_hint() -> None:
    assert tls_reason(broken("unexpected eof")) == "unexpected eof"
