"""One agreement 共享协议 or standing terms as a document: read, checked, and accepted by each side's signature.

A document is immutable: its digest is the SHA-256 of its canonical form (RFC 8785) and stands in every record under
it. Where an agreement stands in its life is not part of it. `check_document` is for what comes in (files,
approvals) and refuses with a reason; `agreement_of` reads again what was checked once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.registry.catalogue import Catalogue, Service
from app.registry.departments import Client, Departments
from app.registry.files import Members, NodeFileInvalid
from app.registry.question import PURPOSE
from evidence import jws
from evidence.canonical import NotCanonical, canonical
from evidence.errors import NotVerified
from policies.facts import Hours, Terms
from policies.obligations import Disclose, Obligation, describe, obligations_of

ANYONE = ""  # the party of standing terms that name no department: every one
PERIODS = ("day", "month", "year")
MAX_BITS = 100_000
MAX_BATCH_ROWS = 1_000_000
MAX_PATTERN = 200  # characters
ID = re.compile(r"[a-z0-9][a-z0-9-]{1,126}")
# A repeated group or a back reference can make matching take for ever; what else repeats is counted.
_SLOW = re.compile(r"\)[*+{]|\\[1-9]|\(\?P=")
_REPEATS = re.compile(r"(?<!\\)[*+{]")
_MAX_REPEATS = 4


@dataclass(frozen=True, slots=True)
class Quota:
    """A count of questions over a calendar period (`day`, `month`, `year`, Asia/Shanghai)."""

    count: int
    per: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Bits that may be disclosed about one subject and source attribute; `renews`: every calendar year anew."""

    bits: int
    renews: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a department's active agreements allow together on one source attribute: bits of all time and a year's.

    Each is the tightest of its kind, None where no agreement says so.
    """

    ever: int | None = None
    yearly: int | None = None

    def also(self, budget: Budget | None) -> Bounds:
        """These bounds and one budget more."""
        if budget is None:
            return self
        if budget.renews:
            return Bounds(self.ever, min(filter(None, (self.yearly, budget.bits))))
        return Bounds(min(filter(None, (self.ever, budget.bits))), self.yearly)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One agreement or standing terms, ready for decision: policy facts, obligations, limits, patterns.

    `lineage` is the id of the first agreement in its `supersedes` chain: accounts are named by it, so that a renewed
    agreement brings no fresh quota.
    """

    terms: Terms
    service: str
    provider: str
    consumer: str | None
    lineage: str
    obligations: tuple[Obligation, ...]
    quota: Quota | None
    budget: Budget | None
    case: re.Pattern[str] | None
    operator: re.Pattern[str] | None
    document: Mapping[str, Any]
    published: tuple[str, ...] = field(init=False)  # its obligations as an answer names them

    def __post_init__(self) -> None:
        object.__setattr__(self, "published", tuple(describe(self.obligations)))

    @property
    def masked(self) -> frozenset[str]:
        """The attributes whose masked value a match discloses."""
        return self.terms.masked

    def case_agreed(self, case: str) -> bool:
        """Whether a case number has the agreed pattern; with none agreed, any text that is not empty."""
        return bool(self.case.fullmatch(case)) if self.case else bool(case)

    def operator_agreed(self, operator: str) -> bool:
        """Whether an operator's name has the agreed pattern; with none agreed, any text that is not empty."""
        return bool(self.operator.fullmatch(operator)) if self.operator else bool(operator)


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked document: its canonical bytes, their digest, and what the registry keeps beside them.

    `parties` are the departments it is for, or `ANYONE` alone; `signers` those that must accept it.
    """

    id: str
    document: bytes
    digest: str
    kind: str
    service: str
    provider: str
    consumer: str | None
    parties: tuple[str, ...]
    signers: tuple[str, ...]
    purposes: frozenset[str]
    valid_from: datetime
    valid_until: datetime
    supersedes: str | None


def check_document(members: Members, catalogue: Catalogue, departments: Departments) -> Draft:
    """Check a new document against the catalogue and the registered departments.

    Raises `NodeFileInvalid` with the member and the reason.
    """
    content = dict(members.document)
    agreement = agreement_of(members, digest="", state="approved", signed=False)
    terms = agreement.terms
    service = catalogue.find(agreement.service)
    if service is None or service.provider != agreement.provider:
        raise members.refuse(f"{agreement.provider} provides no service {agreement.service}")
    _check_parties(members, terms, departments)
    _check_disclosure(members, terms, service)
    _check_texts(members, agreement)
    if agreement.budget is None and (terms.kind == "agreement" or terms.statutory):
        raise members.refuse("budget is needed: without one, answers about a person may add up without end")
    try:
        document = canonical(content)
    except NotCanonical as error:
        raise members.refuse(str(error)) from None
    return Draft(
        id=terms.id,
        document=document,
        digest=digest_of(document),
        kind=terms.kind,
        service=agreement.service,
        provider=agreement.provider,
        consumer=agreement.consumer,
        parties=tuple(sorted(terms.departments)) or (ANYONE,),
        signers=signers(agreement.provider, agreement.consumer),
        purposes=terms.purposes,
        valid_from=terms.valid_from,
        valid_until=terms.valid_until,
        supersedes=content.get("supersedes"),
    )


def digest_of(document: bytes) -> str:
    """`sha256-<hex>` of a document's canonical bytes."""
    return "sha256-" + hashlib.sha256(document).hexdigest()


