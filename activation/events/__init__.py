"""What became of sent mails, as the provider tells it: stored first, matched later.

    intake        a signed event becomes a row, once
    matching      stored events find their messages, many at a time
    moves         what an event means for a message; states only move forward
    engagements   opens and clicks, and which of them no person made
    lists         the provider's own list of addresses, as its events tell of it
    health        a shop whose mails bounce or annoy stops sending

An event may come before our own commit, twice, or out of order. So the row is unique per event,
what finds no message is tried again, and what is concluded from several events is concluded anew
whenever one of them arrives.
"""

from activation.events.intake import Received, receive
from activation.events.matching import MatchReport, match_stored
from activation.events.statements import IS_MATCHABLE

__all__ = ["IS_MATCHABLE", "MatchReport", "Received", "match_stored", "receive"]
