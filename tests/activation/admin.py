"""A Shopify that holds customers' tags and consents, and refuses what the real one refuses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.clock import Clock
from core.errors import EcomCRMError
from core.models.enums import ConsentState
from core.shopify import gid


@dataclass
class Held:
    """A customer as Shopify has them."""

    email: str | None
    state: str = "SUBSCRIBED"
    level: str | None = "CONFIRMED_OPT_IN"
    updated_at: datetime | None = None
    tags: list[str] = field(default_factory=list)


@dataclass
class FakeAdmin:
    """Stands for a ShopifyClient. `faults` are raised one per call; `behind` is how far Shopify's
    clock is behind ours.
    """

    clock: Clock
    customers: dict[int, Held] = field(default_factory=dict)
    faults: list[EcomCRMError] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    before_call: Callable[[str], None] = lambda _: None
    now: Callable[[], datetime] | None = None
    api_version: str = "2026-07"

    def execute(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        name = document.split()[1].partition("(")[0]
        self.before_call(name)
        if self.faults:
            raise self.faults.pop(0)
        if name == "CustomersById":
            return {"nodes": [self._node(each) for each in variables["ids"]]}
        self.calls.append((name, variables))
        if name == "CustomerConsentUpdate":
            return {"customerEmailMarketingConsentUpdate": self._consent(variables["input"])}
        root = {"TagsAdd": "tagsAdd", "TagsRemove": "tagsRemove"}[name]
        return {root: self._tags(variables, add=root == "tagsAdd")}

    def written(self) -> list[str]:
        return [name for name, _ in self.calls]

    def _of(self, id_: str) -> Held | None:
        return self.customers.get(gid.number(id_, "Customer"))

    def _address(self, held: Held) -> dict[str, Any] | None:
        if held.email is None:
            return None
        return {
            "emailAddress": held.email,
            "marketingState": held.state,
            "marketingOptInLevel": held.level,
            "marketingUpdatedAt": held.updated_at and f"{held.updated_at:%Y-%m-%dT%H:%M:%SZ}",
        }

    def _node(self, id_: str) -> dict[str, Any] | None:
        held = self._of(id_)
        return held and {"id": id_, "defaultEmailAddress": self._address(held)}

    def _consent(self, given: dict[str, Any]) -> dict[str, Any]:
        held = self._of(given["customerId"])
        consent = given["emailMarketingConsent"]
        now = self.now() if self.now else self.clock.now()
        at = datetime.fromisoformat(consent.get("consentUpdatedAt", now.isoformat()))
        if held is None:
            return _refused(["input", "customerId"], "Customer not found")
        if at > now:
            return _refused(["input"], "Consent updated at must not be in the future")
        if consent["marketingState"] == "SUBSCRIBED" and not consent.get("marketingOptInLevel"):
            return _refused(["input"], "Marketing opt in level must exist")
        held.state, held.updated_at = ConsentState(consent["marketingState"]).value, at
        held.level = consent["marketingOptInLevel"]
        return {"customer": self._node(given["customerId"]), "userErrors": []}

    def _tags(self, given: dict[str, Any], *, add: bool) -> dict[str, Any]:
        held = self._of(given["id"])
        if held is None:
            return _refused(["id"], "Customer does not exist")
        told = {tag.casefold() for tag in given["tags"]}
        kept = [tag for tag in held.tags if add or tag.casefold() not in told]
        present = {tag.casefold() for tag in kept}
        new = [tag for tag in given["tags"] if add and tag.casefold() not in present]
        held.tags = sorted([*kept, *new], key=str.casefold)
        return {"node": {"id": given["id"]}, "userErrors": []}


def _refused(where: list[str], words: str) -> dict[str, Any]:
    return {"customer": None, "node": None, "userErrors": [{"field": where, "message": words}]}
