"""
Microsoft Entra: an application's secret for a token.

Source: "Microsoft identity platform and the OAuth 2.0 client credentials flow", first case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.auth.secrets import resolve
from penstock.gateway.upstream.credentials.exchanged import Exchanged
from penstock.gateway.upstream.credentials.issuer import Issuer
from penstock.snapshot.credential import Entra


def build(given: Entra, environ: Mapping[str, str], clock: Callable[[], float]) -> Exchanged:
    """
    Make the credential. Connects to nothing.

    Raises:
        SecretMissing: the secret is not there.
    """
    resolve(given.client_secret, environ)
    authority = given.authority
    address = msgspec.structs.replace(authority, path=f"{authority.path}/{given.tenant}/oauth2/v2.0/token")

    def form() -> Mapping[str, str]:
        return {
            "client_id": given.client_id,
            "scope": given.scope,
            "client_secret": resolve(given.client_secret, environ),
            "grant_type": "client_credentials",
        }

    return Exchanged(f"token of Entra for {given.client_id}", Issuer(address, environ, clock), form, clock)