def signers(provider: str, consumer: str | None) -> tuple[str, ...]:
    """The departments that must accept: provider and consumer, or for standing terms the provider alone."""
    return tuple(dict.fromkeys((provider, consumer or provider)))


def check_signature(departments: Departments, department: str, document: bytes, signature: str) -> None:
    """Check one side's detached JWS over a document's canonical bytes. Raises a `NotVerified` of its flaw."""
    found = departments.all.get(department)
    # INVARIANT: only the department's own keys count; another's signature is as good as none.
    keys = found.signing_keys if found else {}
    jws.verify(signature, keys, jws.AGREEMENT, payload=document, named="signature")


def unsigned_by(
    departments: Departments, required: Iterable[str], document: bytes, signatures: Mapping[str, str]
) -> tuple[str, ...]:
    """Those of the required departments without a signature that holds, in their order."""

    def holds(department: str) -> bool:
        try:
            check_signature(departments, department, document, signatures.get(department, ""))
        except NotVerified:
            return False
        return True

    return tuple(department for department in required if not holds(department))


def agreement_of(members: Members, *, digest: str, state: str, signed: bool, lineage: str | None = None) -> Agreement:
    """Read a document by itself, whatever catalogue and departments say now. Raises `NodeFileInvalid`."""
    content = dict(members.document)
    if "state" in content:
        raise members.refuse(
            "state is no part of an agreement: it is kept in the node's database and changes by recorded steps only"
        )
    service, provider = members.text("service"), members.text("provider")
    obligations = _obligations(members)
    supersedes = members.text("supersedes", "")
    terms = _terms(members, obligations, {"digest": digest, "state": state, "signed": signed})
    if supersedes and (supersedes == terms.id or not ID.fullmatch(supersedes)):
        raise members.refuse("supersedes must be the id of another agreement")
    agreement = Agreement(
        terms=terms,
        service=service,
        provider=provider,
        consumer=next(iter(terms.departments)) if terms.kind == "agreement" else None,
        lineage=lineage or supersedes or terms.id,
        obligations=obligations,
        quota=_quota(members.optional("quota")),
        budget=_budget(members.optional("budget")),
        case=_pattern(members, "case"),
        operator=_pattern(members, "operator"),
        document=content,
    )
    members.done()
    return agreement


def _terms(members: Members, obligations: Iterable[Obligation], given: Mapping[str, Any]) -> Terms:
    """The facts that policy decides over. Raises `NodeFileInvalid` for facts that no rule could hold against."""
    kind = members.choice("kind", ("agreement", "standing-terms"))
    named = [members.text("consumer")] if kind == "agreement" else members.texts("departments", [])
    disclose = next(item for item in obligations if isinstance(item, Disclose))
    valid = members.members("valid")
    try:
        terms = Terms(
            id=members.text("agreement"),
            kind=kind,
            statutory=members.flag("statutory", default=False),
            legal_basis=members.text("legal_basis", ""),
            valid_from=_instant(valid, "from"),
            valid_until=_instant(valid, "until"),
            departments=frozenset(named),
            clients=frozenset(members.texts("clients", [])),
            purposes=frozenset(members.texts("purposes")),
            attributes=disclose.attributes,
            level=disclose.level,
            masked=disclose.masked,
            hours=_hours(members.optional("hours")),
            networks=members.texts("networks", []),
            batch_rows=_batch_rows(members.optional("batch")),
            security_agreement=members.flag("security_agreement", default=False),
            request_signature=members.flag("request_signature", default=False),
            **given,
        )
    except NodeFileInvalid:
        raise
    except ValueError as error:
        raise members.refuse(str(error)) from None
    valid.done()
    return terms


