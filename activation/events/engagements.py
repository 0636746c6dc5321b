"""Opens and clicks: every one is kept, and those that no person made are marked.

Scanners follow the links of a mail before it reaches its reader, and mail programs load all images
of all mails. So an open says little and decides nothing, and a click counts once none of this holds
(`BotReason`, the first one that does):

    trap               the link that people do not see
    user_agent         a program names itself
    too_soon           within 10 seconds of the delivery, or before it
    many_links         three different links of the mail within 5 seconds
    with_unsubscribe   the unsubscribe link and another one within 5 seconds
    same_visitor       the same network and program within 15 minutes of one of these, on this mail

It is judged over all rows of a message whenever one is added, or its delivery is told late: the
same events in another order end the same. A click alone never unsubscribes anybody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.enums import EngagementKind, EngagementSource

TOO_SOON: Final = timedelta(seconds=10)
BURST: Final = timedelta(seconds=5)
BURST_LINKS: Final = 3
VISIT: Final = timedelta(minutes=15)
MOST_PER_MESSAGE: Final = 200  # whoever has a mail has its links; a loop must not fill the disk
LONGEST_AGENT: Final = 400
LONGEST_ADDRESS: Final = 64
LONGEST_URL: Final = 2000

# Programs that fetch links: scanners of mail servers, previews of chats, libraries. A maker of
# phones is called Cubot.
PROGRAMS: Final = (
    r"(?<!cu)bot\M|crawl|spider|scan|preview|prefetch|headless|phantom|slurp"
    r"|facebookexternalhit|whatsapp|telegram|skypeuripreview|bingpreview"
    r"|barracuda|mimecast|proofpoint|symantec|trendmicro|forcepoint|fireeye|ironport|zscaler"
    r"|safelinks|urldefense|virustotal|sophos|bitdefender|cloudmark"
    r"|curl/|wget/|python|java/|okhttp|go-http-client|libwww|httpclient|axios|node-fetch|perl|ruby"
    r"|googleimageproxy|yahoomailproxy|mailproxy"
)

STORE = text("""
-- Changes crm.engagements: one row per event, of messages that are somebody's; of each at most so
-- many. Primary keys.
INSERT INTO crm.engagements (
    shop_id,
    message_id,
    engagement_key,
    kind,
    source,
    url,
    is_trap,
    engaged_at,
    ip_address,
    user_agent
)
SELECT
    seen.shop_id,
    seen.message_id,
    seen.engagement_key,
    seen.kind,
    seen.source,
    seen.url,
    seen.is_trap,
    seen.engaged_at,
    seen.ip_address,
    seen.user_agent
FROM
    unnest(
        CAST(:shop_ids AS integer []),
        CAST(:message_ids AS bigint []),
        CAST(:keys AS text []),
        CAST(:kinds AS text []),
        CAST(:sources AS text []),
        CAST(:urls AS text []),
        CAST(:are_traps AS boolean []),
        CAST(:engaged_at AS timestamptz []),
        CAST(:ip_addresses AS text []),
        CAST(:user_agents AS text [])
    ) AS seen (
        shop_id,
        message_id,
        engagement_key,
        kind,
        source,
        url,
        is_trap,
        engaged_at,
        ip_address,
        user_agent
    )
INNER JOIN crm.messages
    ON seen.shop_id = messages.shop_id AND seen.message_id = messages.message_id
WHERE
    (
        SELECT count(*)
        FROM crm.engagements AS others
        WHERE others.shop_id = seen.shop_id AND others.message_id = seen.message_id
    ) < :most
    AND (messages.dedupe_key NOT LIKE 'erased/%' OR seen.url IS NULL)
