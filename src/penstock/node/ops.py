"""The ops port: `/metrics` for Prometheus, `/readyz` with each dependency, `/livez`. Plain HTTP, no key, loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from penstock import __version__
from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.http.responder import Responder
from penstock.http.server import Refusal
from penstock.node.metrics import Family, Totals, counter, gauge, page
from penstock.node.supervisor import Status
from penstock.node.uplink import Connection
from penstock.snapshot.fleet import EngineSpec, Replica, ReplicaState
from penstock.types.errors import BodyTooLarge, ExchangeError, HeadersTooLarge, NoCapacity, RequestTimedOut

LIMITS = Limits(max_body=0, header_bytes=16 * 1024, max_connections=256)

_STATUSES: dict[type[ExchangeError], int] = {
    BodyTooLarge: 413,
    HeadersTooLarge: 431,
    NoCapacity: 503,
    RequestTimedOut: 408,
}
_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"
_PROMETHEUS = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_PLAIN = b"content-type: text/plain; charset=utf-8\r\n"


class Situation(msgspec.Struct, frozen=True):
    """
    How this host is right now.

    Attributes:
        gateways: one per worker; None when this node runs none.
        control: None when this node runs none.
        wanted: engine deployments that are to have replicas here.
        informed: it is known what is wanted.
        uplink: the link to a control elsewhere; None where there is none.
    """

    gateways: tuple[Status, ...] | None
    control: Status | None
    wanted: tuple[EngineSpec, ...]
    replicas: tuple[Replica, ...]
    stopping: bool
    informed: bool = True
    uplink: Connection | None = None


def verdict(situation: Situation) -> str:
    """
    Return why this host should get no traffic, or ''.

    It should not when no gateway worker is ready, when it is not known yet which engines are wanted, or when some are
    and none of them has a ready replica.
    Control being away is no reason: gateways serve on without it.
    """
    if situation.stopping:
        return "stopping"
    if situation.gateways is not None and not any(gateway.ready for gateway in situation.gateways):
        return "no gateway worker is ready"
    if not situation.informed and not (situation.control and situation.control.ready):
        return "which engines are to run is not known yet"
    wanted = {spec.deployment for spec in situation.wanted}
    ready = {replica.deployment for replica in situation.replicas if replica.state is ReplicaState.READY}
    if wanted and not wanted & ready:
        return "no engine has a ready replica"
    return ""


def report(situation: Situation) -> dict[str, object]:
    """Return the body of `/readyz`."""
    reason = verdict(situation)
    body: dict[str, object] = {"ready": not reason, "reason": reason}
    if situation.gateways is not None:
        body["gateways"] = {
            "workers": len(situation.gateways),
            "alive": sum(gateway.pid > 0 for gateway in situation.gateways),
            "ready": sum(gateway.ready for gateway in situation.gateways),
            "details": [gateway.detail for gateway in situation.gateways if gateway.detail],
        }
    if situation.control is not None:
        control = situation.control
        body["control"] = {"alive": control.pid > 0, "ready": control.ready, "detail": control.detail}
    if situation.uplink is not None:
        uplink = situation.uplink
        body["uplink"] = {
            "control": uplink.control,
            "reachable": uplink.reachable,
            "detail": uplink.detail,
            "waiting_bytes": uplink.waiting,
        }
    body["engines"] = [
        {
            "deployment": spec.deployment,
            "wanted": spec.replicas,
            "ready": sum(
                replica.deployment == spec.deployment and replica.state is ReplicaState.READY
                for replica in situation.replicas
            ),
        }
        for spec in situation.wanted
    ]
    body["replicas"] = [
        {
            "name": replica.name,
            "deployment": replica.deployment,
            "version": replica.version,
            "generation": replica.generation,
            "state": replica.state,
            "detail": replica.detail,
        }
        for replica in situation.replicas
    ]
    return body


def families(situation: Situation, engine_restarts: Iterable[tuple[str, int]]) -> dict[str, Family]:
    """Return the node's own metrics."""
    processes = [*(situation.gateways or ()), *([situation.control] if situation.control else [])]
    deployments = sorted(
        {replica.deployment for replica in situation.replicas} | {spec.deployment for spec in situation.wanted}
    )
    uplink = situation.uplink
    linked = [uplink] if uplink is not None else []
    return dict(
        [
            gauge("Version of the node.", "penstock_node_info", [({"version": __version__}, 1)]),
            gauge(
                "Whether a child process runs and says that it is ready.",
                "penstock_process_up",
                [({"process": each.name}, each.ready) for each in processes],
            ),
            counter(
                "Times a child process ended unasked.",
                "penstock_process_restarts",
                [({"process": each.name}, each.restarts) for each in processes],
            ),
            gauge(
                "Whether control, which is on another host, has taken the last report of this one.",
                "penstock_uplink_up",
                [({}, link.reachable) for link in linked],
            ),
            gauge(
                "Bytes of the journal that control, which is on another host, does not have yet.",
                "penstock_uplink_waiting_bytes",
                [({}, link.waiting) for link in linked],
            ),
            gauge(
                "Replicas of engine deployments by state.",
                "penstock_replicas",
                [
                    (
                        {"deployment": deployment, "state": state.value},
                        sum(each.deployment == deployment and each.state is state for each in situation.replicas),
                    )
                    for deployment in deployments
                    for state in ReplicaState
                ],
            ),
            gauge(
                "Replicas that engine deployments are to have.",
                "penstock_replicas_wanted",
                [({"deployment": spec.deployment}, spec.replicas) for spec in situation.wanted],
            ),
            counter(
                "Times an engine process ended unasked or was killed because it was wedged.",
                "penstock_engine_restarts",
                [({"deployment": deployment}, times) for deployment, times in engine_restarts],
            ),
        ]
    )


class Ops:
    """
    Answers on the ops port. Belongs to the node.

    Args:
        situation: tells how the host is now.
        engine_restarts: tells how often engine processes ended, by deployment.
    """

    def __init__(
        self,
        situation: Callable[[], Situation],
        totals: Totals,
        engine_restarts: Callable[[], Iterable[tuple[str, int]]],
    ) -> None:
        self._situation = situation
        self._totals = totals
        self._engine_restarts = engine_restarts

    async def answer(self, request: Request, responder: Responder) -> None:
        """Handle one request."""
        status, headers, body = self._answer(request.method, request.path)
        await responder.send(status, headers, body)

    def _answer(self, method: str, path: str) -> tuple[int, bytes, bytes]:
        if path not in ("/livez", "/readyz", "/metrics"):
            return 404, _PLAIN, b"here are /metrics, /readyz and /livez\n"
        if method not in ("GET", "HEAD"):
            return 405, _PLAIN + b"allow: GET, HEAD\r\n", b"only GET\n"
        if path == "/livez":
            return 200, _PLAIN, b"ok\n"
        situation = self._situation()
        if path == "/readyz":
            return 503 if verdict(situation) else 200, _JSON, msgspec.json.encode(report(situation)) + b"\n"
        own = families(situation, self._engine_restarts())
        return 200, _PROMETHEUS, page({**self._totals.families(), **own})


def refuse(error: ExchangeError) -> Refusal:
    """Answer what is not a proper request."""
    return Refusal(_STATUSES.get(type(error), 400), _PLAIN, f"{error}\n".encode())