def _obligations(members: Members) -> tuple[Obligation, ...]:
    names = ("attributes", "disclosure", "fold", "human_review", "freshness", "obligations")
    content = {name: members.document[name] for name in names if name in members.document}
    members.leave(names)
    try:
        return obligations_of(content)
    except ValueError as error:
        raise members.refuse(str(error)) from None


def _instant(members: Members, name: str) -> datetime:
    text = members.text(name)
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise members.refuse(f"{name} must be a date and time such as 2026-01-01T00:00:00+08:00") from None
    if value.tzinfo is None:
        raise members.refuse(f"{name} needs its offset from UTC, such as +08:00")
    return value


def _hours(members: Members | None) -> Hours | None:
    if members is None:
        return None
    hours = Hours(
        weekdays=frozenset(members.integers("weekdays")),
        from_minute=_minute(members, "from"),
        until_minute=_minute(members, "until"),
    )
    members.done()
    return hours


def _minute(members: Members, name: str) -> int:
    text = members.text(name)
    found = re.fullmatch(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00))", text)
    if not found:
        raise members.refuse(f"{name} must be a time of day from 00:00 to 24:00")
    return int(found[1] or found[3]) * 60 + int(found[2] or found[4])


def _quota(members: Members | None) -> Quota | None:
    if members is None:
        return None
    quota = Quota(_from_one(members, "count"), members.choice("per", PERIODS))
    members.done()
    return quota


def _budget(members: Members | None) -> Budget | None:
    if members is None:
        return None
    renews = "renews" in members.document and bool(members.choice("renews", ("year",)))
    budget = Budget(_from_one(members, "bits", MAX_BITS), renews)
    members.done()
    return budget


def _batch_rows(members: Members | None) -> int:
    if members is None:
        return 0
    rows = _from_one(members, "rows", MAX_BATCH_ROWS)
    members.done()
    return rows


def _from_one(members: Members, name: str, most: int = 999_999_999) -> int:
    value = members.integer(name)
    if not 1 <= value <= most:
        raise members.refuse(f"{name} must be from 1 to {most:,}")
    return value


def _pattern(members: Members, name: str) -> re.Pattern[str] | None:
    text = members.text(name, "")
    if not text:
        return None
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise members.refuse(f"{name} is no regular expression") from None


def _check_parties(members: Members, terms: Terms, departments: Departments) -> None:
    if unknown := (terms.departments - departments.all.keys()) | (terms.clients - departments.clients.keys()):
        raise members.refuse(f"unknown department or client {', '.join(sorted(unknown))}")
    strangers = [name for name in sorted(terms.clients) if not _belongs(departments.clients[name], terms)]
    if strangers:
        raise members.refuse(f"clients of none of its departments: {', '.join(strangers)}")


def _belongs(client: Client, terms: Terms) -> bool:
    return not terms.departments or client.department in terms.departments


def _check_disclosure(members: Members, terms: Terms, service: Service) -> None:
    if service.sharing == "withheld" and not terms.statutory:
        raise members.refuse(f"{service.name} is withheld: nobody can agree to share it (四川 第二十二条)")
    if unknown := terms.attributes - set(service.answerable.attributes if service.answerable else ()):
        raise members.refuse(f"{service.name} has no attribute {', '.join(sorted(unknown))}")
    if unmasked := terms.masked - service.masks:
        raise members.refuse(f"{service.name} has no mask for {', '.join(sorted(unmasked))}")
    if terms.level == "per_attribute" and service.disclosure != "per_attribute":
        raise members.refuse(f"disclosure.level is beyond what is published for {service.name}: {service.disclosure}")


def _check_texts(members: Members, agreement: Agreement) -> None:
    terms = agreement.terms
    if not ID.fullmatch(terms.id):
        raise members.refuse("agreement must be lower-case letters, digits and hyphens, up to 127 of them")
    if not terms.legal_basis.strip():
        raise members.refuse("legal_basis is empty: an agreement names its legal ground (海珠 第三十三条)")
    if not terms.purposes or not all(map(PURPOSE.fullmatch, terms.purposes)):
        raise members.refuse("purposes must be one or more, each of lower-case words joined by hyphens")
    for name, pattern in (("case", agreement.case), ("operator", agreement.operator)):
        if pattern is not None and not _is_quick(pattern.pattern):
            raise members.refuse(
                f"{name} could take too long to match: at most {MAX_PATTERN} characters and {_MAX_REPEATS} "
                "repetitions, no repeated group, no back reference"
            )


def _is_quick(pattern: str) -> bool:
    repeats = len(_REPEATS.findall(pattern))
    return len(pattern) <= MAX_PATTERN and repeats <= _MAX_REPEATS and not _SLOW.search(pattern)
