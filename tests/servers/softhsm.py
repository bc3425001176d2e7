"""A PKCS#11 token in software (SoftHSM) for tests: its own folder, keys made in it as an operator would."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN = "hecha trial", "73 51"
MISSING = "SoftHSM is not installed (softhsm2-util and its module)"

# Run in a process of its own: tests load the module with the locks that the node asks for, this does not.
_MAKE = """
import json, sys
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

module, token, pin, wanted = json.loads(sys.argv[1])
CURVES = {"p256": "secp256r1", "p384": "secp384r1", "ed25519": "1.3.101.112"}
with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    for key in wanted:
        is_ed = key["curve"] == "ed25519"
        kind = KeyType.EC_EDWARDS if is_ed else KeyType.EC
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(CURVES[key["curve"]])}
        how = {"mechanism": Mechanism.EC_EDWARDS_KEY_PAIR_GEN} if is_ed else {}
        public, private = session.create_domain_parameters(kind, curve, local=True).generate_keypair(
            store=True,
            label=key["label"],
            id=bytes.fromhex(key.get("id", "")),
            private_template={Attribute.SIGN: key.get("sign", True)},
            **how,
        )
        if key.get("public") == "none":
            public.destroy()
        elif key.get("public"):
            (other,) = session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: key["public"]})
            members = (Attribute.CLASS, Attribute.KEY_TYPE, Attribute.EC_PARAMS, Attribute.EC_POINT)
            session.create_object(
                {name: other[name] for name in members} | {Attribute.LABEL: key["label"], Attribute.TOKEN: True}
            )
            public.destroy()
        if key.get("destroy"):
            private.destroy()
"""


def is_installed() -> bool:
    """Whether there is a SoftHSM on this machine."""
    return MODULE.is_file() and shutil.which("softhsm2-util") is not None


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A token in `folder`; whoever uses it needs `SOFTHSM2_CONF` set to `conf`."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def pin(self) -> Path:
        """The file with the PIN, as a node reads it."""
        return self.folder / "pin"

    def init(self) -> None:
        """Make the token, empty."""
        self.tokens.mkdir(parents=True)
        self.conf.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.pin.write_text(PIN + "\n")
        self.pin.chmod(0o600)
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "5678"]
        self._run(command)

    def make(self, *keys: dict[str, Any]) -> None:
        """Make key pairs: `curve` and `label`, perhaps `id`, `sign`, and whose `public` half to put beside it."""
        arguments = json.dumps([str(MODULE), LABEL, PIN, keys])
        self._run([sys.executable, "-c", _MAKE, arguments])

    def uri(self, label: str, module: Path = MODULE) -> str:
        """The URI of the key of that label."""
        return (
            f"pkcs11:token={LABEL.replace(' ', '%20')};object={label}?module-path={module}&pin-source=file:{self.pin}"
        )

    def write_uri(self, path: Path, label: str) -> Path:
        """Write the URI of a key into a file, as an operator does."""
        path.write_text(self.uri(label) + "\n")
        path.chmod(0o600)
        return path

    def _run(self, command: list[str]) -> None:
        subprocess.run(
            command, env={"SOFTHSM2_CONF": str(self.conf), "PATH": "/usr/bin:/bin"}, check=True, capture_output=True
        )
