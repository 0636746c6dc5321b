"""The made-up shop's catalogue as products. They have no pictures: nothing may be fetched."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime

from sandbox.demo_basket import product_number
from sandbox.demo_catalogue import CATALOGUE
from sandbox.shop_folder import Record, Shop, product_record

_TYPES = {
    "KIT": "Kitchen & Table",
    "BTH": "Bath",
    "BED": "Bed & Sofa",
    "LGT": "Light & Scent",
    "DSK": "Desk",
    "WAL": "Walls",
    "GRD": "Garden",
    "GFT": "Gifts",
}


def product_records(shop: Shop, *, since: datetime) -> Iterator[Record]:
    """All products of the catalogue, there since the shop opened."""
    for place, product in enumerate(CATALOGUE):
        handle = slug(product.title)
        yield product_record(
            product_number(place),
            title=product.title,
            handle=handle,
            created_at=since,
            updated_at=since,
            vendor=shop.name,
            product_type=_TYPES[product.sku[:3]],
            store_url=f"https://{shop.domain}/products/{handle}",
        )


def slug(title: str) -> str:
    """Shopify's form of a title in an address: Salt & Pepper 50/50 -> salt-pepper-50-50."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
