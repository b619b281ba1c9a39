"""What is trusted, and which TLS is spoken."""

from __future__ import annotations

import ssl


def tls_context(*, verify: bool = True, ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and newer that trusts `ca_file`, or the system's authorities.

    Raises:
        OSError: `ca_file` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A server may ask for new handshakes as often as it likes, and each costs us more than it costs it.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        _trust_the_system(context)
    return context


def _trust_the_system(context: ssl.SSLContext) -> None:
    # Not `load_default_certs`: it would believe SSL_CERT_FILE in the environment.
    paths = ssl.get_default_verify_paths()
    for cafile, capath in ((paths.openssl_cafile, None), (None, paths.openssl_capath)):
        try:
            context.load_verify_locations(cafile, capath)
        except OSError:
            continue
