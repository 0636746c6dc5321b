"""A Shopify that makes discounts and codes as the real one does, and a flow that gives them."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from activation.automation.definition import Definition, SendEmail, TagAdded, UniqueCode, Wait
from activation.rendering.content import MailContent
from core.errors import EcomCRMError
from core.shopify.errors import AccessDeniedError
from tests.activation.automation.flow import Flow, definition
from tests.activation.world import World

TEN = UniqueCode(percent=10, prefix="TEA", valid_days=30)
OWN = re.compile(r"TEA-[2-9A-HJKMNP-Z]{10}")


@dataclass
class FakeDiscounts:
    """Stands for a ShopifyClient. `faults` are raised one per call; so many codes are `taken`; a
    job is done at the look after `running` ones.
    """

    faults: list[EcomCRMError] = field(default_factory=list)
    taken: int = 0
    running: int = 0
    denied: bool = False
    discounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    api_version: str = "2026-07"

    def execute(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = document.split()[1].partition("(")[0]
        self.calls.append(name)
        if self.faults:
            raise self.faults.pop(0)
        if self.denied:
            raise AccessDeniedError("no")
        answers = {
            "DiscountByCode": self._by_code,
            "DiscountById": self._by_id,
            "DiscountCreate": self._create,
            "DiscountCodesAdd": self._add,
            "DiscountCodesCreation": self._job,
        }
        return answers[name](variables)

    def _by_code(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = self.codes.get(asked["code"])
        return {"codeDiscountNodeByCode": found and {"id": found}}

    def _by_id(self, asked: dict[str, Any]) -> dict[str, Any]:
        is_there = asked["id"] in self.discounts
        node = {"id": asked["id"], "codeDiscount": {"status": "ACTIVE"}}
        return {"codeDiscountNode": node if is_there else None}

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = f"gid://shopify/DiscountCodeNode/{len(self.discounts) + 1}"
        self.discounts[number] = asked["discount"]
        self.codes[asked["discount"]["code"]] = number
        answer = {"codeDiscountNode": {"id": number}, "userErrors": []}
        return {"discountCodeBasicCreate": answer}

    def _add(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["id"] not in self.discounts:
            error: dict[str, Any] = {
                "field": [],
                "message": "Code discount does not exist.",
                "code": None,
            }
            return {"discountRedeemCodeBulkAdd": {"bulkCreation": None, "userErrors": [error]}}
        number = f"gid://shopify/DiscountRedeemCodeBulkCreation/{len(self.jobs) + 1}"
        codes = [each["code"] for each in asked["codes"]]
        assert len(codes) <= 250
        nodes = [self._made(code, asked["id"]) for code in codes]
        self.jobs[number] = {"nodes": nodes, "left": self.running}
        answer = {"bulkCreation": {"id": number, "done": False}, "userErrors": []}
        return {"discountRedeemCodeBulkAdd": answer}

    def _made(self, code: str, discount: str) -> dict[str, Any]:
        if self.taken or code in self.codes:
            self.taken = max(0, self.taken - 1)
            errors = [{"message": "must be unique. Please try a different code."}]
            return {"code": code, "errors": errors, "discountRedeemCode": None}
        self.codes[code] = discount
        return {"code": code, "errors": [], "discountRedeemCode": {"id": code}}

    def _job(self, asked: dict[str, Any]) -> dict[str, Any]:
        job = self.jobs.get(asked["id"])
        if job is None:
            return {"discountRedeemCodeBulkCreation": None}
        job["left"] -= 1
        done = job["left"] < 0
        answer = {"id": asked["id"], "done": done, "codes": {"nodes": job["nodes"] if done else []}}
        return {"discountRedeemCodeBulkCreation": answer}


def definition_giving(
    code: UniqueCode,
    *,
    fixed: str | None = None,
    delay: timedelta = timedelta(),
    late_after: timedelta = timedelta(days=14),
) -> Definition:
    """Gives a code in its one mail; nobody enters but by `Flow.enter`."""
    content = MailContent(discount_code=fixed)
    mail = SendEmail("mail", "win_back", content=content, unique_code=code)
    return definition(
        Wait("wait", seconds=int(delay.total_seconds())),
        mail,
        trigger=TagAdded("never"),
        late_after_seconds=int(late_after.total_seconds()),
        is_capped=False,
        keeps_quiet_hours=False,
    )


def giving(world: World, code: UniqueCode = TEN, **options: Any) -> Flow:
    """A flow that is on and gives codes."""
    return Flow.add(world, definition_giving(code, **options))


def enter_all(world: World, flow: Flow, numbers: range) -> None:
    world.add_customers(numbers)
    for number in numbers:
        flow.enter(number)


def end_waits(world: World) -> None:
    """As if the time to look at jobs, and at stocks, had come."""
    world.execute("UPDATE crm.discount_creations SET next_attempt_at = clock_timestamp()")
    world.execute("UPDATE crm.discount_pools SET lease_until = NULL, checked_at = NULL")


def codes_mailed(world: World) -> dict[str, str]:
    """By address, the code in the HTML and the text of what the provider took."""
    found = {}
    for _, body in world.provider.calls:
        for mail in orjson.loads(body):
            [in_html] = set(OWN.findall(mail["html"]))
            assert in_html in mail["text"]
            [address] = mail["to"]
            found[address] = in_html
    return found
