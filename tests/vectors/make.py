#!/usr/bin/env python3
"""Writes the vectors beside it: an implementation of protocol.md that shares no code with the Rust one.

It needs nothing but Python's standard library. `python3 tests/vectors/make.py` writes the files anew;
`python3 tests/vectors/make.py --check` fails if they are not what it would write.
"""

import base64
import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent

# What no digest covers, beside the header that carries the agent's token and what the rules unbind.
UNBOUND = set(
    "user-agent accept-encoding date traceparent tracestate baggage b3 prefer idempotency-key content-length "
    "transfer-encoding te connection keep-alive expect x-request-id x-forwarded-for x-forwarded-proto via".split()
)
UNBOUND_PREFIXES = ("x-b3-", "x-envoy-")


def sha256(data):
    return "sha-256:" + hashlib.sha256(data).hexdigest()


def jcs(value):
    """RFC 8785 for values whose keys are ASCII and whose numbers are integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_base(vector, body, tag="holdgate-http-1"):
    bound = {}
    for name, value in vector["fields"]:
        left_out = name in UNBOUND or name.startswith(UNBOUND_PREFIXES)
        if name == "prefer":
            # Preferences that are not the gateway's change what the upstream does.
            asks = [preference.strip(" \t").lower() for preference in value.split(",")]
            left_out = all(ask == "respond-async" or ask.startswith("wait=") for ask in asks)
        if left_out or name == vector["token_header"] or name in vector["unbind"]:
            continue
        bound.setdefault(name, []).append(value.strip(" \t"))
    lines = [("@method", vector["method"]), ("@scheme", vector["scheme"]), ("@authority", vector["authority"])]
    lines.append(("@path", vector["path"]))
    if vector["query"] is not None:
        lines.append(("@query", "?" + vector["query"]))
    content = base64.b64encode(hashlib.sha256(body).digest()).decode()
    lines.append(("content-digest", f"sha-256=:{content}:"))
    for name in sorted(bound, key=lambda name: name.encode()):
        lines.append((name, ", ".join(bound[name])))
    components = [name for name, _ in lines]
    names = " ".join(f'"{name}"' for name in components)
    text = [f'"{name}": {value}' for name, value in lines]
    text.append(f'"@signature-params": ({names});tag="{tag}"')
    return components, "\n".join(text)


def body_bytes(body):
    """A body is {"utf8"}, {"base64"} or {"repeat", "times"}: a text that is repeated so many times."""
    if "utf8" in body:
        return body["utf8"].encode()
    if "base64" in body:
        return base64.b64decode(body["base64"], validate=True)
    return body["repeat"].encode() * body["times"]


def request_digests():
    json_type = ["content-type", "application/json"]
    role = {"utf8": '{"role":"admin"}'}
    cases = [
        ("no body and no fields", {"method": "GET"}, {"utf8": ""}),
        ("a small body", {"fields": [json_type]}, role),
        ("white space in a body counts", {"fields": [json_type]}, {"utf8": '{"role": "admin"}'}),
        ("an empty query", {"query": ""}, role),
        ("a query", {"query": "a=1&b=%20&a=2"}, role),
        ("a query with a question mark", {"query": "a=?"}, role),
        ("scheme http", {"scheme": "http"}, role),
        ("an authority with a port", {"authority": "iam.example:8443"}, role),
        ("an IPv6 authority", {"authority": "[2001:db8::1]:8443"}, role),
        ("an escaped path", {"path": "/iam/users/m%C3%BCller/roles"}, role),
        ("method DELETE without a body", {"method": "DELETE", "path": "/iam/users/7"}, {"utf8": ""}),
        ("method PATCH", {"method": "PATCH"}, role),
        ("fields are sorted by name", {"fields": [["x-b", "2"], ["x-a", "1"], ["accept", "*/*"]]}, role),
        ("repeats are joined in the order of arrival", {"fields": [["x-a", "2"], ["x-b", "0"], ["x-a", "1"]]}, role),
        ("outer white space is trimmed", {"fields": [["x-a", " \t a  b \t"]]}, role),
        ("an empty value", {"fields": [["x-a", ""], ["x-b", "  "]]}, role),
        ("repeats with an empty value", {"fields": [["x-a", ""], ["x-a", "1"]]}, role),
        (
            "fields that no digest covers",
            {
                "fields": [[name, "wait=5" if name == "prefer" else "x"] for name in sorted(UNBOUND)]
                + [["x-b3-any", "x"], ["x-envoy-any", "x"], ["authorization", "Bearer x.y.z"], json_type]
            },
            role,
        ),
        ("how to be answered is not covered", {"fields": [["prefer", "Respond-Async, wait=10"]]}, role),
        ("another preference is covered", {"fields": [["prefer", "respond-async, resolution=merge-duplicates"]]}, role),
        ("a preference that the rules unbind", {"fields": [["prefer", "return=minimal"]], "unbind": ["prefer"]}, role),
        ("a cookie is covered", {"fields": [["cookie", "a=b"]]}, role),
        ("names near those that are left out", {"fields": [["x-b3", "1"], ["x-envoy", "1"], ["x-forwarded-host", "h"]]}, role),
        ("unbind", {"fields": [["x-trace", "1"], json_type], "unbind": ["x-trace"]}, role),
        ("unbind of what is not there", {"fields": [json_type], "unbind": ["x-trace"]}, role),
        ("another token header", {"fields": [["x-agent-token", "t"], ["authorization", "Basic x"]], "token_header": "x-agent-token"}, role),
        ("a content-digest of the client", {"fields": [["content-digest", "sha-256=:AAAA:"]]}, role),
        ("a value that is not ASCII", {"fields": [["x-name", "Jörg 日本"]]}, role),
        ("quotes and colons in a value", {"fields": [["x-a", '"a": b']]}, role),
        ("a body that is not text", {"fields": [["content-type", "application/octet-stream"]]}, {"base64": "AP+AAQ=="}),
        ("a body with a line break at its end", {}, {"utf8": "a\n"}),
        ("a body of 600 KB", {"fields": [json_type]}, {"repeat": "0123456789abcdef", "times": 37500}),
        ("a body of 1 MiB", {}, {"repeat": "x", "times": 1 << 20}),
    ]
    vectors = []
    for name, head, body in cases:
        vector = {
            "name": name,
            "method": "POST",
            "scheme": "https",
            "authority": "iam.example",
            "path": "/iam/users/7/roles",
            "query": None,
            "fields": [],
            "token_header": "authorization",
            "unbind": [],
            **head,
            "body": body,
        }
        components, base = digest_base(vector, body_bytes(body))
        vectors.append({**vector, "base": base, "components": components, "digest": sha256(base.encode())})
    return vectors


class Number(str):
    """A number as its source spells it."""


def jcs_as_spelled(value):
    """RFC 8785, but numbers keep the spelling of their source."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(jcs_as_spelled, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(jcs_as_spelled(key) + ":" + jcs_as_spelled(value[key]) for key in keys) + "}"
    return json.dumps(value, ensure_ascii=False)


