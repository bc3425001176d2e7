"""POST /v1/reload: put the node directory on disk in force, while the node runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import g
from flask_smorest import Blueprint

from app.api.operating_schemas import ReloadSchema
from app.api.security import node, scope
from app.identity.caller import Caller
from app.refusals import Refusal
from app.revisions import REFUSALS
from app.services import Node

blueprint = Blueprint("operations", __name__, description="Operating the node.")


@blueprint.route("/v1/reload", methods=["POST"])
@scope("system-admin")
@blueprint.doc(summary="Put the signed node directory on disk in force", operationId="reload")
@blueprint.response(200, ReloadSchema)
def reload() -> Any:
    """Every worker decides by it from its record on. One that is refused leaves the running one in force."""
    running = node()
    try:
        admit = partial(_admitted, running, g.caller)
        changed = running.revisions.install(running.settings.node_dir, g.caller, admit)
    except REFUSALS as error:
        reason = str(error).rstrip(".")
        raise Refusal("revision-refused", f"The running revision stays in force: {reason}.") from None
    registry = running.current.refresh()
    # Workers would find out when they record; so they ask no source in vain.
    running.limiter.announce(registry.epoch)
    return {"revision": registry.revision, "directory": registry.digest, "changed": changed}


def _admitted(running: Node, caller: Caller) -> None:
    """Raise the `Refusal` of a caller who was locked out meanwhile."""
    caller.admitted(running.current.followed()).need("system-admin")
