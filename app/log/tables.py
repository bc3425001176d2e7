"""The node database: what one transaction writes for one decision, and the head of the one tree.

`log_entry` and `log_node` are evidence and are never changed. `decision` (the index for search), `salt` and
`idempotency` are kept apart from it, so that they can be erased while every proof stays valid. `archive` keeps every
document that a record names by digest; `agreement`, `application` and `dispute` say where each stands now, which
`step` and the log can tell anew.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData()

log_entry = Table(
    "log_entry",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# Records of revisions are found by what they say, not by what the search index says of them; few among millions. The
# text is `"kind":"revision"`: inside a string its quotes would be escaped.
IS_REVISION = {
    "sqlite": "instr(body, X'226b696e64223a227265766973696f6e22') > 0",
    "postgresql": "position('\\x226b696e64223a227265766973696f6e22'::bytea in body) > 0",
}
Index(
    "log_entry_revision",
    log_entry.c.idx,
    sqlite_where=text(IS_REVISION["sqlite"]),
    postgresql_where=text(IS_REVISION["postgresql"]),
)

# Hashes of complete subtrees of 256^level leaves: with the leaf hashes, all that tiles and proofs read.
log_node = Table(
    "log_node",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)

# One row. `generation` rises when the limiter is rebuilt: a reservation of an older one is not recorded. `epoch`
# rises with every change that a decision rests on: a decision of an older one is not recorded either.
log_head = Table(
    "log_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
)

decision = Table(
    "decision",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("kind", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("provider", Text),
    Column("service", Text),
    Column("purpose", Text),
    Column("agreement", Text),
    Column("decision", Text),
    Column("limit_reached", Text),
    Column("state", Text, nullable=False),
    Column("result", Text),  # the disclosed one
    Column("subject_tag", LargeBinary),  # HMAC under the node's index key
    Column("case_number", Text),
    Column("operator", Text),
    # What the decision was made from, for replay; its digest stands in the record (policies.facts_document). Of a
    # token: whom it was issued to (`app.registry.holders`), in no record.
    Column("facts", LargeBinary),
)
Index("decision_kind", decision.c.kind, decision.c.idx)

salt = Table(
    "salt",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# The truth of quota (amount 1, no question) and disclosure budget (thousandths of a bit, keyed question).
# `ceiling` is the limit the charge was made under, `attribute` the source attribute of a budget, `fingerprint` the
# opaque source values that the answer was about; `renewed`: the account had begun anew, and no row before says so.
# Amount 0 is an account of a free repeat or of a question that a limit stopped, for the auditor to see.
charge = Table(
    "charge",
    metadata,
    Column("idx", BigInteger, ForeignKey("log_entry.idx"), primary_key=True, autoincrement=False),
    Column("account", Text, primary_key=True),
    Column("amount", Integer, nullable=False),
    Column("question", Text),
    Column("attribute", Text),
    Column("ceiling", BigInteger, nullable=False, server_default="0"),
    Column("fingerprint", Text),
    Column("renewed", Boolean, nullable=False, server_default=false()),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_digest", LargeBinary, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("sealed_reply", LargeBinary),  # None while the first request runs
)
Index("idempotency_claimed_at", idempotency.c.claimed_at)

# Every document that a record names by its digest: rule sets, node directories, agreements, steps. Never changed.
archive = Table(
    "archive",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# One row: the revision of the node directory that is in force, and the index of the record that says so.
registry = Table(
    "registry",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("directory", Text, nullable=False),
    Column("idx", BigInteger, nullable=False),
)

# Where each agreement stands. `epoch` is that of its last change, `signatures` a JSON object by department.
agreement = Table(
    "agreement",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("signatures", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("consumer", Text),
    Column("valid_until", BigInteger, nullable=False),  # seconds since 1970, UTC
    Column("due", Text),  # ISO date by which the next step is to be taken
    Column("application", Text),
)
Index("agreement_epoch", agreement.c.epoch)
Index("agreement_state", agreement.c.state, agreement.c.valid_until)

# At most one active agreement per department, service and purpose; `party` is empty for terms open to every one.
agreement_active = Table(
    "agreement_active",
    metadata,
    Column("party", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("agreement", Text, nullable=False),
)
Index("agreement_active_agreement", agreement_active.c.agreement)

application = Table(
    "application",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("submitted_at", BigInteger, nullable=False),  # seconds since 1970, UTC
    Column("due", Text),  # ISO date by which the provider decides
    Column("decided_at", BigInteger),
    Column("agreement", Text),
)

dispute = Table(
    "dispute",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("application", Text, ForeignKey("application.id"), nullable=False),
    Column("provider", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),  # seconds since 1970, UTC
    Column("due", Text),
)

# Every step of an application, agreement, dispute, client or revision, by the record that holds it.
step = Table(
    "step",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("about", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", BigInteger, nullable=False),  # milliseconds since 1970, UTC
    Column("department", Text),
    Column("client", Text),
    Column("digest", Text),
)
Index("step_about", step.c.about)

# Answers that the provider is to be told of (obligation notify-provider, 山东 第三十六条).
notice = Table(
    "notice",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("provider", Text, nullable=False),
)
Index("notice_provider", notice.c.provider, notice.c.idx)

# What the database says of one client beside the node directory: `digest` names its archived document, None for one
# of the directory. `epoch` is that of the last change.
client = Table(
    "client",
    metadata,
    Column("id", Text, primary_key=True),
    Column("department", Text, nullable=False),
    Column("digest", Text),
    Column("suspended", Boolean, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)

# A change of a client that one security administrator proposed, and another one decides on.
client_change = Table(
    "client_change",
    metadata,
    Column("id", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("action", Text, nullable=False),  # register, change, resume
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),  # proposed, approved, rejected
    Column("proposed_by", Text, nullable=False),  # client id of the administrator
    Column("proposed_at", BigInteger, nullable=False),  # seconds since 1970, UTC
    Column("decided_by", Text),
)
Index("client_change_state", client_change.c.state, client_change.c.id)

# Certificates that are locked out by their SHA-256 thumbprint, whatever their authority says.
suspended_certificate = Table(
    "suspended_certificate",
    metadata,
    Column("thumbprint", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("since", BigInteger, nullable=False),  # seconds since 1970, UTC
)

# Access tokens that were revoked before they end, by their jti.
revoked_token = Table(
    "revoked_token",
    metadata,
    Column("jti", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # seconds since 1970, UTC
)
Index("revoked_token_expires_at", revoked_token.c.expires_at)

# Nonces of signed requests, each good once for its client.
nonce = Table(
    "nonce",
    metadata,
    Column("client", Text, primary_key=True),
    Column("nonce", LargeBinary, primary_key=True),  # SHA-256
    Column("expires_at", BigInteger, nullable=False),  # seconds since 1970, UTC
)
Index("nonce_expires_at", nonce.c.expires_at)

# What a client signed of a question (RFC 9421), sealed: apart from the log, so that it can be erased with its salt.
signed_request = Table(
    "signed_request",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), ForeignKey("log_entry.idx"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)