def mcp_content(text):
    """What of a message a client's retry has in common with the first try."""
    message = json.loads(text, parse_int=Number, parse_float=Number)
    message.pop("id", None)
    params = message.get("params")
    if isinstance(params, dict):
        if isinstance(params.get("requestState"), str) and params["requestState"].startswith("hg1."):
            del params["requestState"]
        if isinstance(params.get("_meta"), dict):
            for name in ("progressToken", "traceparent", "tracestate", "baggage"):
                params["_meta"].pop(name, None)
            if not params["_meta"]:
                del params["_meta"]
    return jcs_as_spelled(message)


def mcp_digests():
    call = '{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"pay","arguments":{"amount":%s}%s}}'
    revision = '"io.modelcontextprotocol/protocolVersion":"2026-07-28"'
    cases = [
        ("a call", call % (1, 5, "")),
        ("a retry with another id", call % ('"x-2"', 5, "")),
        ("another amount", call % (1, 50, "")),
        ("another spelling of the amount", call % (1, "5.0", "")),
        ("a progress token", call % (3, 5, ',"_meta":{"progressToken":7}')),
        ("trace context", call % (4, 5, ',"_meta":{"traceparent":"00-1","tracestate":"a=b","baggage":"c=d"}')),
        ("an empty `_meta`", call % (5, 5, ',"_meta":{}')),
        ("what else `_meta` says", call % (6, 5, ',"_meta":{"progressToken":1,%s}' % revision)),
        ("a state of Holdgate", call % (7, 5, ',"requestState":"hg1.any"')),
        ("a state of the upstream", call % (8, 5, ',"requestState":"AEAD blob"')),
        ("a state that is no text", call % (9, 5, ',"requestState":{"hg1.":1}')),
        ("order and spacing", '{ "params" : {"arguments":{"amount":5},"name":"pay"},\n"method":"tools/call","id":10,"jsonrpc":"2.0"}'),
        ("members of those names elsewhere", call % (11, '{"id":1,"progressToken":2,"requestState":"hg1.x","_meta":{}}', "")),
        ("keys in the order of UTF-16", call % (12, '{"\\ue000":1,"\\ud83d\\ude00":2,"ä":3,"a\\u0001":"\\u001f\\n"}', "")),
        ("another method", '{"jsonrpc":"2.0","id":13,"method":"resources/read","params":{"uri":"file:///a"}}'),
        ("a notification", '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}'),
        ("an answer", '{"jsonrpc":"2.0","id":14,"result":{"action":"accept"}}'),
    ]
    vectors = []
    for name, text in cases:
        vector = {
            "name": name,
            "method": "POST",
            "scheme": "https",
            "authority": "tools.example",
            "path": "/mcp",
            "query": None,
            "fields": [["content-type", "application/json"], ["mcp-session-id", "s-1"]],
            "token_header": "authorization",
            "unbind": [],
            "body": {"utf8": text},
        }
        content = mcp_content(text)
        components, base = digest_base(vector, content.encode(), "holdgate-mcp-1")
        vectors.append({**vector, "base": base, "components": components, "digest": sha256(base.encode())})
    return vectors