ON CONFLICT (shop_id, message_id, engagement_key) DO NOTHING
""")

CLASSIFY = text("""
-- Changes crm.engagements and crm.messages: which opens and clicks of these messages no person
-- made, and the first that one did. What was concluded from a network or program that has been
-- cleared since stays. Primary keys.
WITH told AS (
    SELECT
        engagements.*,
        messages.delivered_at,
        engagements.kind = 'click' AND engagements.url LIKE :unsubscribe AS is_unsubscribe
    FROM unnest(CAST(:shop_ids AS integer []), CAST(:message_ids AS bigint []))
        AS touched (shop_id, message_id)
    INNER JOIN crm.messages
        ON touched.shop_id = messages.shop_id AND touched.message_id = messages.message_id
    INNER JOIN crm.engagements
        ON
            touched.shop_id = engagements.shop_id
            AND touched.message_id = engagements.message_id
),

bursts AS (
    SELECT
        began.shop_id,
        began.message_id,
        began.engaged_at AS began_at,
        count(DISTINCT following.url) AS links,
        bool_or(following.is_unsubscribe) AS has_unsubscribe
    FROM (SELECT DISTINCT shop_id, message_id, engaged_at FROM told WHERE kind = 'click') AS began
    INNER JOIN told AS following
        ON
            began.shop_id = following.shop_id
            AND began.message_id = following.message_id
            AND following.kind = 'click'
            AND following.engaged_at BETWEEN began.engaged_at AND began.engaged_at + :burst
    GROUP BY began.shop_id, began.message_id, began.engaged_at
    HAVING count(DISTINCT following.url) >= 2
),

told_why AS (
    SELECT
        told.*,
        CASE
            WHEN told.is_trap THEN 'trap'
            WHEN told.user_agent ~* :programs THEN 'user_agent'
            WHEN told.bot_reason = 'user_agent' AND told.user_agent IS NULL THEN 'user_agent'
            WHEN told.engaged_at < told.delivered_at + :too_soon THEN 'too_soon'
            WHEN told.kind = 'click' AND EXISTS (
                SELECT 1
                FROM bursts
                WHERE
                    bursts.shop_id = told.shop_id
                    AND bursts.message_id = told.message_id
                    AND bursts.links >= :burst_links
                    AND told.engaged_at BETWEEN bursts.began_at AND bursts.began_at + :burst
            ) THEN 'many_links'
            WHEN told.kind = 'click' AND EXISTS (
                SELECT 1
                FROM bursts
                WHERE
                    bursts.shop_id = told.shop_id
                    AND bursts.message_id = told.message_id
                    AND bursts.has_unsubscribe
                    AND told.engaged_at BETWEEN bursts.began_at AND bursts.began_at + :burst
            ) THEN 'with_unsubscribe'
            WHEN
                told.bot_reason = 'same_visitor'
                AND told.ip_address IS NULL
                AND told.user_agent IS NULL
                THEN 'same_visitor'
        END AS own_reason
    FROM told
),

judged AS (
    SELECT
        told_why.shop_id,
        told_why.message_id,
        told_why.engagement_key,
        told_why.kind,
        told_why.engaged_at,
        coalesce(
            told_why.own_reason,
            CASE
                WHEN
                    coalesce(told_why.ip_address, told_why.user_agent) IS NOT NULL
                    AND EXISTS (
                        SELECT 1
                        FROM told_why AS machine
                        WHERE
                            machine.shop_id = told_why.shop_id
                            AND machine.message_id = told_why.message_id
                            AND machine.own_reason IS NOT NULL
                            AND machine.ip_address IS NOT DISTINCT FROM told_why.ip_address
                            AND machine.user_agent IS NOT DISTINCT FROM told_why.user_agent
                            AND told_why.engaged_at
                            BETWEEN machine.engaged_at AND machine.engaged_at + :visit
                    )
                    THEN 'same_visitor'
            END
        ) AS reason
    FROM told_why
),

marked AS (
    UPDATE crm.engagements
    SET is_bot = judged.reason IS NOT NULL, bot_reason = judged.reason
    FROM judged
    WHERE
        engagements.shop_id = judged.shop_id
        AND engagements.message_id = judged.message_id
        AND engagements.engagement_key = judged.engagement_key
        AND engagements.bot_reason IS DISTINCT FROM judged.reason
    RETURNING 1
),

