"""One real broker for the tests of this package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sprout_link.broker import EmbeddedBroker
from sprout_link.mqtt import BrokerSettings


@pytest.fixture(scope="session")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def settings(broker: EmbeddedBroker) -> BrokerSettings:
    return BrokerSettings(host=broker.host, port=broker.port)
