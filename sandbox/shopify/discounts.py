"""Discounts with codes: one discount, codes added to it by a job, and what became of each.

A job runs while it is polled, as a bulk operation does; only then is it known which of its codes
exist. A code is unique in the shop, in any case.
"""

import sqlite3
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from sandbox.clock import epoch, utc_z
from sandbox.shapes import gid
from sandbox.shopify.connections import connection
from sandbox.shopify.errors import graphql_error, not_in_sandbox, only
from sandbox.shopify.objects import PAGING, parse_gid
from sandbox.world import World

MAX_CODES = 250
MAX_CODE = 255
TAKEN = "must be unique. Please try a different code."
KNOWN = {
    *("title", "code", "startsAt", "endsAt", "usageLimit", "appliesOncePerCustomer"),
    *("context", "customerGets"),
}
Body = dict[str, Any]


class Discounts:
    """The discounts of one shop, as one request sees them."""

    def __init__(self, world: World, shop: sqlite3.Row) -> None:
        self._world, self._shop = world, shop["shop"]
        self._now = world.clock.now()

    # ------------------------------------------------------------------ changes

    def create(self, _info: Any, basicCodeDiscount: Body) -> Body:  # noqa: N803
        wanted = basicCodeDiscount
        for name in wanted.keys() - KNOWN:
            if wanted[name] is not None:
                raise not_in_sandbox(f"discounts with {name}")
        if wanted.get("context") not in (None, {"all": "ALL"}):
            raise not_in_sandbox("discounts for some buyers")
        errors = _wrong(wanted)
        code = str(wanted.get("code") or "")
        with self._world.store.write() as db:
            if not errors and self._is_taken(db, code):
                errors = [_error("code", f"Code {TAKEN}", "TAKEN")]
            if errors:
                return {"codeDiscountNode": None, "userErrors": errors}
            number = db.execute(
                "insert into discounts (shop, body, ends_at, created_at) values (?, ?, ?, ?)"
                " returning num",
                [self._shop, _kept(wanted), _instant(wanted.get("endsAt")), self._now],
            ).fetchone()["num"]
            self._add(db, number, code)
            row = self._row(db, number)
        return {"codeDiscountNode": None if row is None else self._view(row), "userErrors": []}

    def add_codes(self, _info: Any, discountId: str, codes: list[Body]) -> Body:  # noqa: N803
        if len(codes) > MAX_CODES:
            raise graphql_error(
                f"The input array size of {len(codes)} is greater than the maximum allowed of "
                f"{MAX_CODES}.",
                "MAX_INPUT_SIZE_EXCEEDED",
            )
        kind, number = parse_gid(discountId)
        with self._world.store.write() as db:
            if kind != "DiscountCodeNode" or self._row(db, number) is None:
                error = _error("discountId", "Code discount does not exist.", "INVALID")
                return {"bulkCreation": None, "userErrors": [error]}
            if not codes:
                error = _error("codes", "Codes can't be blank", "BLANK")
                return {"bulkCreation": None, "userErrors": [error]}
            job = db.execute(
                "insert into discount_jobs (shop, discount, codes, created_at)"
                " values (?, ?, ?, ?) returning *",
                [self._shop, number, orjson.dumps([c["code"] for c in codes]), self._now],
            ).fetchone()
        return {"bulkCreation": self._job_view(job), "userErrors": []}

    # ------------------------------------------------------------------ questions

    def job(self, _info: Any, id: str) -> Body | None:  # noqa: A002 - the schema's name
        """The job, one poll older."""
        kind, number = parse_gid(id)
        if kind != "DiscountRedeemCodeBulkCreation":
            raise graphql_error(f"Invalid id: {id}", "RESOURCE_NOT_FOUND")
        with self._world.store.read() as db:
            row = self._job(db, number)
        if row is not None and row["results"] is None:
            if row["polls"] >= self._world.faults["discount_running_polls"]:
                self._run_job(number)
            else:
                self._count_poll(number)
            with self._world.store.read() as db:
                row = self._job(db, number)
        return None if row is None else self._job_view(row)

    def by_code(self, _info: Any, code: str) -> Body | None:
        with self._world.store.read() as db:
            found = db.execute(
                "select discount from discount_codes where shop = ? and key = ?",
                [self._shop, code.strip().upper()],
            ).fetchone()
            row = self._row(db, found["discount"]) if found else None
            return None if row is None else self._view(row)

    def by_id(self, _info: Any, id: str) -> Body | None:  # noqa: A002
        kind, number = parse_gid(id)
        if kind != "DiscountCodeNode":
            raise graphql_error(f"Invalid id: {id}", "RESOURCE_NOT_FOUND")
        with self._world.store.read() as db:
            row = self._row(db, number)
            return None if row is None else self._view(row)

    # ------------------------------------------------------------------ the job

    def _run_job(self, number: int) -> None:
        """Each code by itself: one that is taken keeps none of the others from being made."""
        with self._world.store.read() as db:
            row = self._job(db, number)
        asked = orjson.loads(row["codes"]) if row is not None else []
        spoilt = {code for code in asked if self._world.faults.take("discount_taken_codes")}
        with self._world.store.write() as db:
            row = self._job(db, number)
            if row is None or row["results"] is not None:
                return
            results = []
            for code in asked:
                error = _code_error(code)
                if error is None and (code in spoilt or self._is_taken(db, code)):
                    error = TAKEN
                made = None if error else self._add(db, row["discount"], code)
                results.append({"code": code, "error": error, "num": made})
            db.execute(
                "update discount_jobs set results = ? where shop = ? and num = ?",
                [orjson.dumps(results), self._shop, number],
            )

    def _count_poll(self, number: int) -> None:
        with self._world.store.write() as db:
            db.execute(
                "update discount_jobs set polls = polls + 1 where shop = ? and num = ?",
                [self._shop, number],
            )

    def _job(self, db: sqlite3.Connection, number: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "select * from discount_jobs where shop = ? and num = ?", [self._shop, number]
        ).fetchone()
        return row

    def _row(self, db: sqlite3.Connection, number: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "select * from discounts where shop = ? and num = ?", [self._shop, number]
        ).fetchone()
        return row

    def _is_taken(self, db: sqlite3.Connection, code: str) -> bool:
        found = db.execute(
            "select 1 from discount_codes where shop = ? and key = ?",
            [self._shop, code.strip().upper()],
        ).fetchone()
        return found is not None

    def _add(self, db: sqlite3.Connection, discount: int, code: str) -> int:
        return int(
            db.execute(
                "insert into discount_codes (shop, discount, code, key) values (?, ?, ?, ?)"
                " returning num",
                [self._shop, discount, code.strip(), code.strip().upper()],
            ).fetchone()["num"]
        )

    # ------------------------------------------------------------------ how it looks

    def _view(self, row: sqlite3.Row) -> Body:
        body = orjson.loads(row["body"])
        has_ended = row["ends_at"] is not None and row["ends_at"] <= self._now
        return {
            "__typename": "DiscountCodeNode",
            "id": gid("DiscountCodeNode", row["num"]),
            "codeDiscount": {
                "__typename": "DiscountCodeBasic",
                **body,
                "status": "EXPIRED" if has_ended else "ACTIVE",
                "createdAt": utc_z(row["created_at"]),
            },
        }

    def _job_view(self, row: sqlite3.Row) -> Body:
        results = orjson.loads(row["results"]) if row["results"] else []
        asked = orjson.loads(row["codes"])
        nodes = [_result_view(each) for each in results]

        def codes(_info: Any, **args: Any) -> Body:
            only("codes", {k: v for k, v in args.items() if k != "reverse"}, *PAGING)
            return connection(nodes, args)

        failed = sum(each["error"] is not None for each in results)
        return {
            "__typename": "DiscountRedeemCodeBulkCreation",
            "id": gid("DiscountRedeemCodeBulkCreation", row["num"]),
            "done": row["results"] is not None,
            "codesCount": len(asked),
            "importedCount": len(results) - failed,
            "failedCount": failed,
            "createdAt": utc_z(row["created_at"]),
            "codes": codes,
        }


