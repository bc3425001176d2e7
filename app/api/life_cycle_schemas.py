"""The published schemas of applications, agreements and disputes: closed, strict, with examples that run."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_network
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validate

from app.api.published import WORDED, Distinct, either, matching, printable, where
from app.api.schemas import TextSchema
from app.registry.agreement_document import ID, MAX_BATCH_ROWS, MAX_BITS, PERIODS
from app.registry.applications import MODES
from app.registry.catalogue import DISCLOSURES
from app.registry.deadlines import CLOCKS
from app.registry.disputes import MOVES, OUTCOMES
from app.registry.question import PURPOSE

MAX_TEXT = 500
RULING = "ruling"
MAX_SIGNATURE = 2_048
APPLICATION_STATES = ("submitted", "approved", "refused", "reopened")
AGREEMENT_STATES = ("approved", "active", "suspended", "expired", "revoked", "superseded")
DISPUTE_STATES = ("negotiation", "coordination", "joint-review", "ruled", "settled", "withdrawn")


class Flag(fields.Boolean):
    """true or false, and nothing that might be meant by it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:  # noqa: ARG002
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class Count(fields.Integer):
    """A whole number from 1 to `most`."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(1, most), **kwargs)
        self.most = most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # To JSON Schema 7.0 is a whole number too. Of a huge one, an integer would take long to make.
        if isinstance(value, Decimal) and 1 <= value <= self.most and value % 1 == 0:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValidationError("must be a whole number")
        return super()._deserialize(value, attr, data, **kwargs)


def _network(value: str) -> None:
    try:
        ip_network(value)
    except ValueError:
        raise ValidationError("must be a network such as 10.1.0.0/16") from None


def _text(**kwargs: Any) -> fields.String:
    return printable(MAX_TEXT, **kwargs)


def _words(**kwargs: Any) -> fields.String:
    """A text that says something; which step it belongs to knows what a blank one lacks."""
    return printable(MAX_TEXT, required=True, metadata={"pattern": WORDED, **kwargs.pop("metadata", {})}, **kwargs)


def _names(most: int, **kwargs: Any) -> Distinct:
    return Distinct(fields.String(validate=validate.Length(1, 64)), validate=validate.Length(max=most), **kwargs)


def _about(text: str) -> dict[str, str]:
    return {"description": text}


def _time(pattern: str) -> fields.String:
    return matching(pattern, required=True)


class DisclosureSchema(Schema):
    """What an answer discloses: one result or one per attribute, and masked values on a match (四川 第二十二条)."""

    level = fields.String(load_default=DISCLOSURES[0], validate=validate.OneOf(DISCLOSURES))
    masked = _names(64, load_default=list)


class BatchSchema(Schema):
    """The largest batch."""

    rows = Count(MAX_BATCH_ROWS, required=True)


class QuotaSchema(Schema):
    """A count of questions over a calendar period, Asia/Shanghai."""

    count = Count(999_999_999, required=True)
    per = fields.String(required=True, validate=validate.OneOf(PERIODS))


class BudgetSchema(Schema):
    """Bits that may be disclosed about one subject and source attribute."""

    bits = Count(MAX_BITS, required=True)
    renews = fields.String(validate=validate.OneOf(("year",)))


HoursSchema = Schema.from_dict(
    {
        "weekdays": fields.List(Count(7), required=True, validate=validate.Length(1, 7)),
        "from": _time("([01][0-9]|2[0-3]):[0-5][0-9]"),
        "until": _time("([01][0-9]|2[0-3]):[0-5][0-9]|24:00"),
    },
    name="HoursSchema",
)


class ScopeSchema(Schema):
    """What is asked for, in an application and in standing terms alike (山东 第二十九条)."""

    service = fields.String(required=True, validate=validate.Length(1, 64), metadata=_about("所需信息"))
    purposes = Distinct(
        matching(PURPOSE.pattern),
        required=True,
        validate=validate.Length(1, 16),
        metadata=_about("用途 (应用业务)"),
    )
    legal_basis = _words(metadata=_about("依据 (海珠 第三十三条)"))
    attributes = _names(64, load_default=list, metadata=_about("Attributes to be declared or disclosed"))
    disclosure = fields.Nested(DisclosureSchema, load_default=lambda: {"level": DISCLOSURES[0], "masked": []})
    until = fields.Date(required=True, metadata=_about("Last day 截止时间, Asia/Shanghai"))
    supersedes = matching(ID.pattern, metadata=_about("Agreement that this is to replace"))


class ApplicationRequestSchema(ScopeSchema):
    """An application 共享申请."""

    rules: ClassVar[dict[str, Any]] = either(
        where("mode", ["query"], lacks="batch"), where("mode", ["batch"], needs=["mode", "batch"])
    )

    users = _names(200, load_default=list, metadata=_about("Clients 使用对象; none: all of the department"))
    mode = fields.String(load_default=MODES[0], validate=validate.OneOf(MODES), metadata=_about("共享模式"))
    batch = fields.Nested(BatchSchema, metadata=_about("Of the mode batch"))
    case = _text(metadata=_about("Proposed pattern of case numbers"))
    operator = _text(metadata=_about("Proposed pattern of operators"))


class ConditionsSchema(Schema):
    """The provider's conditions 共享条件: they narrow what was applied for."""

    security_agreement = Flag(
        required=True, metadata={"enum": [True], **_about("The security agreement is signed (四川 第三十条)")}
    )
    fold = Flag(load_default=True, metadata=_about("Answer not_found as no_match"))
    human_review = Flag(load_default=True, metadata=_about("Not the sole ground of an adverse decision"))
    disclosure = fields.Nested(DisclosureSchema)
    freshness = matching("[1-9][0-9]{0,4}[mhd]", metadata=_about("Oldest update: 24h"))
    obligations = fields.List(
        fields.String(validate=validate.OneOf(("notify-provider",))), validate=validate.Length(max=1)
    )
    quota = fields.Nested(QuotaSchema)
    budget = fields.Nested(BudgetSchema)
    hours = fields.Nested(HoursSchema)
    networks = fields.List(
        fields.String(
            validate=_network, metadata={"format": "ip-network", **_about("10.1.0.0/16, no bit set behind it")}
        ),
        validate=validate.Length(max=64),
    )
    request_signature = Flag(metadata=_about("Every question is signed (RFC 9421)"))
    batch = fields.Nested(BatchSchema)
    case = _text(metadata=_about("Pattern of case numbers"))
    operator = _text(metadata=_about("Pattern of operators"))
    valid_from = fields.Date(metadata=_about("First day, Asia/Shanghai; left out: the day of the decision"))


