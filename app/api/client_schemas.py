"""The published schemas of clients and of proposals about them: closed, strict, with examples that run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from app.api.life_cycle_schemas import ReasonSchema, StepSchema
from app.api.published import CURSOR, WORDED, Distinct, matching
from app.api.schemas import TextSchema
from app.life_cycle.client_views import ACTIVE, DIRECTORY, REGISTERED, SUSPENDED
from app.registry.client_changes import APPROVED, CHANGE, PROPOSED, REGISTER, REJECTED, RESUME
from app.registry.departments import CERTIFICATE_NAMES, CLIENT_ID, MAX_PUBLIC_KEYS, PUBLIC_KEY, ROLES

MAX_TITLE = 100
MAX_NAME = 500
MAX_SIGNING_KEYS = 4
# RFC 8705 §3.1: 32 bytes in base64url without padding; of the last of 43 characters two bits are zero.
THUMBPRINT = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = rf"{_LABEL}(?:\.{_LABEL})*"
ACTIONS = (REGISTER, CHANGE, RESUME)
STATES = (PROPOSED, APPROVED, REJECTED)


def _about(text: str) -> dict[str, str]:
    return {"description": text}


def _coordinate() -> fields.String:
    # SPEC: RFC 7518 §6.2.1.2: 32 bytes in base64url, like a thumbprint. What lies on the curve, no pattern says.
    return matching(THUMBPRINT, required=True)


def _titled() -> fields.String:
    return fields.String(required=True, validate=validate.Length(1, MAX_TITLE), metadata={"pattern": WORDED})


def _name(pattern: str, description: str) -> fields.String:
    metadata = {"pattern": pattern, **_about(description)}
    return fields.String(validate=validate.Length(1, MAX_NAME), metadata=metadata)


def _cursor() -> fields.String:
    return fields.String(load_default="", validate=validate.Length(max=400), metadata={"pattern": CURSOR})


class ClientTitleSchema(Schema):
    """A client's name for people, in English and Chinese."""

    en = _titled()
    zh = _titled()


class RegisteredNameSchema(Schema):
    """What the client's certificates hold: exactly one name (RFC 8705 §2.1.2), perhaps also which keys they have."""

    rules: ClassVar[dict[str, Any]] = {"oneOf": [{"required": [name]} for name in CERTIFICATE_NAMES]}
    tls_client_auth_subject_dn = _name(WORDED, "Subject, in RFC 4514 form: the last part first, CN=…,O=…,C=CN")
    tls_client_auth_san_dns = _name(f"^{HOST}$", "One host name, in lower case, without a wildcard")
    tls_client_auth_san_uri = _name("^[A-Za-z][A-Za-z0-9+.-]*:[!-~]*$", "One URI with its scheme, in ASCII")
    tls_client_auth_san_ip = _name("^[0-9a-f:.]+$", "One address, in its short form")
    tls_client_auth_san_email = _name(f"^[!-?A-~]+@{HOST}$", "One mail address, in ASCII, its host in lower case")
    public_keys = Distinct(
        matching(PUBLIC_KEY.pattern),
        validate=validate.Length(max=MAX_PUBLIC_KEYS),
        metadata=_about(
            "SHA-256 of the SubjectPublicKeyInfo: the key in use and the one that follows; none: any key"
        ),
    )

    @validates_schema
    def one_name(self, data: Mapping[str, Any], **_: Any) -> None:
        """Exactly one of the names is there."""
        if len(data.keys() & set(CERTIFICATE_NAMES)) != 1:
            raise ValidationError(f"needs exactly one of {', '.join(CERTIFICATE_NAMES)} (RFC 8705 §2.1.2)")


class SigningKeySchema(Schema):
    """A public P-256 key for ES256 as JWK (RFC 7517)."""

    kty = fields.String(required=True, validate=validate.Equal("EC"))
    crv = fields.String(required=True, validate=validate.Equal("P-256"))
    x = _coordinate()
    y = _coordinate()
    alg = fields.String(validate=validate.Equal("ES256"))
    use = fields.String(validate=validate.Equal("sig"))
    kid = fields.String(validate=validate.Length(1, 64), metadata=_about("Its thumbprint (RFC 7638)"))


