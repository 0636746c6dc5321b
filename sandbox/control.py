"""`/_sandbox/…`: the control API for people, tests and the product's commands; loopback only.

What happens in one shop is in control_shop.py.
"""

import sqlite3
from pathlib import Path
from typing import Any

from starlette.responses import Response

from sandbox import asking
from sandbox.http import BadRequestError, Call, json_object, reply
from sandbox.loader import AlreadyLoadedError, FolderError, load_folder
from sandbox.open_shop import shop_row
from sandbox.oracle import welcome_verdict
from sandbox.simulator import Simulator
from sandbox.world import World

Body = dict[str, Any]


class Control:
    """Handlers of the control API."""

    def __init__(self, world: World, simulator: Simulator) -> None:
        self._world, self._simulator = world, simulator

    # ------------------------------------------------------------------ shops

    def health(self, _call: Call) -> Response:
        with self._world.store.read() as db:
            shops = db.execute("select count(*) from shops").fetchone()[0]
        return reply({"status": "ok", "shops": shops})

    def shops(self, call: Call) -> Response:
        if call.method == "POST":
            return self._load(json_object(call.body))
        with self._world.store.read() as db:
            rows = db.execute("select * from shops order by domain").fetchall()
            return reply({"shops": [_about(db, row) for row in rows]})

    def _load(self, asked: Body) -> Response:
        asking.only(asked, "folder", "replace", "if_absent")
        folder = asked.get("folder")
        if not isinstance(folder, str) or not Path(folder).is_absolute():
            raise BadRequestError("folder must be an absolute path")
        try:
            done = load_folder(
                self._world.store,
                Path(folder),
                now=self._world.clock.now(),
                replace=asked.get("replace") is True,
                if_absent=asked.get("if_absent") is True,
            )
        except AlreadyLoadedError as error:
            return reply({"error": str(error)}, 409)
        except FolderError as error:
            return reply({"error": str(error)}, 422)
        return reply(done, 201 if done["loaded"] else 200)

    def simulator(self, call: Call) -> Response:
        """How the shop is played, and what happened so far; a POST says how from now on."""
        if call.method == "POST":
            pace = asking.pace(json_object(call.body))
            return reply(self._simulator.set(call.params["shop"], pace))
        return reply(self._simulator.report(call.params["shop"]))

    # ------------------------------------------------------------------ verdicts and faults

    def oracle(self, call: Call) -> Response:
        flow = call.query.get("flow", "welcome")
        if flow != "welcome":
            return reply({"error": f"not in the sandbox: the flow {flow}"}, 501)
        since = asking.moment("since", call.query.get("since"))
        if since is None:
            raise BadRequestError("since must be given: from when first orders are owed a mail")
        tag = asking.tag(call.query.get("tag"))
        with self._world.store.snapshot() as db:
            shop = shop_row(db, call.params["shop"])["shop"]
            return reply(welcome_verdict(db, shop, since=since, tag=tag).report())

    def faults(self, call: Call) -> Response:
        if call.method == "DELETE":
            values = self._world.faults.reset()
        elif call.method == "POST":
            values = self._world.faults.set(json_object(call.body))
        else:
            values = self._world.faults.all()
        self._world.deliverer.wake()
        self._simulator.wake()
        return reply(values)

    def deliveries(self, call: Call) -> Response:
        """The newest 100 webhooks and events with their state."""
        with self._world.store.read() as db:
            rows = db.execute(
                """select channel, topic, url, message_id, attempts, state, last_status, last_error
                   from deliveries where ? is null or state = ? order by num desc limit 100""",
                [call.query.get("state")] * 2,
            ).fetchall()
            states = db.execute("select state, count(*) from deliveries group by state").fetchall()
        return reply({"states": dict(states), "deliveries": [dict(row) for row in rows]})


def _about(db: sqlite3.Connection, row: sqlite3.Row) -> Body:
    about = {name: row[name] for name in ("domain", "name", "currency", "time_zone")}
    for table in ("customers", "orders", "line_items", "products", "checkouts"):
        about[table] = db.execute(
            f"select count(*) from {table} where shop = ?", [row["shop"]]
        ).fetchone()[0]
    return about