# Without a budget, answers about a person may add up without end.
_BUDGETED = {"required": ["budget"]}


class VerdictSchema(Schema):
    """The steward's decision: approve under conditions, or refuse with a reason."""

    rules: ClassVar[dict[str, Any]] = either(
        where("decision", ["approve"], needs=["conditions"], conditions=_BUDGETED),
        where("decision", ["refuse"], needs=["reason"], lacks="conditions", reason={"pattern": WORDED}),
    )
    decision = fields.String(required=True, validate=validate.OneOf(("approve", "refuse")))
    reason = _text(metadata=_about("Of a refusal, which needs one"))
    conditions = fields.Nested(ConditionsSchema, metadata=_about("Of an approval, which needs them"))


class StandingTermsRequestSchema(ScopeSchema):
    """Standing terms: for unconditional services, and for what the law orders (四川 第二十三条, 山东 第五条)."""

    rules: ClassVar[dict[str, Any]] = either(
        where("statutory", [False]),
        where(
            "statutory",
            [True],
            needs=["statutory", "departments"],
            departments={"minItems": 1},
            conditions=_BUDGETED,
        ),
    )
    statutory = Flag(load_default=False)
    departments = _names(200, load_default=list, metadata=_about("None: every department"))
    conditions = fields.Nested(ConditionsSchema, required=True)


class SignatureSchema(Schema):
    """A detached JWS (RFC 7515 appendix F, ES256) over the agreement's canonical bytes: docs/agreements.md."""

    signature = fields.String(required=True, validate=validate.Length(1, MAX_SIGNATURE))


class ReasonSchema(Schema):
    """Why; read by both sides and kept in the archive."""

    reason = _words()


class DisputeRequestSchema(Schema):
    """A dispute over a refused or overdue application."""

    application = fields.String(required=True, validate=validate.Length(1, 64))
    grounds = _words()


class DisputeStepSchema(Schema):
    """The next step of a dispute; a ruling says for whom."""

    rules: ClassVar[dict[str, Any]] = either(
        where("step", [RULING], needs=["outcome"]), where("step", sorted(MOVES.keys() - {RULING}), lacks="outcome")
    )
    step = fields.String(required=True, validate=validate.OneOf(tuple(MOVES)))
    note = _words()
    outcome = fields.String(validate=validate.OneOf(OUTCOMES), metadata=_about("Of a ruling, which needs it"))


