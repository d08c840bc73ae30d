"""The matrix: integration x credential x organization x outcome.

Every proxy runs with its unchanged configuration of examples/integrations, in front of a backend
that records what it receives.
"""

import base64
import concurrent.futures
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.parse

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

import apiserver
import introspection
import net
from proxies import all_proxies
from world import REVOKED_TOKEN, REVOKED_USER, Operator, Organization, derived_id, unreachable_kubeconfig

IDENTITY = ("Principal-Type", "Organization-Id", "User-Pool-Id", "Sdk-Client-Id", "App-User-Id", "Member-Id", "Role")
DENIED = (401, 403)
# What a caller gets while the operator gives no answer: never the backend's response.
UNAVAILABLE = (500, 502, 503, 504)
# They end up in headers and, at kube-apiserver, in a username.
SUBJECTS = (
    "system:masters", "system:serviceaccount:kube-system:admin", "a\nb", "a\r\nX-Anon-Role: Admin", "a b", " a ",
    "100%", "%0a", "a,b", "jörg", "用户", "\u202e\U0001f600", "x" * 255, "ü" * 255, "\x00", "\x7f",
)
_start = time.monotonic()
_counter = itertools.count()
_failures = []
_checks = itertools.count()


def check(ok, name, *details):
    next(_checks)
    if not ok:
        _failures.append(f"{name}: {' '.join(map(str, details))}")
        print("FAILED", _failures[-1], flush=True)


def bearer(credential):
    return [("Authorization", f"Bearer {credential}")]


def encoded(value):
    """As the operator writes a value into a header: visible ASCII, the rest percent-encoded."""
    safe = "".join(chr(byte) for byte in range(0x21, 0x7F) if chr(byte) != "%")
    return urllib.parse.quote(value.encode(), safe=safe)


def normalized(name):
    """As CGI, WSGI and many frameworks read the name of a header."""
    return name.lower().replace("_", "-").replace(".", "-")


def identity_of(headers):
    """The identity headers of a request, whatever their spelling; a value for each occurrence."""
    names = {f"x-anon-{name.lower()}" for name in IDENTITY}
    found = {}
    for name, value in headers:
        if normalized(name) in names:
            found.setdefault(normalized(name), []).append(value)
    return found


def expected_identity(**values):
    """All seven headers; those without a value are empty or missing."""
    return {f"x-anon-{name.lower()}": values.get(name.replace("-", "_").lower(), "") for name in IDENTITY}


def of_user(organization, subject):
    return expected_identity(
        principal_type="appUser", organization_id=organization.id, user_pool_id=organization.pool,
        sdk_client_id=organization.client, app_user_id=encoded(subject),
    )


def sees(received, identity):
    """Whether the backend got each header once with this value; an empty one may be missing."""
    found = identity_of(received)
    return all(found.get(name, [""] if not value else []) == [value] for name, value in identity.items())


class Caller:
    """Sends requests through one proxy, and compares the outcome."""

    def __init__(self, proxy, backend):
        self.proxy = proxy
        self.backend = backend

    def path(self):
        return f"/{self.proxy.name}/{next(_counter)}"

    def allowed(self, name, headers, identity, method="GET", body=None, chunked=False, path=None):
        path = path or self.path()
        reply = net.send(self.proxy.port, method, path, headers, body, chunked)
        received = self.backend.received(path)
        name = f"{self.proxy.name}: {name}"
        check(reply.status == 200 and len(received) == 1, name, reply, received)
        for got_method, got_headers, got_body in received:
            check(sees(got_headers, identity), name, "the backend sees", got_headers)
            check((got_method, got_body) == (method, body or b""), name, got_method, len(got_body))

    def rejected(self, name, headers, statuses, method="GET", body=None, path=None):
        path = path or self.path()
        reply = net.send(self.proxy.port, method, path, headers, body)
        received = self.backend.received(path)
        name = f"{self.proxy.name}: {name}"
        check(reply.status in statuses and not received, name, reply, received)
        return reply


