"""The routes of the sandbox, and its start and end."""

import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from graphql import GraphQLSchema
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.clock import Clock, SystemClock
from sandbox.config import Config
from sandbox.control import Control
from sandbox.control_shop import ShopControl
from sandbox.deliverer import Deliverer
from sandbox.faults import Faults, UnknownKnobError
from sandbox.front import Front
from sandbox.http import BadRequestError, Call, NotInSandboxError, reply, threaded
from sandbox.mailbox import Mailbox
from sandbox.open_shop import Missing
from sandbox.outbox import RESEND, SHOPIFY
from sandbox.resend import events
from sandbox.resend.account import Account
from sandbox.resend.api import ResendApi
from sandbox.shopify import webhooks
from sandbox.shopify.bulk import BulkJobs
from sandbox.shopify.graphql import GraphqlEndpoint
from sandbox.shopify.oauth import access_token
from sandbox.simulator import Simulator
from sandbox.smtp import relaying
from sandbox.store import Store
from sandbox.world import World

logger = logging.getLogger(__name__)
Handler = Callable[[Call], Response]


def open_world(
    config: Config,
    *,
    state: Path,
    schema: GraphQLSchema,
    api_version: str,
    clock: Clock | None = None,
) -> World:
    """The store under `state` (made when it is not there), and everything that rests on it."""
    state.mkdir(parents=True, exist_ok=True)
    clock = clock or SystemClock()
    store = Store(state / "sandbox.sqlite3")
    faults = Faults(store)
    signers = {
        SHOPIFY: webhooks.signer(config.client_secret),
        RESEND: events.signer(config.resend_webhook_secret),
    }
    return World(
        config=config,
        store=store,
        faults=faults,
        clock=clock,
        schema=schema,
        api_version=api_version,
        deliverer=Deliverer(store, faults, clock, signers),
        state=state,
    )


def build_app(world: World, *, smtp_port: int | None = None) -> Starlette:
    """The application; its deliverer, bulk worker, simulator and relay run while it is up.

    The relay's port is found on the application's state as `smtp_port`.
    """
    jobs, simulator = BulkJobs(world), Simulator(world)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        world.deliverer.start()
        jobs.start()
        simulator.start()
        async with relaying(world, smtp_port) as port:
            app.state.smtp_port = port
            yield
        simulator.stop()
        jobs.stop()
        world.deliverer.stop()
        world.store.close()

    return Starlette(
        routes=[
            *_shopify(world, jobs),
            *_resend(world),
            *_pages(world, simulator),
            *_control(world, simulator),
        ],
        lifespan=lifespan,
        exception_handlers={
            BadRequestError: _answer(422),
            UnknownKnobError: _answer(422),
            Missing: _answer(404),
            NotInSandboxError: _answer(501),
        },
    )


def _shopify(world: World, jobs: BulkJobs) -> list[BaseRoute]:
    async def download(request: Request) -> Response:
        return jobs.download(request)

    def token(call: Call) -> Response:
        return access_token(world, call)

    graphql = GraphqlEndpoint(world, jobs)
    shop = "/shopify/{shop}"
    return [
        Route(f"{shop}/admin/oauth/access_token", threaded(token), methods=["POST"]),
        Route(f"{shop}/admin/api/{{version}}/graphql.json", threaded(graphql), methods=["POST"]),
        Route(f"{shop}/bulk/{{num:int}}.jsonl", download, methods=["GET"]),
        Route("/shopify/{rest:path}", threaded(_not_here), methods=ALL),
    ]


def _resend(world: World) -> list[BaseRoute]:
    api = ResendApi(world)
    return [
        Route("/resend/emails", threaded(api.emails), methods=["GET", "POST"]),
        Route("/resend/emails/batch", threaded(api.batch), methods=["POST"]),
        Route("/resend/emails/{id}", threaded(api.email), methods=["GET", "PATCH"]),
        Route("/resend/emails/{id}/cancel", threaded(api.cancel), methods=["POST"]),
        *(
            Route(f"/resend{path}", threaded(api.guarded(handler)), methods=list(methods))
            for path, handler, methods in _account(Account(world))
        ),
        Route("/resend/{rest:path}", threaded(api.anything_else), methods=ALL),
        Route("/_sandbox/resend/pace", _loopback_only(api.pace), methods=["GET"]),
        Route("/anthropic/{rest:path}", threaded(_not_here), methods=ALL),
    ]


