"""What the reports on sales must say, in plain Python and from the definition."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Order:
    order_id: int
    customer_id: int | None
    processed_at: datetime
    currency: str
    original: Decimal
    refunded: Decimal
    is_test: bool = False
    refunds: tuple[tuple[datetime, Decimal], ...] = ()

    @property
    def is_counted(self) -> bool:
        return not self.is_test and not (self.original > 0 and self.refunded >= self.original)


@dataclass(frozen=True)
class Books:
    """One shop's orders as its owner would look at them: local days, own currency."""

    orders: Sequence[Order]
    currency: str
    zone: ZoneInfo
    today: date

    def day(self, at: datetime) -> date:
        return at.astimezone(self.zone).date()

    @property
    def counted(self) -> list[Order]:
        return [order for order in self.orders if order.is_counted]

    def net(self, order: Order) -> Decimal:
        return order.original - order.refunded if order.currency == self.currency else Decimal(0)

    def first_days(self) -> dict[int, date]:
        first: dict[int, date] = {}
        for order in sorted(self.counted, key=lambda each: each.processed_at):
            if order.customer_id is not None:
                first.setdefault(order.customer_id, self.day(order.processed_at))
        return first

    def daily(self) -> dict[date, tuple[int, int, int, int, Decimal, Decimal, Decimal]]:
        """By day: orders, customers, new ones, guests' orders, net, net of new, money back."""
        first = self.first_days()
        of_day = defaultdict(list)
        for order in self.counted:
            of_day[self.day(order.processed_at)].append(order)
        back: dict[date, Decimal] = defaultdict(Decimal)
        for order in self.orders:
            for at, amount in order.refunds:
                if not order.is_test and order.currency == self.currency:
                    back[self.day(at)] += amount
        days = {}
        ends = [self.day(at) for order in self.orders for at, _ in order.refunds]
        for day in self._days([*of_day], [*of_day, *ends, self.today]):
            orders = of_day[day]
            people = {order.customer_id for order in orders} - {None}
            fresh = {who for who in people if who is not None and first[who] == day}
            days[day] = (
                len(orders),
                len(people),
                len(fresh),
                sum(order.customer_id is None for order in orders),
                sum(map(self.net, orders), Decimal(0)),
                sum((self.net(o) for o in orders if o.customer_id in fresh), Decimal(0)),
                back[day],
            )
        return days

    def cohorts(self) -> dict[tuple[date, int], tuple[int, int, int, Decimal, Decimal]]:
        """By month of first order and months since: size, active, orders, net, net so far."""
        first = {who: day.replace(day=1) for who, day in self.first_days().items()}
        days = [self.day(order.processed_at) for order in self.counted]
        back = [self.day(at) for order in self.orders for at, _ in order.refunds]
        last = max([*days, *back, self.today], default=self.today)
        found = {}
        for month in set(first.values()):
            members = {who for who, start in first.items() if start == month}
            so_far = Decimal(0)
            for number, at in enumerate(_months(month, last)):
                orders = [
                    order
                    for order in self.counted
                    if order.customer_id in members
                    and self.day(order.processed_at).replace(day=1) == at
                ]
                net = sum(map(self.net, orders), Decimal(0))
                so_far += net
                active = {order.customer_id for order in orders}
                found[month, number] = (len(members), len(active), len(orders), net, so_far)
        return found

    def _days(self, sold: Iterable[date], all_days: Iterable[date]) -> Iterator[date]:
        first = min(sold, default=None)
        while first is not None and first <= max(all_days):
            yield first
            first += timedelta(days=1)


def _months(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first = (first + timedelta(days=32)).replace(day=1)