def agents():
    cases = [
        ("subject only", {"iss": "https://idp.example", "sub": "bot-1", "act": [], "owner": None}),
        ("with an owner", {"iss": "https://idp.example", "sub": "bot-1", "act": [], "owner": "group/iam"}),
        (
            "on behalf of a person",
            {
                "iss": "https://idp.example",
                "sub": "alice",
                "act": [{"iss": "https://idp.example", "sub": "bot-1"}, {"iss": "https://other.example", "sub": "bot-2"}],
                "owner": "bob",
            },
        ),
        ("characters that JSON escapes", {"iss": 'a"\\\u0001\n', "sub": "ä日😀", "act": [], "owner": ""}),
    ]
    return [{"name": name, "agent": agent, "jcs": jcs(agent).decode(), "key": sha256(jcs(agent))} for name, agent in cases]


def inside(inner, outer):
    return inner == outer or inner.startswith(outer + "/")


def union(one, two):
    """The strictest of both; pointers of these vectors have no escapes."""
    factors = {}
    for factor in one["factors"] + two["factors"]:
        factors[factor["role"]] = max(factor["approvals"], factors.get(factor["role"], 0))
    if one["show"] is None or two["show"] is None:
        show = one["show"] if two["show"] is None else two["show"]
    else:
        show = {a for a in one["show"] if any(inside(a, b) for b in two["show"])}
        show = sorted(show | {b for b in two["show"] if any(inside(b, a) for a in one["show"])})
    # Members that say nothing are left out, so that requirements without them have the hash that they always had.
    optional = {}
    escalations = [one.get("escalate"), two.get("escalate")]
    if None not in escalations and escalations[0]["role"] == escalations[1]["role"]:
        optional["escalate"] = max(escalations, key=lambda escalation: escalation["after"])
    codes = sorted(set(one.get("codes", [])) | set(two.get("codes", [])))
    if codes:
        optional["codes"] = codes
    return {
        **optional,
        "factors": [{"role": role, "approvals": factors[role]} for role in sorted(factors)],
        "decide_within": min(one["decide_within"], two["decide_within"]),
        "use_within": min(one["use_within"], two["use_within"]),
        "reason": one["reason"] or two["reason"],
        "show": show,
        "redact": sorted(set(one["redact"]) | set(two["redact"])),
        "unbind": sorted(set(one["unbind"]) & set(two["unbind"])),
    }


def requirement_hash(requirement, rules):
    pairs = [[rule["id"], rule["hash"]] for rule in sorted(rules, key=lambda rule: rule["id"].encode())]
    return sha256(jcs({"requirement": requirement, "rules": pairs}))


def requirements():
    plain = {
        "factors": [{"role": "iam-approver", "approvals": 1}],
        "decide_within": 1800,
        "use_within": 600,
        "reason": False,
        "show": None,
        "redact": [],
        "unbind": [],
    }
    strict = {
        **plain,
        "factors": [{"role": "iam-approver", "approvals": 2}, {"role": "security-lead", "approvals": 1}],
        "decide_within": 3600,
        "use_within": 300,
        "reason": True,
        "show": ["/role", "/user"],
        "redact": ["/user/phone"],
        "unbind": ["x-trace"],
    }
    narrow = {**plain, "show": ["/user/name", "/why"], "redact": ["/why/secret"], "unbind": ["x-other", "x-trace"]}
    half = {**plain, "escalate": {"role": "security-lead", "after": 50}, "codes": ["incident", "ticket"]}
    late = {**strict, "escalate": {"role": "security-lead", "after": 80}, "codes": ["drill", "ticket"]}
    chief = {**plain, "escalate": {"role": "chief", "after": 50}}
    cases = [
        ("one requirement", [plain]),
        ("two requirements", [plain, strict]),
        ("the other way round", [strict, plain]),
        ("shown by both", [strict, narrow]),
        ("three requirements", [plain, strict, narrow]),
        ("an escalation and reason codes", [half]),
        ("the later escalation, and the codes of both", [half, late]),
        ("no escalation where one has none", [half, strict]),
        ("no escalation where the roles differ", [half, chief]),
        ("no escalation comes back", [half, chief, late]),
    ]
    vectors = []
    for name, parts in cases:
        united = parts[0]
        for part in parts[1:]:
            united = union(united, part)
        rules = [{"id": f"rule-{index}", "hash": sha256(f"rule-{index}".encode())} for index in range(len(parts))]
        rules.reverse()
        vectors.append(
            {"name": name, "parts": parts, "rules": rules, "united": united, "hash": requirement_hash(united, rules)}
        )
    return vectors


