"""What may be wrong with a token, by name: each makes one out of what a forger has who even holds the node's key.

All are refused as `token-invalid` but for those of NOT_BOUND: sound tokens in the hands of another certificate.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from time import time
from typing import TypeAlias

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from evidence.base64s import encode_url
from tests.http.token_forge import (
    ATTACKER,
    LEFT_OUT,
    ORDER,
    Forge,
    as_json,
    der,
    foreign_key,
    halves,
    not_encoded,
    other_alphabet,
    part,
    raw,
    repainted,
    spare_bits,
    thumbprint,
    twice,
)
from tests.nodes.running import ISSUER

Mutations: TypeAlias = "dict[str, Callable[[Forge], str]]"

SPKI, POINT = PublicFormat.SubjectPublicKeyInfo, PublicFormat.UncompressedPoint
OTHER_THUMBPRINT = "B" * 43

TYPES: Mutations = {
    "typ missing": lambda f: f.with_header(typ=LEFT_OUT),
    "typ null": lambda f: f.with_header(typ=None),
    "typ JWT": lambda f: f.with_header(typ="JWT"),
    "typ of an id token": lambda f: f.with_header(typ="id_token+jwt"),
    "typ in capitals": lambda f: f.with_header(typ="AT+JWT"),
    "typ at+JWT": lambda f: f.with_header(typ="at+JWT"),
    "typ with a blank": lambda f: f.with_header(typ=" at+jwt"),
    "typ with a parameter": lambda f: f.with_header(typ="application/at+jwt;v=1"),
    "typ of another media type": lambda f: f.with_header(typ="text/at+jwt"),
    "typ of a DPoP proof": lambda f: f.with_header(typ="dpop+jwt"),
    "typ of an introspection": lambda f: f.with_header(typ="token-introspection+jwt"),
    "typ of a logout token": lambda f: f.with_header(typ="logout+jwt"),
    "typ of a receipt": lambda f: f.with_header(typ="hecha-receipt+jws"),
    "typ a list": lambda f: f.with_header(typ=["at+jwt"]),
}

HEADERS: Mutations = {
    "alg missing": lambda f: f.with_header(alg=LEFT_OUT),
    "alg null": lambda f: f.with_header(alg=None),
    "alg a list": lambda f: f.with_header(alg=["ES256"]),
    "alg in small letters": lambda f: f.with_header(alg="es256"),
    "alg with a blank": lambda f: f.with_header(alg="ES256 "),
    "alg unknown": lambda f: f.with_header(alg="ES257"),
    "alg none in a signed token": lambda f: f.with_header(alg="none"),
    "kid missing": lambda f: f.with_header(kid=LEFT_OUT),
    "kid null": lambda f: f.with_header(kid=None),
    "kid empty": lambda f: f.with_header(kid=""),
    "kid a number": lambda f: f.with_header(kid=0),
    "kid a list": lambda f: f.with_header(kid=[f.kid]),
    "kid an object": lambda f: f.with_header(kid={"kid": f.kid}),
    "kid of nobody": lambda f: f.with_header(kid="A" * 43),
    "kid of the receipt key": lambda f: f.with_header(kid=f.node.node.recorder.signer.kid),
    "kid in small letters": lambda f: f.with_header(kid=f.kid.lower()),
    "kid padded": lambda f: f.with_header(kid=f.kid + "="),
    "kid a path": lambda f: f.with_header(kid="../../../../dev/null"),
    "kid SQL": lambda f: f.with_header(kid="' UNION SELECT 'AAAA' --"),
    "kid a URL": lambda f: f.with_header(kid=ATTACKER),
    "crit empty": lambda f: f.with_header(crit=[]),
    "crit of b64": lambda f: f.with_header(crit=["b64"], b64=False),
    "crit of exp": lambda f: f.with_header(crit=["exp"], exp=1),
    "crit unknown": lambda f: f.with_header(crit=["x"], x=True),
    "b64 true": lambda f: f.with_header(b64=True),
    "b64 false without crit": lambda f: f.with_header(b64=False),
    "zip": lambda f: f.signed(f.header(zip="DEF"), zlib.compress(orjson.dumps(f.claims()))[2:-4]),
    "cty": lambda f: f.with_header(cty="JWT"),
    "jku beside": lambda f: f.with_header(jku=ATTACKER),
    "x5u beside": lambda f: f.with_header(x5u=ATTACKER),
    "x5c beside": lambda f: f.with_header(x5c=["MIIB"]),
    "x5t beside": lambda f: f.with_header(**{"x5t#S256": thumbprint(f.caller)}),
    "jwk beside": lambda f: f.with_header(jwk=f.jwk()),
    "member of nobody": lambda f: f.with_header(tenant="hz-tax"),
    "claims in the header": lambda f: f.with_header(iss=ISSUER, aud=ISSUER),
    "header names alg twice": lambda f: f.signed(
        b'{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"' + f.kid.encode() + b'"}'
    ),
    "header no JSON": lambda f: f.signed(b"alg=ES256"),
    "header an array": lambda f: f.signed(b'["ES256"]'),
    "header with a mark of byte order": lambda f: f.signed(b"\xef\xbb\xbf" + orjson.dumps(f.header())),
    "header in UTF-16": lambda f: f.signed(orjson.dumps(f.header()).decode().encode("utf-16")),
}

KEYS: Mutations = {
    "signed by another key": lambda f: f.signed(key=foreign_key()),
    "signed by the receipt key": lambda f: f.signed(key=f.node.node.keys.receipt),
    "signed by the receipt key in its own name": lambda f: f.signed(
        f.header(kid=f.node.node.recorder.signer.kid), key=f.node.node.keys.receipt
    ),
    "key brought along as jwk": lambda f: f.bringing_its_key(jwk=f.jwk()),
    "key brought along as jwk under its kid": lambda f: f.bringing_its_key(jwk=f.jwk(), kid=f.jwk()["kid"]),
    "key to be fetched by jku": lambda f: f.bringing_its_key(jku=ATTACKER),
    "key to be fetched by x5u": lambda f: f.bringing_its_key(x5u=ATTACKER),
    "key brought along as x5c": lambda f: f.bringing_its_key(x5c=["MIIB"]),
    "key to be fetched by kid": lambda f: f.bringing_its_key(kid=ATTACKER),
    "symmetric key brought along": lambda f: f.with_header(alg="HS256", jwk={"kty": "oct", "k": ""}),
    "unsigned": lambda f: f.unsigned(f.header(alg="none")) + ".",
    "unsigned, None": lambda f: f.unsigned(f.header(alg="None")) + ".",
    "unsigned, nOnE": lambda f: f.unsigned(f.header(alg="nOnE")) + ".",
    "unsigned with some signature": lambda f: f.unsigned(f.header(alg="none")) + ".AA",
    "unsigned as ES256": lambda f: f.unsigned() + ".",
    "public key in PEM as a secret": lambda f: f.with_hmac(f.key.public_key().public_bytes(Encoding.PEM, SPKI)),
    "public key in DER as a secret": lambda f: f.with_hmac(f.key.public_key().public_bytes(Encoding.DER, SPKI)),
    "public point as a secret": lambda f: f.with_hmac(f.key.public_key().public_bytes(Encoding.X962, POINT)),
    "published key as a secret": lambda f: f.with_hmac(orjson.dumps(f.node.node.jwks["keys"][0])),
    "kid as a secret": lambda f: f.with_hmac(f.kid.encode()),
    "empty secret": lambda f: f.with_hmac(b""),
    "empty secret, HS512": lambda f: f.with_hmac(b"", "HS512"),
    "RS256 by an RSA key": lambda f: f.with_rsa(padding.PKCS1v15(), alg="RS256"),
    "ES256 by an RSA key": lambda f: f.with_rsa(padding.PKCS1v15()),
    "PS256 by an RSA key": lambda f: f.with_rsa(padding.PSS(padding.MGF1(hashes.SHA256()), 32), alg="PS256"),
    "EdDSA": lambda f: f.with_ed25519(alg="EdDSA"),
    "ES256 by an Ed25519 key": lambda f: f.with_ed25519(),
    "ES384 by a P-384 key": lambda f: f.with_signature(
        lambda text: raw(*halves(foreign_key("p384"), text, hashes.SHA384()), 48), alg="ES384"
    ),
    "ES384 by the node's own key": lambda f: f.with_signature(
        lambda text: raw(*halves(f.key, text, hashes.SHA384())), alg="ES384"
    ),
    "ES256K": lambda f: f.with_signature(lambda text: raw(*halves(foreign_key("k256"), text)), alg="ES256K"),
    "ES256 over another hash": lambda f: f.with_signature(lambda text: raw(*halves(f.key, text, hashes.SHA512()))),
}

SIGNATURES: Mutations = {
    "signature in DER": lambda f: f.with_signature(lambda text: encode_dss_signature(*halves(f.key, text))),
    "signature of zeroes": lambda f: f.with_signature(lambda _: bytes(64)),
    "r zero": lambda f: f.with_signature(lambda text: raw(0, halves(f.key, text)[1])),
    "s zero": lambda f: f.with_signature(lambda text: raw(halves(f.key, text)[0], 0)),
    "r and s the order": lambda f: f.with_signature(lambda _: raw(ORDER, ORDER)),
    "r and s one": lambda f: f.with_signature(lambda _: raw(1, 1)),
    "signature of ones": lambda f: f.with_signature(lambda _: b"\xff" * 64),
    "r and s swapped": lambda f: f.with_signature(lambda text: raw(*reversed(halves(f.key, text)))),
    "signature cut by a byte": lambda f: f.with_signature(lambda text: raw(*halves(f.key, text))[:63]),
    "signature longer by a byte": lambda f: f.with_signature(lambda text: b"\0" + raw(*halves(f.key, text))),
    "signature in 48 bytes a half": lambda f: f.with_signature(lambda text: raw(*halves(f.key, text), 48)),
    "signature of the payload alone": lambda f: f.with_signature(
        lambda text: raw(*halves(f.key, text.partition(".")[2]))
    ),
    "signature of another token": lambda f: f.unsigned() + "." + f.caller.token().rpartition(".")[2],
    "one bit of the signature flipped": lambda f: f.with_signature(
        lambda text: raw(*halves(f.key, text))[:-1] + bytes([raw(*halves(f.key, text))[-1] ^ 1])
    ),
    "spare bits of the signature set": lambda f: spare_bits(f.signed()),
    "widened scope under the old signature": lambda f: repainted(f, scope="audit security-admin"),
    "longer life under the old signature": lambda f: repainted(f, exp=int(time()) + 100_000),
    "other client under the old signature": lambda f: repainted(f, client_id="hz-audit", sub="hz-audit"),
}

FORMS: Mutations = {
    "two parts": lambda f: f.signed().rpartition(".")[0],
    "four parts": lambda f: f.signed() + ".AA",
    "five parts, as a JWE": lambda f: ".".join((part({"alg": "dir", "enc": "A256GCM"}), "", "AA", "AA", "AA")),
    "only dots": lambda _: "..",
    "one word": lambda _: "token",
    "flattened JSON": lambda f: as_json(f.signed()),
    "general JSON": lambda f: orjson.dumps(
        {"payload": f.signed().split(".")[1], "signatures": [orjson.loads(as_json(f.signed()))]}
    ).decode(),
    "nested token": lambda f: f.signed(f.header(cty="JWT"), f.signed().encode()),
    "nested token without cty": lambda f: f.signed(payload=f.signed().encode()),
    "payload detached": lambda f: "{0}..{2}".format(*f.signed().split(".")),
    "payload not encoded": not_encoded,
    "payload no JSON": lambda f: f.signed(payload=b"scope=audit"),
    "payload an array": lambda f: f.signed(payload=orjson.dumps([f.claims()])),
    "payload a text": lambda f: f.signed(payload=b'"audit"'),
    "payload with a mark of byte order": lambda f: f.signed(payload=b"\xef\xbb\xbf" + orjson.dumps(f.claims())),
    "payload no UTF-8": lambda f: f.signed(payload=orjson.dumps(f.claims(note="x")).replace(b'"x"', b'"\xff"')),
    "payload in UTF-16": lambda f: f.signed(payload=orjson.dumps(f.claims()).decode().encode("utf-16")),
    "payload with more behind it": lambda f: f.signed(payload=orjson.dumps(f.claims()) + b"{}"),
    "payload with NUL behind it": lambda f: f.signed(payload=orjson.dumps(f.claims()) + b"\0"),
    "payload with a comment": lambda f: f.signed(payload=b"/**/" + orjson.dumps(f.claims())),
    "payload nested deep": lambda f: f.signed(
        payload=orjson.dumps(f.claims(note=0)).replace(b'"note":0', b'"note":' + b"[" * 999 + b"]" * 999)
    ),
    "NaN": lambda f: f.signed(payload=orjson.dumps(f.claims(note=0)).replace(b'"note":0', b'"note":NaN')),
    "exp Infinity": lambda f: f.signed(payload=orjson.dumps(f.claims(exp=0)).replace(b'"exp":0', b'"exp":Infinity')),
    "scope named twice": lambda f: f.signed(payload=twice(f, "scope", b'"audit"')),
    "exp named twice": lambda f: f.signed(payload=twice(f, "exp", b"9999999999")),
    "cnf named twice": lambda f: f.signed(payload=twice(f, "cnf", orjson.dumps({"x5t#S256": OTHER_THUMBPRINT}))),
    "padding behind": lambda f: f.signed() + "==",
    "padding in each part": lambda f: ".".join(item + "=" * (-len(item) % 4) for item in f.signed().split(".")),
    "the other alphabet": other_alphabet,
    "blank before": lambda f: " " + f.signed(),
    "blank behind": lambda f: f.signed() + " ",
    "blank inside": lambda f: f.signed().replace(".", ". "),
    "tab behind": lambda f: f.signed() + "\t",
    "line break behind": lambda f: f.signed() + "\n",
    "line break inside": lambda f: f.signed().replace(".", ".\r\n "),
    "in quotes": lambda f: f'"{f.signed()}"',
    "percent-encoded dot": lambda f: f.signed().replace(".", "%2E"),
    "full-width dot": lambda f: f.signed().replace(".", "\u3002").encode().decode("latin-1"),
    "NUL behind": lambda f: f.signed() + "\0",
    "two tokens": lambda f: f"{f.signed()}, Bearer {f.signed()}",
    "over 4,096 characters": lambda f: f.with_claims(note="x" * 3_000),
    "64 KiB": lambda _: "A" * 65_536,
    "a receipt": lambda f: f.receipt(),
}

ISSUERS: Mutations = {
    "iss missing": lambda f: f.with_claims(iss=LEFT_OUT),
    "iss null": lambda f: f.with_claims(iss=None),
    "iss of another": lambda f: f.with_claims(iss="https://node.suzhou.example"),
    "iss with a slash": lambda f: f.with_claims(iss=ISSUER + "/"),
    "iss in capitals": lambda f: f.with_claims(iss=ISSUER.upper()),
    "iss over http": lambda f: f.with_claims(iss=ISSUER.replace("https", "http")),
    "iss with its port": lambda f: f.with_claims(iss=ISSUER + ":443"),
    "iss as a prefix": lambda f: f.with_claims(iss=ISSUER + ".attacker.example"),
    "iss a list": lambda f: f.with_claims(iss=[ISSUER]),
    "aud missing": lambda f: f.with_claims(aud=LEFT_OUT),
    "aud null": lambda f: f.with_claims(aud=None),
    "aud empty": lambda f: f.with_claims(aud=""),
    "aud of another": lambda f: f.with_claims(aud="https://node.suzhou.example"),
    "aud with a slash": lambda f: f.with_claims(aud=ISSUER + "/"),
    "aud in capitals": lambda f: f.with_claims(aud=ISSUER.upper()),
    "aud a list": lambda f: f.with_claims(aud=[ISSUER]),
    "aud a list of two": lambda f: f.with_claims(aud=[ISSUER, "https://node.suzhou.example"]),
    "aud an empty list": lambda f: f.with_claims(aud=[]),
    "aud the token endpoint": lambda f: f.with_claims(aud=ISSUER + "/oauth2/token"),
}

TIMES: Mutations = {
    "expired": lambda f: f.expired(),
    "expired a second ago": lambda f: f.with_claims(iat=int(time()) - 601, exp=int(time()) - 1),
    "exp missing": lambda f: f.with_claims(exp=LEFT_OUT),
    "exp null": lambda f: f.with_claims(exp=None),
    "exp a text": lambda f: f.with_claims(exp=str(int(time()) + 600)),
    "exp a fraction": lambda f: f.with_claims(exp=time() + 300.5),
    "exp true": lambda f: f.with_claims(exp=True),
    "exp zero": lambda f: f.with_claims(exp=0),
    "exp negative": lambda f: f.with_claims(exp=-1),
    "exp before iat": lambda f: f.with_claims(iat=int(time()) + 30, exp=int(time()) + 20),
    "exp a day ahead": lambda f: f.with_claims(exp=int(time()) + 86_400),
    "exp a second too far": lambda f: f.with_claims(exp=int(time()) + 602),
    "exp in milliseconds": lambda f: f.with_claims(exp=int(time() * 1_000)),
    "exp beyond 64 bits": lambda f: f.signed(payload=orjson.dumps(f.claims(exp=7)).replace(b":7", b":" + b"9" * 40)),
    "exp of 1e9": lambda f: f.signed(payload=orjson.dumps(f.claims(exp=7)).replace(b":7", b":2e9")),
    "exp a list": lambda f: f.with_claims(exp=[int(time()) + 600]),
    "iat missing": lambda f: f.with_claims(iat=LEFT_OUT),
    "iat null": lambda f: f.with_claims(iat=None),
    "iat a text": lambda f: f.with_claims(iat="1"),
    "iat a fraction": lambda f: f.with_claims(iat=time()),
    "iat true": lambda f: f.with_claims(iat=True),
    "iat 75 s ahead": lambda f: f.with_claims(iat=int(time()) + 75),
    "iat and exp negative": lambda f: f.with_claims(iat=-600, nbf=-600, exp=-1),
    "nbf null": lambda f: f.with_claims(nbf=None),
    "nbf a text": lambda f: f.with_claims(nbf="1"),
    "nbf a fraction": lambda f: f.with_claims(nbf=1.5),
    "nbf true": lambda f: f.with_claims(nbf=True),
    "nbf 75 s ahead": lambda f: f.with_claims(nbf=int(time()) + 75),
}

HOLDERS: Mutations = {
    "jti missing": lambda f: f.with_claims(jti=LEFT_OUT),
    "jti null": lambda f: f.with_claims(jti=None),
    "jti empty": lambda f: f.with_claims(jti=""),
    "jti a number": lambda f: f.with_claims(jti=1_234_567_890_123_456),
    "jti a list": lambda f: f.with_claims(jti=["a-forged-token-0001"]),
    "jti short": lambda f: f.with_claims(jti="a"),
    "jti a path": lambda f: f.with_claims(jti="../../a-forged-token"),
    "sub missing": lambda f: f.with_claims(sub=LEFT_OUT),
    "sub of another client": lambda f: f.with_claims(sub=f.victim.name),
    "sub null": lambda f: f.with_claims(sub=None),
    "client_id missing": lambda f: f.with_claims(client_id=LEFT_OUT),
    "client_id of another client": lambda f: f.with_claims(client_id=f.victim.name),
    "client_id empty": lambda f: f.with_claims(client_id="", sub=""),
    "client_id a number": lambda f: f.with_claims(client_id=1, sub=1),
    "client_id a list": lambda f: f.with_claims(client_id=[f.caller.name], sub=[f.caller.name]),
    "client_id in capitals": lambda f: f.with_claims(client_id=f.caller.name.upper(), sub=f.caller.name.upper()),
    "another client's, bound to this certificate": lambda f: f.with_claims(
        client_id=f.victim.name, sub=f.victim.name
    ),
    "scope missing": lambda f: f.with_claims(scope=LEFT_OUT),
    "scope null": lambda f: f.with_claims(scope=None),
    "scope empty": lambda f: f.with_claims(scope=""),
    "scope a list": lambda f: f.with_claims(scope=f.claims()["scope"].split()),
    "scope with two blanks": lambda f: f.with_claims(scope=f.claims()["scope"].replace(" ", "  ")),
    "scope with a line break": lambda f: f.with_claims(scope=f.claims()["scope"].replace(" ", "\n")),
    "scope with a quote": lambda f: f.with_claims(scope=f.claims()["scope"] + ' "audit"'),
    "scope in Chinese": lambda f: f.with_claims(scope=f.claims()["scope"] + " 审计"),
    "cnf missing": lambda f: f.with_claims(cnf=LEFT_OUT),
    "cnf null": lambda f: f.with_claims(cnf=None),
    "cnf empty": lambda f: f.with_claims(cnf={}),
    "cnf a text": lambda f: f.with_claims(cnf=thumbprint(f.caller)),
    "cnf a list": lambda f: f.with_claims(cnf=[{"x5t#S256": thumbprint(f.caller)}]),
    "cnf of a key (jkt)": lambda f: f.with_claims(cnf={"jkt": thumbprint(f.caller)}),
    "cnf of both": lambda f: f.with_claims(cnf={"x5t#S256": thumbprint(f.caller), "jkt": OTHER_THUMBPRINT}),
    "cnf of SHA-1": lambda f: f.with_claims(cnf={"x5t": encode_url(hashlib.sha1(der(f)).digest())}),
    "cnf value empty": lambda f: f.with_claims(cnf={"x5t#S256": ""}),
    "cnf value null": lambda f: f.with_claims(cnf={"x5t#S256": None}),
    "cnf value a list": lambda f: f.with_claims(cnf={"x5t#S256": [thumbprint(f.caller)]}),
    "cnf value padded": lambda f: f.with_claims(cnf={"x5t#S256": thumbprint(f.caller) + "="}),
    "cnf value cut": lambda f: f.with_claims(cnf={"x5t#S256": thumbprint(f.caller)[:-1]}),
    "cnf value in hexadecimal": lambda f: f.with_claims(cnf={"x5t#S256": hashlib.sha256(der(f)).hexdigest()}),
    "revoked": lambda f: f.revoked(),
}

NOT_BOUND: Mutations = {
    "stolen": lambda f: f.victim.token(),
    "cnf of another certificate": lambda f: f.with_claims(cnf={"x5t#S256": thumbprint(f.victim)}),
    "cnf of nobody": lambda f: f.with_claims(cnf={"x5t#S256": OTHER_THUMBPRINT}),
    "cnf value in capitals": lambda f: f.with_claims(cnf={"x5t#S256": thumbprint(f.caller).upper()}),
}

INVALID = TYPES | HEADERS | KEYS | SIGNATURES | FORMS | ISSUERS | TIMES | HOLDERS
ALL = INVALID | NOT_BOUND
