"""What can go wrong between a client and a node, each with a text for the person who asked."""

from __future__ import annotations


class ClientError(Exception):
    """The node gave no usable reply; `str(error)` says why in plain words."""


class NodeUnreachable(ClientError):
    """No connection: nothing listens, the certificate of either side was refused, or time ran out."""


class TokenRefused(ClientError):
    """The node issued no access token."""


class RequestRefused(ClientError):
    """The node answered a read with something other than 200; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ReplyNotUnderstood(ClientError):
    """What came back is not what a node sends: no JSON object, or too large."""