def _result_view(result: Body) -> Body:
    """Of a code that could not be made there is no redeem code."""
    error, number = result["error"], result["num"]
    code = {"__typename": "DiscountRedeemCode", "id": gid("DiscountRedeemCode", number or 0)}
    return {
        "code": result["code"],
        "errors": [_error("code", error, None)] if error else [],
        "discountRedeemCode": None if error else code | {"code": result["code"]},
    }


def _wrong(wanted: Body) -> list[Body]:
    errors = []
    if not wanted.get("title"):
        errors.append(_error("title", "Title can't be blank", "BLANK"))
    problem = _code_error(str(wanted.get("code") or ""))
    if problem:
        errors.append(_error("code", f"Code {problem}", "BLANK"))
    starts, ends = _instant(wanted.get("startsAt")), _instant(wanted.get("endsAt"))
    if starts is None:
        errors.append(_error("startsAt", "Starts at can't be blank", "BLANK"))
    elif ends is not None and ends <= starts:
        message = "Ends at needs to be after starts_at"
        errors.append(_error("endsAt", message, "END_DATE_BEFORE_START_DATE"))
    errors += _wrong_value((wanted.get("customerGets") or {}).get("value") or {})
    return errors


def _wrong_value(value: Body) -> list[Body]:
    path = "customerGets"
    amount = (value.get("discountAmount") or {}).get("amount")
    if value.get("percentage") is not None:
        if not 0 < value["percentage"] <= 1:
            message = "Value must be between 0.0 and 1.0"
            return [_error(path, message, "VALUE_OUTSIDE_RANGE")]
        return []
    if amount is None or Decimal(str(amount)) <= 0:
        return [_error(path, "Value must be greater than 0", "GREATER_THAN")]
    return []


def _code_error(code: str) -> str | None:
    if not code.strip():
        return "can't be blank"
    return "is too long (maximum is 255 characters)" if len(code) > MAX_CODE else None


def _instant(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        return epoch(str(value))
    except ValueError:
        raise graphql_error(f"Invalid DateTime '{value}'", "argumentLiteralsIncompatible") from None


def _kept(wanted: Body) -> bytes:
    """What a question may show of it again."""
    return orjson.dumps(
        {
            "title": wanted["title"],
            "startsAt": wanted["startsAt"],
            "endsAt": wanted.get("endsAt"),
            "usageLimit": wanted.get("usageLimit"),
            "appliesOncePerCustomer": bool(wanted.get("appliesOncePerCustomer")),
        }
    )


def _error(field: str, message: str, code: str | None) -> Body:
    return {"field": ["basicCodeDiscount", field], "message": message, "code": code}
