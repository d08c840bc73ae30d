"""RFC 7662 introspection, as a resource server calls it."""

import urllib.parse

import net


def introspect(port, headers, **form):
    body = urllib.parse.urlencode(form).encode()
    headers = [*headers, ("Content-Type", "application/x-www-form-urlencoded")]
    return net.send(port, "POST", "/v1/introspect", headers, body)


def test(port, acme, globex, invalid, subjects, check):
    caller = [("Authorization", f"Bearer {acme.api_key}")]
    for subject in ("user-123", *subjects):
        reply = introspect(port, caller, token=acme.users.token(subject), client_id=acme.client)
        ok = reply.status == 200 and reply.json()["active"] is True and reply.json()["sub"] == subject
        check(ok, f"introspection: subject {subject!r:.30}", reply)
    for name, headers in invalid:
        token = headers[0][1].removeprefix("Bearer ") if len(headers) == 1 else ""
        if token:
            reply = introspect(port, caller, token=token, client_id=acme.client)
            inactive = reply.status == 200 and reply.json() == {"active": False}
            check(inactive, f"introspection: {name}", reply)
    for name, credential in (("an API key", globex.api_key), ("a session", globex.session)):
        other = [("Authorization", f"Bearer {credential}")]
        reply = introspect(port, other, token=acme.users.token(), client_id=acme.client)
        inactive = reply.status == 401 or reply.json() == {"active": False}
        check(inactive, f"introspection by {name} of another organization", reply)
    for name, headers in (("no caller", []), ("a user's token", [("Authorization", f"Bearer {acme.users.token()}")])):
        reply = introspect(port, headers, token=acme.users.token(), client_id=acme.client)
        check(reply.status == 401, f"introspection by {name}", reply)


def test_outage(port, acme, check):
    """An operator that is not ready never reports a result."""
    reply = introspect(port, [("Authorization", f"Bearer {acme.api_key}")], token=acme.users.token(), client_id=acme.client)
    check(reply.status == 503 and b"active" not in reply.body, "introspection: not ready", reply)
