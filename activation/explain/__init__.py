"""Why a mail was sent, and why somebody did not get one.

    message    one mail, from what started it to what came of it
    customer   one person and one flow: every condition, and the one that stands in the way
    people     who is meant by a number, an address or a Shopify id
    checks     what the eligibility checks said when a mail was decided on
    shapes     what is returned; `as_json` turns it into plain values
    words      what a merchant reads

Everything is read and nothing written. Nothing of an erased person comes back.
"""

from activation.explain.customer import explain_customer
from activation.explain.message import explain_message
from activation.explain.shapes import CustomerExplained, MessageExplained, as_json

__all__ = [
    "CustomerExplained",
    "MessageExplained",
    "as_json",
    "explain_customer",
    "explain_message",
]