def _account(account: Account) -> list[tuple[str, Handler, tuple[str, ...]]]:
    return [
        ("/suppressions", account.suppressions, ("GET", "POST")),
        ("/suppressions/batch/add", account.add_many, ("POST",)),
        ("/suppressions/batch/remove", account.remove_many, ("POST",)),
        ("/suppressions/{id}", account.suppression, ("GET", "DELETE")),
        ("/webhooks", account.webhooks, ("GET", "POST")),
        ("/webhooks/{id}", account.webhook, ("DELETE",)),
        ("/domains", account.domains, ("GET",)),
        ("/domains/{id}", account.domain, ("GET",)),
    ]


def _pages(world: World, simulator: Simulator) -> list[BaseRoute]:
    front, mailbox = Front(world, simulator), Mailbox(world)
    return [
        Route("/", threaded(front.index), methods=["GET"]),
        Route("/orders", _loopback_only(front.place_order), methods=["GET", "POST"]),
        Route("/simulator", _loopback_only(front.simulate), methods=["GET", "POST"]),
        Route("/mailbox", threaded(mailbox.list), methods=["GET"]),
        Route("/mailbox/{id}", threaded(mailbox.mail), methods=["GET"]),
        Route("/mailbox/{id}/html", threaded(mailbox.html), methods=["GET"]),
        Route("/mailbox/{id}/eml", threaded(mailbox.eml), methods=["GET"]),
    ]


def _control(world: World, simulator: Simulator) -> list[BaseRoute]:
    control = Control(world, simulator)

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, _loopback_only(handler), methods=list(methods))

    return [
        Route("/healthz", threaded(control.health), methods=["GET"]),
        route("/_sandbox/shops", control.shops, "GET", "POST"),
        route("/_sandbox/shops/{shop}/oracle", control.oracle, "GET"),
        route("/_sandbox/shops/{shop}/simulator", control.simulator, "GET", "POST"),
        *(
            route(f"/_sandbox/shops/{{shop}}/{path}", handler, "POST")
            for path, handler in happenings(ShopControl(world)).items()
        ),
        route("/_sandbox/faults", control.faults, "GET", "POST", "DELETE"),
        route("/_sandbox/deliveries", control.deliveries, "GET"),
    ]


def happenings(control: ShopControl) -> dict[str, Handler]:
    """What can be let happen in a shop, by its path below the shop's."""
    order, customer = "orders/{number:int}", "customers/{number:int}"
    return {
        "orders": control.place_order,
        f"{order}/cancel": control.cancel_order,
        f"{order}/refund": control.refund_order,
        f"{order}/edit": control.edit_order,
        f"{order}/delete": control.delete_order,
        "checkouts": control.start_checkout,
        "checkouts/{token}/update": control.update_checkout,
        "checkouts/{token}/complete": control.complete_checkout,
        "checkouts/{token}/delete": control.delete_checkout,
        f"{customer}/consent": control.set_consent,
        f"{customer}/tags": control.change_tags,
        f"{customer}/change": control.change_customer,
        f"{customer}/delete": control.delete_customer,
        f"{customer}/merge": control.merge_customers,
        f"{customer}/data_request": control.request_data,
        f"{customer}/redact": control.redact_customer,
        "redact": control.redact_shop,
        "uninstall": control.uninstall,
        "install": control.install,
        "scenario": control.scenario,
    }


ALL = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]


def _not_here(call: Call) -> Response:
    raise NotInSandboxError(f"{call.method} {call.path}")


def _loopback_only(handler: Handler) -> Callable[[Request], object]:
    inner = threaded(handler)

    async def endpoint(request: Request) -> Response:
        host = request.client.host if request.client else ""
        if not host or not ipaddress.ip_address(host).is_loopback:
            return reply({"error": "only from this machine"}, 403)
        return await inner(request)

    return endpoint


def _answer(status: int) -> Callable[[Request, Exception], Response]:
    def handle(_request: Request, error: Exception) -> Response:
        return reply({"error": str(error)}, status)

    return handle
