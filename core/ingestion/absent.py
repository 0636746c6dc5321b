"""Objects that we hold and that Shopify did not name although it was asked for everything.

They are asked for by id; only what Shopify then does not show for good is taken for deleted. Many
at once are the sign of a broken read, not of deletions: nothing is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.ingestion import refresh
from core.ingestion.statements import statement
from core.ingestion.sync_log import WORDS
from core.models.enums import ObjectType

BELIEVED_SHARE: Final = 0.02
BELIEVED_COUNT: Final = 20  # always believed, whatever the share: a small shop may delete a few
REASON: Final = "absent from a full sync"

# Type → its table as `held`, the column of its id, what says that it has not been deleted.
# Checkouts are not listed: Shopify names only those that were left, webhooks all.
HELD: Final = {
    ObjectType.CUSTOMER: (
        "raw_shopify.customers AS held",
        "customer_id",
        "held.deleted_at IS NULL",
    ),
    ObjectType.ORDER: ("raw_shopify.orders AS held", "order_id", "TRUE"),
}


@dataclass(frozen=True)
class Absent:
    """`ids` have been asked for; when `is_doubtful`, they have not."""

    object_type: ObjectType
    ids: Sequence[int]
    held: int
    is_doubtful: bool

    @property
    def words(self) -> str:
        words = WORDS[self.object_type]
        count = len(self.ids)
        if self.is_doubtful:
            return (
                f"Shopify did not name {count:,} or more of the {self.held:,} {words} we hold. "
                "That many are rather a mistake than deletions, so nothing was done. "
                "Start a reconciliation; if it says the same, check the app's scopes."
            )
        return (
            f"Shopify did not name {count:,} {words} that we hold. They are asked for one by one, "
            "and those it has deleted will be hidden."
        )


def ask_for_absent(
    session: Session,
    shop_id: int,
    object_type: ObjectType,
    *,
    named: str,
    named_id: str,
    began_at: datetime,
    at: datetime,
    reason: str = REASON,
) -> Absent | None:
    """Request what the table `named` does not name, in the caller's transaction.

    None where nothing is absent.
    """
    table, column, alive = HELD[object_type]
    held: int = session.execute(
        text(f"SELECT count(*) FROM {table} WHERE held.shop_id = :shop_id AND {alive}"),
        {"shop_id": shop_id},
    ).scalar_one()
    believed = max(BELIEVED_COUNT, int(held * BELIEVED_SHARE))
    found = statement(
        "find_absent",
        held=table,
        id=column,
        alive=alive,
        named=f"{named} AS named",
        named_id=named_id,
    )
    ids: list[int] = list(
        session.execute(
            found, {"shop_id": shop_id, "began_at": began_at, "limit": believed + 1}
        ).scalars()
    )
    if not ids:
        return None
    is_doubtful = len(ids) > believed
    if not is_doubtful:
        refresh.request(session, shop_id, object_type, ids, reason, at=at)
    return Absent(object_type, ids, held, is_doubtful)
