"""How gateways prove to a cloud who they are. Secrets travel as references; the rest is no secret."""

from __future__ import annotations

import msgspec

from penstock.auth.secrets import SecretRef
from penstock.types.address import Address


class Aws(msgspec.Struct, frozen=True, tag="aws"):
    """
    Keys of AWS that do not change by themselves, or that somebody renews in the files that they are in.

    Attributes:
        service: whose signatures are made: `bedrock`, `bedrock-mantle`, `sagemaker`.
        bearer: a token signed ahead goes with each request, in place of a signature of its own.
        session_token: None for the keys of a user.
    """

    access_key_id: SecretRef
    secret_access_key: SecretRef
    region: str
    service: str
    bearer: bool = False
    session_token: SecretRef | None = None


class Google(msgspec.Struct, frozen=True, tag="google"):
    """
    A service account of Google's.

    Attributes:
        key: its key file, as JSON; it says where tokens are issued.
    """

    key: SecretRef


class Entra(msgspec.Struct, frozen=True, tag="entra"):
    """
    An application in Microsoft Entra, by the client credentials grant.

    Attributes:
        tenant: the directory, by its id or a domain.
        authority: where tokens are issued.
    """

    tenant: str
    client_id: str
    client_secret: SecretRef
    authority: Address
    scope: str


Credential = Aws | Google | Entra
