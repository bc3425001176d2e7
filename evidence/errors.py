"""The one family of errors a verifier meets: every flaw in a piece of evidence is a `NotVerified`.

The text of each error is a plain sentence for the person who holds the evidence.
"""

from __future__ import annotations


class NotVerified(Exception):
    """A piece of evidence does not hold; `str(error)` says why in one plain sentence."""


class RecordNotVerified(NotVerified):
    """The bytes are not a record of the decision log in a version and kind known here."""


class CommitmentNotVerified(NotVerified):
    """A value does not open the commitment that the record holds for it, or there is none to open."""


class ReceiptNotVerified(NotVerified):
    """The receipt is malformed, is no receipt of this kind, or contradicts itself."""


class JwsNotVerified(NotVerified):
    """A document is no compact JWS with ES256 of the type asked for."""


class SignatureNotVerified(NotVerified):
    """A signature is not by the key it names, or what it signed was altered."""


class KeyNotVerified(NotVerified):
    """A public key document or verifier key is malformed or holds no usable key."""


class CheckpointNotVerified(NotVerified):
    """A checkpoint is malformed, or no trusted key signed it."""


class InclusionNotVerified(NotVerified):
    """An inclusion proof does not lead from the entry to the root."""


class ConsistencyNotVerified(NotVerified):
    """A consistency proof does not show the older tree to be a prefix of the newer one."""


class ProofNotVerified(NotVerified):
    """A `tlog-proof` document is malformed or belongs to another entry or log."""


class TileNotVerified(NotVerified, ValueError):
    """A tile path, a tile or an entry bundle is malformed."""
