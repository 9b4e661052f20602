"""
What one exchange has a claim to of what upstreams keep, and where it therefore goes.

Who goes on from a response that an upstream keeps can only go to the endpoint that has it. Who sends back what an
upstream has sealed, as thoughts are, had better go there: others are asked without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.gateway.ownership.items import Items
from penstock.gateway.ownership.stamp import Stamp
from penstock.gateway.ownership.tags import MOST_GIVEN, Kind, Tags
from penstock.gateway.place import Place
from penstock.gateway.view import Plan, Route, plan_of_one
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

NOT_FOUND = "previous_response_not_found"
_MAX_ECHO = 200  # characters of a client's text that an error repeats


class Claim(msgspec.Struct, frozen=True):
    """
    The claim of one exchange; made once, before its route is chosen.

    Attributes:
        call: as upstreams are to be asked.
        plan: to be followed instead of a drawn one; None where that will do.
        owner: the endpoint that alone may be asked, by name, or nothing.
        home: the deployment that is to be asked first, since it can open the sealed items, or nothing.
        replica: which of its endpoints that is.
        items: those of its input, if some are sealed, or thoughts by their id alone.
    """

    tags: Tags
    tenant: str
    call: Call
    plan: Plan | None = None
    owner: str = ""
    home: str = ""
    replica: str = ""
    items: Items | None = None

    def narrowed(self, place: Place) -> Place:
        """Return a deployment with only those endpoints that may be asked; a successor has nothing of an owner's."""
        if not self.owner:
            return place
        found = tuple(endpoint for endpoint in place.endpoints if endpoint.name == self.owner)
        problem = place.problem or ("" if found else f"{self.owner} is not ready")
        return msgspec.structs.replace(place, endpoints=found, coming=False, problem=problem)

    def led(self, plan: Plan) -> Plan:
        """Return a drawn plan with the home before all others, which may be a fallback; these follow as ever."""
        if not self.home:
            return plan
        step, text = plan.explained
        why = f"{text}; before them {self.home}, for {self.home} can open the sealed items"
        return msgspec.structs.replace(plan, home=self.home, explained=(step, why))

    def call_for(self, call: Call, endpoint: str, *, references: bool) -> tuple[Call, tuple[str, ...]]:
        """
        Return a call as an endpoint is to be asked, and the names of what was left out of it.

        Args:
            references: requests may name what its account keeps.
        Raises:
            InvalidRequest: what would have to be left out is the conversation itself.
        """
        if self.items is None:
            return call, ()
        value, left_out = self.items.for_owner(endpoint, references=references)
        if not left_out and not self.items.tagged:
            return call, ()
        return msgspec.structs.replace(call, document=call.document.exchanged("input", value)), left_out

    def stamp(self, endpoint: str) -> Stamp:
        """Return what puts tags into the answer of an endpoint."""
        return Stamp(self.tags, self.tenant, endpoint, stored=self.call.stored)


def claim_of(call: Call, tenant: str, tags: Tags, route: Route, places: Mapping[str, Place]) -> Claim | None:
    """
    Return what an exchange has a claim to; None for one that upstreams keep nothing of.

    Raises:
        InvalidRequest: it goes on from a response that no deployment of its model keeps for its tenant; or tokens or
            money are counted, and nothing says how much of them what it refers to can be.
    """
    if call.dialect is not Dialect.RESPONSES and not call.reference:
        return None
    owners = {owner: place for place in _places(route, places) for owner in place.owners}
    previous, owner, plan = call.previous, "", None
    if previous is not None:
        original, found = tags.owner(Kind.RESPONSE, tenant, owners, previous[:MOST_GIVEN])
        if found is None:
            raise unknown(previous)
        owner, place = found, owners[found]
        plan = plan_of_one(place.name, places, f"{route.model.name}: {place.name} alone, which keeps {original}")
        document = call.document.exchanged("previous_response_id", msgspec.json.encode(original))
        unseen = _bound(route, [place], "previous_response_id")
        call = msgspec.structs.replace(call, document=document, unseen=unseen)
    elif call.names and call.dialect is not Dialect.COUNT:
        allowing = [place for place in _places(route, places) if place.references]
        call = msgspec.structs.replace(call, unseen=_bound(route, allowing, call.names))
    items = Items.read(call, tags, tenant, owners) if call.sealed or call.recalled else None
    replica = items.home or "" if items is not None else ""
    home = owners[replica].name if replica and plan is None else ""
    return Claim(tags, tenant, call, plan, owner, home, replica, items)


def unknown(previous: str) -> InvalidRequest:
    """Say that there is no such response, in the words of OpenAI's API, whatever the reason is."""
    return InvalidRequest(
        f"Previous response with id '{previous[:_MAX_ECHO]}' not found.",
        param="previous_response_id",
        code=NOT_FOUND,
    )


def _places(route: Route, places: Mapping[str, Place]) -> Iterator[Place]:
    """Return all deployments of a model; each of its plans has them all."""
    return (places[name] for name in route.plans[0].names if name in places)


def _bound(route: Route, asked: Iterable[Place], param: str) -> int:
    """Return how many tokens these deployments may add to a prompt, where tokens or money are counted."""
    most = 0
    for place in asked if route.capped else ():
        if place.context is None:
            raise InvalidRequest(
                f"This model's tokens or money are counted, and it is not known how many tokens '{param}' can stand"
                f" for: the stack file does not say deployments.{place.name}.context.",
                param=param,
                code="unsupported_parameter",
            )
        most = max(most, place.context)
    return most
