"""The published schemas of what operators, auditors and providers read: reload, accounts, usage, notices."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from app.api.published import matching

MONTH = r"20[0-9]{2}-(0[1-9]|1[0-2])"
BITS = r"^[0-9]+(\.[0-9]{3})?$"
MAX_INDEX = 2**53 - 1


class ReloadSchema(Schema):
    """The revision of the node directory that is in force now."""

    revision = fields.Integer(required=True, metadata={"example": 7})
    directory = fields.String(required=True, metadata={"description": "Digest of the whole node directory"})
    changed = fields.Boolean(required=True, metadata={"description": "false: it was in force already"})


def _amount(description: str, **given: Any) -> fields.String:
    return fields.String(
        required=True, validate=validate.Regexp(BITS), metadata={"description": description}, **given
    )


class AccountSchema(Schema):
    """One account as it stands now. A quota counts questions, a budget bits with three decimals."""

    kind = fields.String(required=True, validate=validate.OneOf(("quota", "budget")))
    attribute = fields.String(
        required=True, allow_none=True, metadata={"description": "Source attribute of a budget; null for a quota"}
    )
    spent = _amount("What was drawn on it, all questions together")
    limit = _amount("What may be drawn on it; null where it only keeps count", allow_none=True)
    left = _amount("What is left of it; null where it only keeps count", allow_none=True)


class AccountsSchema(Schema):
    """The accounts that one decision drew on, was stopped by or got for nothing: none for any other refusal."""

    id = fields.String(required=True)
    accounts = fields.List(fields.Nested(AccountSchema), required=True)


class UsageQuery(Schema):
    """Which month."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    month = matching(
        MONTH,
        load_default=None,
        metadata={"description": "Asia/Shanghai; the current one by default", "example": "2026-11"},
    )


def _number(description: str) -> fields.Integer:
    return fields.Integer(required=True, validate=validate.Range(0), metadata={"description": description})


class UseSchema(Schema):
    """What became of the questions of one department to one service for one purpose."""

    consumer = fields.String(required=True)
    service = fields.String(required=True)
    purpose = fields.String(
        required=True, allow_none=True, metadata={"description": "null where the one asked is of no agreement"}
    )
    answered = _number("Questions with an answer")
    denied = _number("Denied by the rules")
    limited = _number("Stopped by quota or disclosure budget")
    failed = _number("Permitted, but not answered: a source or an obligation failed, or a key was taken")
    refused = _number("Not decided at all: token, scope or body was wrong")
    bits = fields.String(
        required=True,
        validate=validate.Regexp(BITS),
        metadata={"description": "Drawn on disclosure budgets", "example": "12.680"},
    )
    quota_left = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Of the agreement's current period; null for another month, or without a quota"},
    )


class UsageSchema(Schema):
    """A month's use of a department's services."""

    month = fields.String(required=True, metadata={"example": "2026-11"})
    provider = fields.String(required=True)
    items = fields.List(fields.Nested(UseSchema), required=True)


class NoticeQuery(Schema):
    """Where to go on, and how many."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    after = fields.Integer(
        load_default=-1,
        validate=validate.Range(-1, MAX_INDEX),
        metadata={"description": "The `index` of the last notice read; notices after it are given"},
    )
    page_size = fields.Integer(load_default=50, validate=validate.Range(1, 200))


class NoticeSchema(Schema):
    """One answer that the provider is told of."""

    index = fields.Integer(required=True, metadata={"description": "Its place in the decision log"})
    id = fields.String(required=True, metadata={"description": "Decision id"})
    at = fields.String(required=True, metadata={"format": "date-time"})
    consumer = fields.String(required=True)
    service = fields.String(required=True)
    purpose = fields.String(required=True)


class NoticePageSchema(Schema):
    """Notices in the order of the log; `next` is the `after` of the following page, or null."""

    items = fields.List(fields.Nested(NoticeSchema), required=True)
    next = fields.Integer(required=True, allow_none=True)
