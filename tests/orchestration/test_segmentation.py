import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

from activation.scoring import ScoringReport
from core.database import SessionFactory, session_scope
from core.models import Shop
from core.models.enums import GateState
from orchestration.platform.defs.segmentation import assets
from orchestration.shared.runtime import Runtime

pytestmark = [
    pytest.mark.usefixtures("process_environment"),
    # Not deprecated in a run; the context of a direct call says so of its own.
    pytest.mark.filterwarnings("ignore:AssetExecutionContext.run_id:DeprecationWarning"),
]


def test_a_database_error_of_one_shop_keeps_no_other_from_its_segments(
    session_factory: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadlock with one shop's orders ended the night for every shop behind it."""
    with session_scope(session_factory) as session:
        for name in ("a", "b"):
            session.add(
                Shop(
                    domain=f"{name}.myshopify.com",
                    name=name,
                    currency="EUR",
                    time_zone="Europe/Berlin",
                    client_id="id",
                    client_secret_encrypted="-",
                )
            )
    scored: list[int] = []

    def decide(factory: SessionFactory, *, shop_id: int, **_: object) -> ScoringReport:
        scored.append(shop_id)
        if len(scored) == 1:
            raise OperationalError("UPDATE …", {}, Exception("c1@example.com"))
        return ScoringReport(GateState.ACCEPTED, None, buyers=0, customers=0)

    monkeypatch.setattr(assets, "decide_and_apply", decide)
    with pytest.raises(dg.Failure) as failure:
        assets.segment_memberships(dg.build_asset_context(), runtime=Runtime())
    assert len(scored) == 2
    assert failure.value.metadata["a.myshopify.com"].value == "database: Exception"
