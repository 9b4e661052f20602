"""
Who keeps a response that a client asks for by nothing but its id: told by the tag on it.

A response belongs to a tenant, as conversations do, and is to be had by whoever of the tenant's callers may use a model
that has the deployment.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.identity.caller import Caller
from penstock.gateway.ownership.tags import MOST_GIVEN, Kind, Tags
from penstock.gateway.place import Place
from penstock.gateway.view import Route, View
from penstock.types.errors import ResponseNotFound

_MAX_ECHO = 200  # characters of a client's text that an error repeats


class Keeper(msgspec.Struct, frozen=True):
    """
    Attributes:
        route: of the first model, in the order of the stack file, that the caller may use and that has the deployment.
        place: the deployment.
        endpoint: the one of its endpoints that keeps the response, by name.
        original: what that calls the response.
    """

    route: Route
    place: Place
    endpoint: str
    original: str


def keeper_of(given: str, caller: Caller, tags: Tags, view: View) -> Keeper:
    """
    Return who keeps a response for a caller.

    Args:
        given: what the client calls it.
    Raises:
        ResponseNotFound: nobody does, as far as this caller is to know.
    """
    owners = {owner: place for place in view.places.values() for owner in place.owners}
    original, endpoint = tags.owner(Kind.RESPONSE, caller.tenant, owners, given[:MOST_GIVEN])
    if endpoint is not None:
        place = owners[endpoint]
        for name, route in view.routes.items():
            if place.name in route.plans[0].names and caller.may_use(name):
                return Keeper(route, place, endpoint, original)
    raise unknown(given)


def unknown(given: str) -> ResponseNotFound:
    """Say that there is no such response, in the words of OpenAI's API, whatever the reason is."""
    return ResponseNotFound(f"Response with id '{given[:_MAX_ECHO]}' not found.")
