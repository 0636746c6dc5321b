"""When to try again what failed: quickly at first, then rarely, then not at all."""

from typing import Final

# Together about an hour: what Shopify cannot answer by then needs a person.
REFRESH_SECONDS: Final = (2.0, 5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1200.0)
# Orders go on naming products that were deleted long ago, and nobody waits for one: with the steps
# above, an order for such a product kept its shop busy for an hour.
PRODUCT_SECONDS: Final = (2.0, 15.0)
INBOX_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0)


def after(attempts: int, steps: tuple[float, ...]) -> float | None:
    """Seconds to wait after the `attempts`-th failure (from 1); None: give up."""
    return steps[attempts - 1] if attempts <= len(steps) else None