first_ones AS (
    SELECT
        judged.shop_id,
        judged.message_id,
        min(judged.engaged_at) FILTER (WHERE judged.kind = 'open') AS opened_at,
        min(judged.engaged_at) FILTER (
            WHERE judged.kind = 'click' AND judged.reason IS NULL
        ) AS clicked_at
    FROM judged
    GROUP BY judged.shop_id, judged.message_id
)

UPDATE crm.messages
SET first_opened_at = first_ones.opened_at, first_clicked_at = first_ones.clicked_at
FROM first_ones
WHERE
    messages.shop_id = first_ones.shop_id
    AND messages.message_id = first_ones.message_id
    AND (
        messages.first_opened_at IS DISTINCT FROM first_ones.opened_at
        OR messages.first_clicked_at IS DISTINCT FROM first_ones.clicked_at
    )
""")

# The page for people and that of mail programs; whoever's domain it is under, the path is ours.
UNSUBSCRIBE: Final = "%/unsubscribe/%"


@dataclass(frozen=True)
class Seen:
    """One open or click as it is stored."""

    shop_id: int
    message_id: int
    key: str
    kind: EngagementKind
    source: EngagementSource
    at: datetime
    url: str | None = None
    is_trap: bool = False
    ip_address: str | None = None
    user_agent: str | None = None


def told_by(
    key: tuple[int, int],
    event_id: str,
    event_type: str,
    data: Mapping[str, Any],
    at: datetime,
    *,
    is_erased: bool,
) -> Seen:
    """What the provider's event says. Of somebody erased it says only that it was."""
    kind = EngagementKind.CLICK if event_type == "email.clicked" else EngagementKind.OPEN
    details = data.get(kind.value)
    details = details if isinstance(details, dict) and not is_erased else {}
    return Seen(
        *key,
        event_id,
        kind,
        EngagementSource.PROVIDER,
        moment(details.get("timestamp")) or at,  # the event may tell of the click much later
        url=_text(details.get("link"), LONGEST_URL),
        ip_address=_text(details.get("ipAddress"), LONGEST_ADDRESS),
        user_agent=_text(details.get("userAgent"), LONGEST_AGENT),
    )


def store(session: Session, seen: Sequence[Seen]) -> None:
    """Each once, whatever comes twice."""
    if not seen:
        return
    session.execute(
        STORE,
        {
            "shop_ids": [each.shop_id for each in seen],
            "message_ids": [each.message_id for each in seen],
            "keys": [each.key for each in seen],
            "kinds": [each.kind.value for each in seen],
            "sources": [each.source.value for each in seen],
            "urls": [each.url for each in seen],
            "are_traps": [each.is_trap for each in seen],
            "engaged_at": [each.at for each in seen],
            "ip_addresses": [each.ip_address for each in seen],
            "user_agents": [each.user_agent for each in seen],
            "most": MOST_PER_MESSAGE,
        },
    )


def classify(session: Session, messages: Iterable[tuple[int, int]]) -> None:
    """Judge all opens and clicks of these messages anew. May be repeated as often as one likes."""
    touched = sorted(set(messages))
    if not touched:
        return
    session.execute(
        CLASSIFY,
        {
            "shop_ids": [shop_id for shop_id, _ in touched],
            "message_ids": [message_id for _, message_id in touched],
            "programs": PROGRAMS,
            "unsubscribe": UNSUBSCRIBE,
            "too_soon": TOO_SOON,
            "burst": BURST,
            "burst_links": BURST_LINKS,
            "visit": VISIT,
        },
    )


def _text(value: object, limit: int) -> str | None:
    return value[:limit] if isinstance(value, str) and value else None


def moment(value: object) -> datetime | None:
    """The instant in a text of the provider; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
