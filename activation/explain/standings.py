"""Segment, scores and cut-points of a customer at one instant."""

from datetime import datetime

from sqlalchemy.orm import Session

from activation.explain.reading import HAS_TABLE
from activation.explain.shapes import BoundaryPart, StandingPart
from activation.history import Stay, memberships_as_of
from activation.standing import read_boundaries


def standing_at(
    session: Session, shop_id: int, customer_id: int, at: datetime
) -> StandingPart | None:
    """None: in no segment then, because not known yet, or because deleted."""
    stays = memberships_as_of(session, shop_id, at, customer_ids=[customer_id])
    return _part(session, shop_id, stays[0], at) if stays else None


def _part(session: Session, shop_id: int, stay: Stay, at: datetime) -> StandingPart:
    return StandingPart(
        at=at,
        segment=stay.segment.value,
        previous_segment=stay.previous_segment.value if stay.previous_segment else None,
        entered_at=stay.entered_at,
        exited_at=stay.exited_at,
        cause=stay.cause.value,
        run_id=stay.run_id,
        r_score=stay.r_score,
        f_score=stay.f_score,
        m_score=stay.m_score,
        rfm_score=stay.rfm_score,
        rfm_run_id=stay.rfm_run_id,
        boundaries=_boundaries(session, shop_id, stay.rfm_run_id),
    )


def _boundaries(session: Session, shop_id: int, rfm_run_id: str | None) -> tuple[BoundaryPart, ...]:
    """Those that somebody reached; none before dbt has built its first."""
    is_built = session.scalar(HAS_TABLE, {"name": "marts.rfm_boundaries"})
    if rfm_run_id is None or not is_built:
        return ()
    return tuple(
        BoundaryPart(each.dimension, each.score, each.words)
        for each in read_boundaries(session, shop_id, rfm_run_id)
        if each.words
    )