class ClientChangeRequestSchema(Schema):
    """A client as it shall be registered, but for its id and department, which never change."""

    title = fields.Nested(ClientTitleSchema, required=True)
    roles = Distinct(
        fields.String(validate=validate.OneOf(ROLES)),
        required=True,
        validate=validate.Length(1, len(ROLES)),
        metadata=_about("At most one of system-admin, security-admin and auditor (等保三级)"),
    )
    certificate = fields.Nested(RegisteredNameSchema, required=True)
    signing_keys = fields.List(
        fields.Nested(SigningKeySchema),
        load_default=list,
        validate=validate.Length(max=MAX_SIGNING_KEYS),
        metadata=_about("Keys that it signs requests with, beside that of its certificate"),
    )


class ClientRequestSchema(ClientChangeRequestSchema):
    """A new client of a department of the node directory."""

    department = fields.String(required=True, validate=validate.Length(1, 64))
    client = matching(CLIENT_ID.pattern, required=True)


class CertificateSuspensionSchema(ReasonSchema):
    """Which certificate, by its thumbprint as every record names it, and why."""

    certificate = matching(THUMBPRINT, required=True, metadata=_about("x5t#S256 (RFC 8705 §3.1)"))


class DecisionSchema(ReasonSchema):
    """What the second person says."""

    decision = fields.String(required=True, validate=validate.OneOf(("approve", "reject")))


class ClientQuery(Schema):
    """Which page, of which department and state."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    page_size = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = _cursor()
    department = fields.String(load_default="", validate=validate.Length(max=64))
    state = fields.String(load_default="", validate=validate.OneOf(("", ACTIVE, SUSPENDED)))


class ChangeQuery(Schema):
    """Which page, of which state."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    page_size = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = _cursor()
    state = fields.String(load_default="", validate=validate.OneOf(("", *STATES)))


class ClientLineSchema(Schema):
    """A client in a list."""

    client = fields.String(required=True)
    department = fields.String(required=True)
    title = fields.Nested(TextSchema, required=True)
    roles = fields.List(fields.String(), required=True)
    source = fields.String(
        required=True,
        validate=validate.OneOf((DIRECTORY, REGISTERED)),
        metadata=_about("Where it comes from: the signed node directory, or registered over HTTP"),
    )
    state = fields.String(required=True, validate=validate.OneOf((ACTIVE, SUSPENDED)))


class SuspendedCertificateSchema(Schema):
    """A certificate that is locked out."""

    certificate = fields.String(required=True)
    since = fields.String(required=True, metadata={"format": "date-time"})


class ClientSchema(ClientLineSchema):
    """A client with its document, its suspended certificates and its history."""

    document = fields.Dict(required=True)
    digest = fields.String(required=True, allow_none=True, metadata=_about("Of the archived document that holds it"))
    suspended_certificates = fields.List(fields.Nested(SuspendedCertificateSchema), required=True)
    steps = fields.List(fields.Nested(StepSchema), required=True)


class ClientChangeLineSchema(Schema):
    """A proposal in a list."""

    id = fields.String(required=True)
    client = fields.String(required=True)
    department = fields.String(required=True)
    action = fields.String(required=True, validate=validate.OneOf(ACTIONS))
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    digest = fields.String(required=True)
    proposed_by = fields.String(required=True)
    proposed_at = fields.String(required=True, metadata={"format": "date-time"})
    decided_by = fields.String(required=True, allow_none=True)


class ClientChangeSchema(ClientChangeLineSchema):
    """A proposal with its document, and the steps that it came to."""

    document = fields.Dict(required=True)
    steps = fields.List(fields.Nested(StepSchema), required=True)


class ClientStepSchema(Schema):
    """What a step led to, the id of its record, and its signed receipt."""

    id = fields.String(required=True, metadata=_about("Of the client, or of the proposal"))
    state = fields.String(required=True)
    record = fields.String(required=True)
    receipt = fields.String(required=True)
    client = fields.String(metadata=_about("Whom a proposal is about"))
    action = fields.String(validate=validate.OneOf(ACTIONS))
    certificate = fields.String()
