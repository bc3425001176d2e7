"""What tests of the OAuth endpoints share: who may have which scopes, and what an error looks like."""

from __future__ import annotations

from werkzeug.test import TestResponse

from tests.nodes.questions import CLIENT

SERVICES = {
    "adoption-registration",
    "business-registration",
    "death-registration",
    "employment-status",
    "enterprise-basic",
    "household-registration",
    "person-basic",
    "property-contract",
    "wage-base",
}
VERIFY = {f"verify:{name}" for name in SERVICES}
GRANTED = {
    "hz-hrss-benefits": {"catalogue", *VERIFY},
    "hz-outsider": {"catalogue", *VERIFY},
    "hz-tax-steward": {"catalogue", "steward"},
    "hz-data-bureau": {"catalogue", "authority"},
    "hz-audit": {"catalogue", "audit"},
    "hz-sysadmin": {"system-admin"},
    "hz-secadmin": {"security-admin"},
}
ASKED = {"grant_type": "client_credentials", "client_id": CLIENT}
FORM = "application/x-www-form-urlencoded"
ENDPOINTS = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"]


def error(response: TestResponse, code: str, status: int = 400) -> None:
    """RFC 6749 §5.2: JSON with the error's code, not to be stored; a 401 has a challenge (RFC 9110 §15.5.2)."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document = response.get_json()
    assert document.keys() == {"error", "error_description"}
    assert document["error"] == code
    assert (response.headers.get("WWW-Authenticate") == 'Bearer realm="hecha"') is (status == 401)
