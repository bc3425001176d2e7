"""One agreement in force and one question that it permits; tests change what they are about."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import settings

from policies.decision import RuleSet
from policies.facts import CHINA, Facts, Hours, Terms
from policies.packaged import packaged_rules, packaged_schema

# For mutation testing, where every test runs against every mutant: `--hypothesis-profile=mutation`.
settings.register_profile("mutation", max_examples=10, derandomize=True, deadline=None)


@pytest.fixture(scope="session")
def rules() -> RuleSet:
    return RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)


@pytest.fixture(scope="session")
def agreement() -> Terms:
    return Terms(
        id="hz-hrss-employment-2026",
        digest="5d" * 32,
        kind="agreement",
        statutory=False,
        state="active",
        signed=True,
        legal_basis="失业保险条例 第十五条",
        valid_from=datetime(2026, 1, 1, tzinfo=CHINA),
        valid_until=datetime(2027, 1, 1, tzinfo=CHINA),
        departments=frozenset({"hz-hrss"}),
        clients=frozenset({"hz-hrss-benefits"}),
        purposes=frozenset({"unemployment-benefit", "benefit-review"}),
        attributes=frozenset({"employed_on", "employer"}),
        level="per_attribute",
        masked=frozenset({"employer"}),
        hours=Hours(frozenset({1, 2, 3, 4, 5}), 8 * 60, 18 * 60),
        networks=("10.8.0.0/16", "2001:db8::/32", "192.0.2.7"),
        batch_rows=20_000,
        security_agreement=True,
    )


@pytest.fixture(scope="session")
def asked(agreement: Terms) -> Facts:
    """A Tuesday at ten, in every respect as agreed."""
    return Facts(
        client="hz-hrss-benefits",
        department="hz-hrss",
        client_suspended=False,
        department_restricted=False,
        service="employment-status",
        sharing="conditional",
        provider="hz-tax",
        provider_suspended=False,
        withheld_basis=None,
        service_level="per_attribute",
        service_masks=frozenset({"employer", "wage"}),
        purpose="unemployment-benefit",
        attributes=frozenset({"employed_on"}),
        terms=agreement,
        case_agreed=True,
        operator_agreed=True,
        address="10.8.3.4",
        at=datetime(2026, 6, 2, 10, 0, tzinfo=CHINA),
    )
