"""The published schemas: problem documents, catalogue entries, and one question schema per service.

The question schemas are made from the same comparisons that the compiled reader uses (`app.registry.question`);
a test proves by generated questions that both accept and refuse the same.
"""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from adapters import normalise
from adapters.compare import Comparison
from adapters.texts import Code, CreditCode, ResidentId
from app.api.published import PRINTABLE
from app.registry.catalogue import CATEGORIES, DISCLOSURES, SHARING, Service
from app.registry.question import IDENTIFIER_REASON, MAX_LABEL, PURPOSE, SUBJECT_TYPES

SUBJECT_SCHEMAS = {
    "resident_id": {
        "type": "string",
        "format": "resident-id",
        **ResidentId.schema,
        "description": "Resident id number (GB 11643): 18 characters with check digit, or the old 15 digits",
    },
    "credit_code": {
        "type": "string",
        "format": "credit-code",
        **CreditCode.schema,
        "description": "Unified social credit code (GB 32100), 18 characters",
    },
    "code": {"type": "string", **Code.schema, "description": "A registration number"},
}


class ProblemSchema(Schema):
    """RFC 9457 problem document."""

    type = fields.String(required=True, metadata={"description": "Stable slug: docs/problems.md lists them"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    instance = fields.String(metadata={"description": "Id of the decision that recorded the refusal"})
    receipt = fields.String(metadata={"description": "Signed receipt of that record"})
    reasons = fields.List(fields.Dict(), metadata={"description": "Rules with articles, when not permitted"})
    errors = fields.List(fields.Dict(), metadata={"description": "Pointers and reasons, when invalid"})
    violated_policies = fields.List(
        fields.String(), data_key="violated-policies", metadata={"description": "Which limit, when one was reached"}
    )


class TextSchema(Schema):
    """A text in English and Chinese."""

    en = fields.String(required=True)
    zh = fields.String(required=True)


class ServiceSchema(Schema):
    """A catalogue entry (山东 第十六条, 四川 第八条)."""

    service = fields.String(required=True)
    version = fields.Integer(required=True)
    title = fields.Nested(TextSchema, required=True)
    summary = fields.Nested(TextSchema, required=True)
    category = fields.String(required=True, validate=validate.OneOf(CATEGORIES))
    provider = fields.String(required=True)
    sharing = fields.String(required=True, validate=validate.OneOf(SHARING))
    basis = fields.List(fields.String(), required=True)
    update_cycle = fields.String(required=True)
    population = fields.Nested(TextSchema, allow_none=True)
    disclosure = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(DISCLOSURES),
        metadata={"description": "The most that any agreement may disclose; null where sharing is withheld"},
    )
    masks = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "Attributes whose masked value an agreement may disclose"},
    )
    contract_digest = fields.String(required=True)
    verifications = fields.String(required=True)


class ServiceWithContractSchema(ServiceSchema):
    """A catalogue entry with its whole match contract."""

    contract = fields.Dict(required=True)


class ServicePageSchema(Schema):
    """A page of the catalogue; `next` is the cursor of the following page, or null."""

    items = fields.List(fields.Nested(ServiceSchema), required=True)
    next = fields.String(required=True, allow_none=True)


class RecordSchema(Schema):
    """The record of one decision and its index in the log."""

    id = fields.String(required=True)
    index = fields.Integer(required=True)
    record = fields.Dict(required=True)


class Compared(fields.Field[Any]):
    """A value that a comparison parses; its JSON Schema is the comparison's own."""

    def __init__(self, comparison: Comparison, **kwargs: Any) -> None:
        schema = dict(comparison.json_schema())
        if "const" in schema:
            # The writer of the document leaves out what it does not know; this says the same.
            schema["enum"] = [schema.pop("const")]
        super().__init__(metadata=schema, **kwargs)
        self.comparison = comparison

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        try:
            return self.comparison.snap(self.comparison.parse(value))
        except normalise.ValueInvalid as error:
            raise ValidationError(str(error)) from None


