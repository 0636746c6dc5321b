"""Why a mail was sent, and why somebody did not get one.

    message    one mail, from what started it to what came of it
    people     who is meant by a number, an address or a Shopify id
    checks     what the eligibility checks said when a mail was decided on
    shapes     what is returned; `as_json` turns it into plain values
    words      what a merchant reads

Everything is read and nothing written. Nothing of an erased person comes back.
"""

from activation.explain.message import explain_message
from activation.explain.shapes import MessageExplained, as_json

__all__ = [
    "MessageExplained",
    "as_json",
    "explain_message",
]