def rule_hashes():
    cases = [
        {"any": [[{"method": ["GET", "HEAD"]}, {"path": "/iam/**"}]]},
        {"any": [[{"body": {"pointer": "/role", "test": {"in": {"strings": ["admin", "owner"]}}}}]]},
        {"any": [[{"claim": {"name": "risk", "test": {"gt": "0.70"}}}], [{"agent_exists": False}]]},
    ]
    return [{"conditions": case, "jcs": jcs(case).decode(), "hash": sha256(jcs(case))} for case in cases]


# Ed25519 (RFC 8032 section 5.1), written for clarity; for vectors only, as it takes no care of timing.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P


def recover_x(y, odd):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x % 2 != odd else x


BASE = (recover_x(BASE_Y, 0), BASE_Y)


def add(one, two):
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, P - 2, P) % P
    return x, (y1 * y2 + x1 * x2) * pow(1 - product, P - 2, P) % P


def multiply(number, point):
    result = (0, 1)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def encode_point(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def little(data):
    return int.from_bytes(data, "little")


def sign_ed25519(seed, message):
    """The public key and the signature."""
    expanded = hashlib.sha512(seed).digest()
    secret = (little(expanded[:32]) & (1 << 254) - 8) | 1 << 254
    public = encode_point(multiply(secret, BASE))
    nonce = little(hashlib.sha512(expanded[32:] + message).digest()) % L
    commitment = encode_point(multiply(nonce, BASE))
    challenge = little(hashlib.sha512(commitment + public + message).digest()) % L
    return public, commitment + ((nonce + challenge * secret) % L).to_bytes(32, "little")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signatures():
    grant = {
        "iss": "holdgate-approval",
        "aud": "edge",
        "sub": "group/iam",
        "act": {"iss": "https://idp.example", "sub": "bot-1"},
        "txn": "hold-1",
        "jti": "grant-1",
        "iat": 1790000000,
        "nbf": 1790000000,
        "exp": 1790000060,
        "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
        "req": {"c": ["@method", "@scheme", "@authority", "@path", "content-digest"], "h": sha256(b"request")},
        "policy": {"id": "p", "rev": sha256(b"bundle"), "requirement": sha256(b"requirement")},
        "rules": [{"id": "r", "hash": sha256(b"rule")}],
    }
    cases = [
        ("a grant", bytes(range(32)), "approval-grant+jwt", jcs(grant)),
        ("a bundle", b"\x07" * 32, "holdgate-bundle+jws", jcs({"format": 1, "id": "p"})),
        ("no bytes", b"\xff" * 32, "holdgate-bundle+jws", b""),
    ]
    vectors = []
    for name, seed, kind, payload in cases:
        public, _ = sign_ed25519(seed, b"")
        thumbprint = hashlib.sha256(jcs({"crv": "Ed25519", "kty": "OKP", "x": b64url(public)})).digest()
        kid = b64url(thumbprint)[:16]
        header = b64url(jcs({"alg": "EdDSA", "kid": kid, "typ": kind}))
        _, signature = sign_ed25519(seed, f"{header}.{b64url(payload)}".encode())
        vectors.append(
            {
                "name": name,
                "seed": b64url(seed),
                "kid": kid,
                "x": b64url(public),
                "typ": kind,
                "payload": payload.decode(),
                "compact": f"{header}.{b64url(payload)}.{b64url(signature)}",
                "detached": f"{header}..{b64url(signature)}",
            }
        )
    return vectors


def main():
    files = {
        "request-digest.json": request_digests(),
        "mcp-digest.json": mcp_digests(),
        "agent-key.json": agents(),
        "requirement.json": requirements(),
        "rule-hash.json": rule_hashes(),
        "signature.json": signatures(),
    }
    wrong = []
    for name, vectors in files.items():
        text = json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"
        path = HERE / name
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(name)
    if wrong:
        sys.exit(f"not what make.py writes: {', '.join(wrong)}; run it without --check and look at the difference")


if __name__ == "__main__":
    main()