class Subject(fields.Field[str]):
    """The number that names the subject, normalised by its type."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(metadata=dict(SUBJECT_SCHEMAS[kind]), **kwargs)
        self.kind = kind

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:  # noqa: ARG002
        if not isinstance(value, str):
            raise ValidationError("must be a text")
        try:
            return SUBJECT_TYPES[self.kind](value)
        except normalise.ValueInvalid as error:
            raise ValidationError(str(error)) from None


def _label(value: str) -> None:
    if not value.isprintable() or normalise.find_identifiers(value):
        raise ValidationError(IDENTIFIER_REASON)


def _purpose(value: str) -> None:
    if not PURPOSE.fullmatch(value) or normalise.find_identifiers(value):
        raise ValidationError("must be lower-case words joined by hyphens")


def question_schema(service: Service) -> type[Schema]:
    """The schema of a question to one service, closed: members it does not name are refused."""
    name = "".join(word.capitalize() for word in service.name.split("-"))
    members: dict[str, Any] = {
        "purpose": fields.String(required=True, validate=_purpose, metadata={"pattern": f"^{PURPOSE.pattern}$"}),
        "case": _label_field("Case number 办件编号, in the agreement's pattern"),
        "operator": _label_field("The person behind the call, in the agreement's pattern"),
    }
    if service.answerable is None:
        members |= {part: fields.Raw(allow_none=True) for part in ("subject", "confirm", "declared")}
        return _schema(f"{name}Question", members)
    answerable = service.answerable
    binding = answerable.binding
    subject = _schema(f"{name}Subject", {binding.subject_field: Subject(binding.subject_type, required=True)})
    confirm = {key: Compared(item, required=True) for key, item in answerable.confirm.items()}
    declared = {
        key: Compared(item, required=key in answerable.required) for key, item in answerable.attributes.items()
    }
    members["subject"] = fields.Nested(subject, required=True)
    members["confirm"] = fields.Nested(_schema(f"{name}Confirm", confirm), required=True)
    members["declared"] = fields.Nested(_schema(f"{name}Declared", declared), required=bool(answerable.required))
    return _schema(f"{name}Question", members)


def _schema(name: str, members: dict[str, Any]) -> type[Schema]:
    return Schema.from_dict(members, name=name)


def _label_field(description: str) -> fields.String:
    return fields.String(
        required=True,
        validate=[validate.Length(1, MAX_LABEL), _label],
        metadata={"pattern": PRINTABLE, "description": description},
    )


def answer_schema(service: Service) -> dict[str, Any]:
    """JSON Schema of a service's answer: one closed object for every result."""
    code = {"type": "string", "enum": ["match", "no_match", "not_found"]}
    names = [item.name for item in service.answerable.binding.attributes] if service.answerable else []
    masked = [item.name for item in service.answerable.binding.attributes if item.mask] if service.answerable else []
    properties: dict[str, Any] = {
        "id": {"type": "string", "format": "uuid", "description": "Decision id"},
        "service": {"type": "string", "const": service.name},
        "result": code,
        "as_of": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "Last update of the source",
        },
        "contract": {"type": "string", "description": "Digest of the match contract that was applied"},
        "obligations": {"type": "array", "items": {"type": "string"}},
        "receipt": {"type": "string", "description": "JWS by the node: docs/receipts.md"},
    }
    if names:
        properties["attributes"] = {
            "type": "object",
            "description": "Results per attribute, where the agreement discloses them",
            "properties": dict.fromkeys(names, code),
            "additionalProperties": False,
        }
    if masked:
        properties["disclosed"] = {
            "type": "object",
            "description": "Masked source values, where the agreement discloses them; null unless it is a match",
            "properties": {name: {"type": ["string", "null"]} for name in masked},
            "additionalProperties": False,
        }
    return {
        "type": "object",
        "required": ["id", "service", "result", "as_of", "contract", "obligations", "receipt"],
        "properties": properties,
        "additionalProperties": False,
    }