def invalid_credentials(acme, globex):
    """Every credential that the example's client must not accept, as (name, headers)."""
    valid, now = acme.users.token(), int(time.time())
    other_key = ec.generate_private_key(ec.SECP256R1())
    head, _, signature = valid.split(".")
    admin = base64.urlsafe_b64encode(json.dumps({"sub": "admin", "aud": "shop", "exp": now + 60}).encode()).decode().rstrip("=")
    return [
        ("no credential", []),
        ("an empty credential", [("Authorization", "Bearer ")]),
        ("a malformed credential", bearer("junk")),
        ("another scheme", [("Authorization", "Basic YTpi")]),
        ("signed with another key", bearer(acme.users.token(key=other_key))),
        ("other claims under a valid signature", bearer(f"{head}.{admin}.{signature}")),
        ("unsigned", bearer(jwt.encode({"sub": "a", "aud": "shop", "exp": now + 60}, None, "none"))),
        ("expired", bearer(acme.users.token(iat=now - 7200, exp=now - 3600))),
        ("not valid yet", bearer(acme.users.token(nbf=now + 3600))),
        ("another audience", bearer(acme.users.token(aud="other"))),
        ("another issuer", bearer(acme.users.token(iss="https://evil.example"))),
        ("a revoked user", bearer(acme.users.token(REVOKED_USER))),
        ("a revoked token", bearer(acme.users.token(jti=REVOKED_TOKEN))),
        ("no subject", bearer(acme.users.token(""))),
        ("another pool's token", bearer(acme.staff.token())),
        ("another organization's token", bearer(globex.users.token())),
        ("another organization's API key", bearer(globex.api_key)),
        ("another organization's session", bearer(globex.session)),
        ("two valid credentials", bearer(valid) + bearer(acme.users.token("user-2"))),
        ("a valid and an invalid credential", bearer(valid) + bearer("junk")),
        ("an invalid and a valid credential", bearer("junk") + bearer(valid)),
    ]


def look_alikes(spell):
    """Identity headers of an attacker; `spell` changes the names."""
    values = ("apiKey", "evil", "evil", "evil", "admin", "evil", "Admin")
    return [(spell(f"X-Anon-{name}"), value) for name, value in zip(IDENTITY, values)]


SPELLINGS = {
    "hyphens": lambda name: name,
    "lower case": str.lower,
    "upper case": str.upper,
    "underscores": lambda name: name.replace("-", "_"),
    "lower case with underscores": lambda name: name.replace("-", "_").lower(),
    "a hyphen, then underscores": lambda name: name.replace("-", "_").replace("_", "-", 1),
    "an underscore, then hyphens": lambda name: name.replace("-", "_", 1),
    "dots": lambda name: name.replace("-", "."),
    "mixed": lambda name: "_".join(name.rsplit("-", 1)),
}


def test_credentials(caller, acme, globex):
    user = of_user(acme, "user-123")
    caller.allowed("a valid token", bearer(acme.users.token()), user)
    caller.allowed("a lower-case scheme", [("authorization", "bearer " + acme.users.token())], user)
    for name, headers in invalid_credentials(acme, globex):
        # nginx itself rejects a repeated header that may occur once.
        statuses = DENIED if len(headers) < 2 else (*DENIED, 400)
        reply = caller.rejected(name, headers, statuses)
        if reply.status == 401:
            challenge = [value for header, value in reply.headers if header.lower() == "www-authenticate"]
            check(challenge, f"{caller.proxy.name}: {name}", "no challenge", reply)
        forged = look_alikes(SPELLINGS["hyphens"]) + look_alikes(SPELLINGS["underscores"])
        caller.rejected(f"{name}, with identity headers", headers + forged, statuses)
    # The own organization's other credentials are accepted only with --gateway-accepts.
    caller.rejected("an API key", bearer(acme.api_key), DENIED)
    caller.rejected("a session", bearer(acme.session), DENIED)


