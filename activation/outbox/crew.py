"""Several threads that send for one shop.

A call takes as long as the provider takes, a third of a second for a hundred mails, and one thread
would make three of the nine requests a second that it may. Where little is due one thread sends.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from sqlalchemy import text

from activation.outbox.sending import send_due
from activation.outbox.worker import Outbox, SendReport
from core.database import session_scope

SENDERS: Final = 4  # threads; three keep nine requests a second when each takes a third

IS_MORE_THAN = text("""
-- Returns whether more than :count messages of the shop are due. Changes nothing.
-- Index ix_messages__queue.
SELECT EXISTS (
    SELECT 1
    FROM crm.messages
    WHERE shop_id = :shop_id AND state = 'queued' AND due_at <= :now
    OFFSET :count
)
""")


def send_by_many(outbox: Outbox, shop_id: int, *, workers: int, freezes: bool = True) -> SendReport:
    """As `send_due`, by up to `workers` threads. What one of them raises is raised here."""
    wanted = workers if freezes and workers > 1 and _is_much(outbox, shop_id) else 1
    if wanted == 1:
        return send_due(outbox, shop_id, freezes=freezes)
    report = SendReport()
    with ThreadPoolExecutor(wanted, thread_name_prefix="send") as pool:
        sent = [pool.submit(send_due, outbox, shop_id, freezes=freezes) for _ in range(wanted)]
        for each in sent:
            report.add(each.result())
    return report


def _is_much(outbox: Outbox, shop_id: int) -> bool:
    """More than one request's worth: less is not worth a thread."""
    with session_scope(outbox.factory) as session:
        return bool(
            session.execute(
                IS_MORE_THAN,
                {"shop_id": shop_id, "now": outbox.clock.now(), "count": outbox.batch_size},
            ).scalar_one()
        )