class DeadlineSchema(Schema):
    """A clock that runs, in working days of the Chinese calendar."""

    clock = fields.String(required=True, validate=validate.OneOf(tuple(CLOCKS)))
    title = fields.Nested(TextSchema, required=True)
    basis = fields.List(fields.String(), required=True)
    due = fields.String(required=True, metadata={"format": "date", "description": "Last day, Asia/Shanghai"})
    days_left = fields.Integer(required=True, metadata=_about("Working days after today"))
    overdue = fields.Boolean(required=True)
    provisional = fields.Boolean(required=True, metadata=_about("Rests on a year whose holidays are not published"))


class StepReplySchema(Schema):
    """What a step led to, the id of its record, and its signed receipt."""

    id = fields.String(required=True, metadata=_about("Of the application, agreement or dispute"))
    state = fields.String(required=True)
    record = fields.String(required=True)
    receipt = fields.String(required=True)
    agreement = fields.String()
    application = fields.String()
    digest = fields.String()
    awaiting = fields.List(fields.String(), metadata=_about("Departments that have not signed yet"))
    deadline = fields.Nested(DeadlineSchema)


class StepSchema(Schema):
    """One step of a history, with the document that its record holds by digest."""

    record = fields.String(required=True)
    index = fields.Integer(required=True)
    about = fields.String(required=True)
    kind = fields.String(required=True)
    state = fields.String(required=True)
    at = fields.String(required=True, metadata={"format": "date-time"})
    department = fields.String(required=True, allow_none=True)
    client = fields.String(required=True, allow_none=True)
    digest = fields.String(required=True)
    document = fields.Dict(required=True)


class ApplicationLineSchema(Schema):
    """An application in a list."""

    id = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(APPLICATION_STATES))
    service = fields.String(required=True)
    provider = fields.String(required=True)
    consumer = fields.String(required=True)
    client = fields.String(required=True)
    submitted_at = fields.String(required=True, metadata={"format": "date-time"})
    agreement = fields.String(required=True, allow_none=True)
    deadline = fields.Nested(DeadlineSchema, required=True, allow_none=True)


class ApplicationSchema(ApplicationLineSchema):
    """An application with its document and history."""

    application = fields.Dict(required=True)
    digest = fields.String(required=True)
    disputes = fields.List(fields.String(), required=True)
    steps = fields.List(fields.Nested(StepSchema), required=True)


class AgreementLineSchema(Schema):
    """An agreement in a list."""

    id = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(AGREEMENT_STATES))
    kind = fields.String(required=True)
    digest = fields.String(required=True)
    service = fields.String(required=True)
    provider = fields.String(required=True)
    consumer = fields.String(required=True, allow_none=True)
    application = fields.String(required=True, allow_none=True)
    valid_until = fields.String(required=True, metadata={"format": "date-time"})


class AgreementSchema(AgreementLineSchema):
    """An agreement with its document, the bytes to sign, its signatures and its history."""

    document = fields.Dict(required=True)
    canonical = fields.String(required=True, metadata=_about("Its canonical form (RFC 8785): UTF-8, to be signed"))
    signatures = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    awaiting = fields.List(fields.String(), required=True)
    deadline = fields.Nested(DeadlineSchema, required=True, allow_none=True)
    steps = fields.List(fields.Nested(StepSchema), required=True)


class DisputeLineSchema(Schema):
    """A dispute in a list."""

    id = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(DISPUTE_STATES))
    application = fields.String(required=True)
    provider = fields.String(required=True)
    consumer = fields.String(required=True)
    opened_at = fields.String(required=True, metadata={"format": "date-time"})


class DisputeSchema(DisputeLineSchema):
    """A dispute with its history."""

    steps = fields.List(fields.Nested(StepSchema), required=True)


class OpenDeadlineSchema(DeadlineSchema):
    """A clock that runs, and what about."""

    about = fields.String(required=True)
    id = fields.String(required=True)
    service = fields.String(required=True)
    provider = fields.String(required=True)
    consumer = fields.String(required=True)


class DeadlinesSchema(Schema):
    """Every open clock, the next one to run out first."""

    items = fields.List(fields.Nested(OpenDeadlineSchema), required=True)


def page_schema(line: type[Schema], name: str) -> type[Schema]:
    """A page of a list; `next` is the cursor of the following page, or null."""
    members: dict[str, fields.Field[Any]] = {
        "items": fields.List(fields.Nested(line), required=True),
        "next": fields.String(required=True, allow_none=True),
    }
    return Schema.from_dict(members, name=name)