def test_other_credentials(caller, acme, globex):
    """With --gateway-accepts for API keys and sessions."""
    key = expected_identity(
        principal_type="apiKey", organization_id=acme.id, role="Member",
        sdk_client_id=derived_id(acme.namespace, "SdkClient", "backend"),
    )
    member = expected_identity(
        principal_type="member", organization_id=acme.id, role="Admin",
        member_id=derived_id(acme.namespace, "Member", "admin"),
    )
    forged = look_alikes(SPELLINGS["hyphens"]) + look_alikes(SPELLINGS["underscores"])
    caller.allowed("an API key", bearer(acme.api_key) + forged, key)
    caller.allowed("a session", bearer(acme.session) + forged, member)
    caller.allowed("a valid token", bearer(acme.users.token()), of_user(acme, "user-123"))
    caller.rejected("another organization's API key", bearer(globex.api_key), DENIED)
    caller.rejected("another organization's session", bearer(globex.session), DENIED)
    caller.rejected("another organization's token", bearer(globex.users.token()), DENIED)


def test_headers(caller, acme, globex):
    token, user = acme.users.token(), of_user(acme, "user-123")
    for name, spell in SPELLINGS.items():
        forged = look_alikes(spell)
        caller.allowed(f"identity headers with {name}", bearer(token) + forged, user)
        caller.allowed(f"identity headers with {name}, twice", forged + bearer(token) + forged, user)
    # Nothing of the request selects another client.
    other = globex.client
    hints = [
        ("X-Original-URI", f"/v1/auth/client/{other}"), ("X-Forwarded-Uri", f"/v1/auth/client/{other}"),
        ("X-Original-URL", f"/v1/auth/client/{other}"), ("X-Rewrite-URL", f"/v1/auth/client/{other}"),
        ("X-Anon-Sdk-Client-Id", other), ("X-HTTP-Method-Override", "DELETE"), ("X-Forwarded-Host", "globex.example"),
    ]
    stranger = bearer(globex.users.token())
    caller.allowed("hints at another client", bearer(token) + hints, user)
    caller.rejected("hints at another client", stranger + hints, DENIED)
    for path in (
        f"/v1/auth/client/{other}", f"/-/../../{other}", f"/..%2f..%2f{other}", f"//{other}/-/", f"/?clientId={other}",
        f"/%2e%2e/%2e%2e/{other}", f"/a;/../{other}",
    ):
        reply = net.send(caller.proxy.port, "GET", path, stranger)
        check(reply.status in (*DENIED, 400) or 300 <= reply.status < 400, f"{caller.proxy.name}: {path}", reply)
    # A caller may not remove its own identity: proxies drop the headers that Connection lists.
    for listed in ("X-Anon-App-User-Id", "x-anon-principal-type, X-Anon-Role", "Authorization"):
        path = caller.path()
        headers = bearer(token) + [("Connection", f"close, {listed}")] + look_alikes(SPELLINGS["hyphens"])
        reply = net.send(caller.proxy.port, "GET", path, headers)
        received = caller.backend.received(path)
        name = f"{caller.proxy.name}: Connection: {listed}"
        check(reply.status in (200, 400, *DENIED) and len(received) == (reply.status == 200), name, reply, received)
        for _, got, _ in received:
            check(sees(got, user), name, "the backend sees", got)
    for subject in SUBJECTS:
        caller.allowed(f"subject {subject!r:.30}", bearer(acme.users.token(subject)), of_user(acme, subject))


def test_requests(caller, acme, globex):
    token, user, stranger = acme.users.token(), of_user(acme, "user-123"), bearer(globex.users.token())
    large = bytes(range(256)) * 800
    for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"):
        caller.allowed(method, bearer(token), user, method)
        caller.rejected(method, stranger, DENIED, method)
    for method in ("POST", "PUT", "PATCH"):
        caller.allowed(f"{method} with a body", bearer(token), user, method, large)
        caller.allowed(f"{method} with an empty body", bearer(token), user, method, b"")
        caller.rejected(f"{method} with a body", stranger, DENIED, method, large)
    caller.allowed("a chunked body", bearer(token), user, "POST", large, chunked=True)
    padded = acme.users.token(padding="x" * 11_400)
    check(15_000 < len(padded) < 16_000, "the large token", len(padded))
    caller.allowed("a token of almost 16 KiB", bearer(padded), user)
    caller.allowed("a large header", bearer(token) + [("X-Large", "x" * 8000)], user)
    too_large = bearer(acme.users.token(padding="x" * 13_000))
    caller.rejected("a token of more than 16 KiB", too_large, (*DENIED, 400, 413, 414, 431, *UNAVAILABLE))
    # More than the operator reads: never an outage of the proxy, and the backend is not reached
    # unless the operator has accepted the request.
    path = caller.path()
    reply = net.send(caller.proxy.port, "GET", path, stranger + [(f"X-{i}", "x" * 7000) for i in range(6)])
    check(reply.status >= 400 and not caller.backend.received(path), f"{caller.proxy.name}: 42 KB of headers", reply)
    caller.allowed("afterwards", bearer(token), user)


