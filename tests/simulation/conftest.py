from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema

from core.database import SessionFactory
from core.settings import Settings
from sandbox.shopify.schema import load_schema
from tests.fixtures.marts import Marts
from tests.simulation.played import Played, a_played_shop


@pytest.fixture(scope="session")
def schema(shopify_schema_path: Path) -> GraphQLSchema:
    return load_schema(shopify_schema_path)


@pytest.fixture
def begin(
    schema: GraphQLSchema,
    tmp_path: Path,
    session_factory: SessionFactory,
    settings: Settings,
    marts: Marts,
) -> Callable[..., AbstractContextManager[Played]]:
    """Starts a played shop at an instant: `with begin(at, seed=1) as played`."""

    def start(at: datetime, **how: Any) -> AbstractContextManager[Played]:
        return a_played_shop(
            schema=schema,
            folder=tmp_path,
            factory=session_factory,
            settings=settings,
            compute_boundaries=marts.compute_boundaries,
            begin=at,
            **how,
        )

    return start