def test_outage(caller, acme, fault):
    cases = [("a valid token", bearer(acme.users.token())), ("no credential", [])]
    # Traefik waits for 30 s.
    for name, headers in cases[:1] if fault == "hang" else cases:
        accepted = (*UNAVAILABLE, fault) if isinstance(fault, int) else UNAVAILABLE
        caller.rejected(f"{fault}, {name}", headers, accepted)


def in_parallel(function, callers, *arguments):
    with concurrent.futures.ThreadPoolExecutor(len(callers)) as pool:
        for future in [pool.submit(function, caller, *arguments) for caller in callers]:
            future.result()


def step(text):
    print(f"== {text} (after {time.monotonic() - _start:.0f} s)", flush=True)


def main():
    only = sys.argv[1:]
    proxies = [proxy for proxy in all_proxies() if not only or proxy.name in only]
    scratch = tempfile.mkdtemp(prefix="anon-integrations-")
    os.chmod(scratch, 0o755)
    address, backend, started = net.OperatorAddress(), net.Backend(), list(proxies)
    callers = [Caller(proxy, backend) for proxy in proxies]
    try:
        step("organizations and operators")
        for proxy in proxies:
            proxy.start(scratch)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            acme, globex = pool.map(Organization, ("acme", "globex"))
        operator = Operator(scratch, "default", f"--token-review-client={acme.client}")
        started.append(operator)
        operator.wait_until_ready()
        address.set_target(operator.port)
        api_server = apiserver.ApiServer(scratch)
        started.append(api_server)
        for proxy in proxies:
            proxy.wait()

        step(f"credentials, headers and requests: {', '.join(proxy.name for proxy in proxies)}")
        for test in (test_credentials, test_headers, test_requests):
            in_parallel(test, callers, acme, globex)
        step("kube-apiserver and introspection")
        introspection.test(operator.port, acme, globex, invalid_credentials(acme, globex), SUBJECTS, check)
        apiserver.test(api_server, acme, globex, invalid_credentials(acme, globex), SUBJECTS, check)

        step("the operator stops")
        operator.stop()
        in_parallel(test_outage, callers, acme, "stopped")
        apiserver.test_outage(api_server, acme, check)
        for fault in ("refuse", "close", "hang", 500, 503, 404, 302):
            address.set_fault(fault)
            in_parallel(test_outage, callers, acme, fault)

        step("an operator that is not ready")
        unready = Operator(scratch, "unready", kubeconfig=unreachable_kubeconfig(scratch))
        started.append(unready)
        net.wait_for_port(unready.port, unready.process)
        address.set_target(unready.port)
        in_parallel(test_outage, callers, acme, "not ready")
        introspection.test_outage(unready.port, acme, check)
        check(not unready.is_ready(), "the operator without API server", "is ready")
        unready.stop()

        step("an operator with --gateway-accepts")
        accepting = Operator(scratch, "accepting", "--gateway-accepts=appUserIdToken,apiKey,sessionToken")
        started.append(accepting)
        accepting.wait_until_ready()
        address.set_target(accepting.port)
        in_parallel(test_other_credentials, callers, acme, globex)
    finally:
        for process in started:
            process.stop()
    if _failures:
        for proxy in proxies:
            print(f"--- log of {proxy.name}:\n{proxy.log.read_text()[-3000:]}")
        sys.exit(f"{len(_failures)} of {next(_checks)} checks failed; logs: {scratch}")
    shutil.rmtree(scratch)
    step(f"done: {next(_checks)} checks passed")


main()
