"""Starts every example, calls the five backends, and clicks through the page in Chromium."""

import concurrent.futures
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.parse

import net
from browser import Browser
from world import (
    BACKENDS, IDP, LOCAL, NAMESPACE, WEBAPP, Mount, Processes, apply, custom_resource, eventually, kubectl, send, status_of,
    wait_until_ready,
)

API_URL = os.environ["ANON_API_URL"]
# The address of the operator that the examples are given, so that its failures can be simulated.
OPERATOR = f"http://{net.HOST}:{net.OPERATOR_PORT}"
_start = time.monotonic()


def step(text):
    print(f"== {text} (after {time.monotonic() - _start:.0f} s)", flush=True)


def check(condition, *details):
    assert condition, " ".join(map(str, details))


def for_each_backend(function, *arguments):
    """Calls the function for all five at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(BACKENDS)) as pool:
        for future in [pool.submit(function, name, url, *arguments) for name, url in BACKENDS.items()]:
            future.result()


def issue(api_key, user, client):
    reply = send("POST", f"{API_URL}/org/appUserIdToken", api_key, body={"appUserId": user, "sdkClientId": client})
    check(reply.status == 200, reply)
    return reply.json()["appUserIdToken"]


def answer(method, url, bearer):
    """The response, after as many retries as it takes a JOSE library to fetch the key set again."""
    return eventually(lambda: (reply := send(method, url, bearer)).status != 503 and reply)


def accepted(name, reply, user):
    check(reply.status == 200 and reply.json() == {"appUserId": user}, name, reply)
    check(reply.headers["Cache-Control"] == "no-store", name, reply.headers)


def unauthorized(name, reply):
    check(reply.status == 401 and "appUserId" not in reply.json(), name, reply)
    check(reply.headers["WWW-Authenticate"] == 'Bearer realm="backend"', name, reply.headers)
    # Otherwise, the page could not read the status.
    check(reply.headers["Access-Control-Allow-Origin"] == WEBAPP, name, reply.headers)


def unavailable(name, reply):
    check(reply.status == 503 and reply.headers["Retry-After"] == "1", name, reply)
    check(reply.headers["Access-Control-Allow-Origin"] == WEBAPP, name, reply.headers)


def fails_closed_before_the_first_answer(name, url, token):
    unavailable(name, send("GET", f"{url}/me", token))
    unavailable(name, send("POST", f"{url}/link", token))
    unauthorized(name, send("GET", f"{url}/me"))


def accepts_a_user(name, url, token):
    accepted(name, answer("GET", f"{url}/me", token), "user-1")
    accepted(name, send("GET", f"{url}/me", headers={"Authorization": f"bearer {token}"}), "user-1")
    link = send("POST", f"{url}/link", token)
    check(link.status == 200, name, link)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(link.json()["url"]).query)
    check(query["appUserId"] == ["user-1"] and query["redirectUrl"] == [f"{WEBAPP}/linked"], name, query)


def rejects_invalid_credentials(name, url, token, foreign):
    head, claims, signature = token.split(".")
    credentials = {
        "malformed": "junk",
        "unsigned": f"{head}.{claims}.",
        "other claims under a valid signature": f"{head}.{foreign['token of another pool'].split('.')[1]}.{signature}",
    } | foreign
    for credential, value in credentials.items():
        unauthorized(f"{name}: {credential}", answer("GET", f"{url}/me", value))
        unauthorized(f"{name}: {credential}", answer("POST", f"{url}/link", value))
    for header in ("", "Bearer", "Bearer ", f"Basic {token}", token):
        unauthorized(f"{name}: {header[:8]!r}", send("GET", f"{url}/me", headers={"Authorization": header}))


def answers_other_requests(name, url, token):
    check(send("GET", f"{url}/other", token).status == 404, name)
    check(send("GET", f"{url}/healthz").status == 200, name)
    for origin in (WEBAPP, "https://evil.example", "null"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        reply = send("OPTIONS", f"{url}/me", headers=headers)
        check(reply.status in (200, 204), name, reply)
        check(reply.headers["Access-Control-Allow-Headers"].lower() == "authorization", name, reply.headers)
        check(reply.headers.get("Access-Control-Allow-Origin") == WEBAPP, name, origin, reply.headers)


def fails_closed_during_an_outage(name, url, token):
    reply = send("GET", f"{url}/me", token)
    if name in LOCAL:
        accepted(name, reply, "user-1")
    else:
        unavailable(name, reply)
    unavailable(name, send("POST", f"{url}/link", token))


def rejects_an_invalid_api_key(name, url, token):
    accepted(name, send("GET", f"{url}/me", token), "user-1")
    unavailable(name, send("POST", f"{url}/link", token))


def test_backends(address, port, mount, client, api_key):
    token = issue(api_key, "user-1", client)
    others = custom_resource("SdkClient", "others", webapp={"userPoolRef": {"name": "others"}})
    apply(custom_resource("UserPool", "others", hosted={}), others)
    foreign = {
        "token of another pool": issue(api_key, "user-1", status_of("sdkclient", "others")["clientId"]),
        "API key": api_key,
    }
    step("five backends that cannot reach the operator")
    for_each_backend(fails_closed_before_the_first_answer, token)
    step("five backends that can")
    address.set_target(port)
    for_each_backend(accepts_a_user, token)
    for_each_backend(rejects_invalid_credentials, token, foreign)
    for_each_backend(answers_other_requests, token)
    step("five backends during an outage")
    for fault in ("refuse", "close", 500, 302, 403, 404, "hang"):
        address.set_fault(fault)
        for_each_backend(fails_closed_during_an_outage, token)
    address.set_target(port)
    step("five backends with an invalid API key, and with the next one")
    mount.write("ory_apikey_invalid")
    for_each_backend(rejects_an_invalid_api_key, token)
    mount.write("")
    for_each_backend(rejects_an_invalid_api_key, token)
    mount.update()
    for_each_backend(accepts_a_user, token)


def test_deployments(processes):
    """The API server accepts them, also where Pods must be restricted."""
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    for name in (*(f"backend-{name}" for name in BACKENDS), "webapp"):
        deployment = processes.deployment(name)
        template = deployment["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": template["spec"]}
        for tested in (deployment, pod):
            kubectl("create", "--dry-run=server", "--filename=-", manifest=json.dumps(tested))


def rotate_api_keys(mounts):
    """Rotates the API keys of both services, and revokes the previous ones."""
    for mount in mounts:
        client, old = mount.secret.removesuffix("-anon"), mount.file.read_text()
        kubectl("annotate", "sdkclient", client, f"anon.dev/rotate={time.time()}", "--overwrite")
        eventually(lambda: mount.update() != old)
        old_id = hashlib.sha256(old.encode()).hexdigest()[:16]
        apply(custom_resource("Revocation", f"{client}-key", sdkClient={"name": client, "keyIds": [old_id]}, reason="test"))
        mount.update()
        check(send("GET", f"{API_URL}/org/me", old).status == 401, "the previous key of", client, "is valid")


def shown_to(browser, user):
    """The page shows this user and a link, for each backend."""
    browser.wait_for_status("Signed in")
    for text, link in browser.backends():
        check(f" {user} " in text and f"appUserId={user}&" in (link or ""), "the page shows", text, link)


def test_page(browser, mounts, client):
    step("signing in with the identity provider")
    browser.open()
    browser.wait_for_status("Signed out")
    eventually(lambda: browser.text("name") == "The shop")
    browser.sign_in("ada")
    shown_to(browser, "user-ada")
    token = issue(mounts[0].file.read_text(), "user-ada", client)

    step("a second origin")
    for url in BACKENDS.values():
        check(browser.fetch(f"{url}/me", token) == 200, url)
    browser.open(WEBAPP.replace("127.0.0.1", "localhost"))
    browser.wait_for_status("Signed out")
    eventually(lambda: browser.text("name") == "This origin is not allowed")
    for url in BACKENDS.values():
        check("Failed to fetch" in str(browser.fetch(f"{url}/me", token)), url)

    step("a rotation of the API keys")
    browser.open()
    shown_to(browser, "user-ada")
    rotate_api_keys(mounts)
    browser.click("Ask the backends again")
    shown_to(browser, "user-ada")
    browser.open()
    shown_to(browser, "user-ada")

    step("the next signing key is published")
    before = {key["kid"] for key in status_of("userpool", "customers")["keys"]}
    kubectl("annotate", "userpool", "customers", f"anon.dev/rotate={time.time()}", "--overwrite")
    eventually(lambda: len(status_of("userpool", "customers")["keys"]) == 2)
    browser.click("Ask the backends again")
    shown_to(browser, "user-ada")

    step("the signing keys are revoked and replaced")
    time.sleep(1)  # the Revocation specifies a whole second
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    apply(custom_resource("Revocation", "keys", userPool={"name": "customers", "keysCreatedBefore": now}, reason="test"))
    eventually(lambda: not before & {key["kid"] for key in status_of("userpool", "customers")["keys"] if key["state"] == "Active"})
    check(send("GET", f"{BACKENDS['go']}/me", token).status == 401, "the token of a revoked key is valid")
    browser.click("Ask the backends again")
    shown_to(browser, "user-ada")

    step("a revoked user")
    token = issue(mounts[0].file.read_text(), "user-ada", client)
    for_each_backend(lambda name, url: accepted(name, answer("GET", f"{url}/me", token), "user-ada"))
    apply(custom_resource("Revocation", "ada", userPool={"name": "customers", "subjects": ["user-ada"]}, reason="test"))
    for_each_backend(turns_away, token)
    browser.click("Ask the backends again")
    browser.wait_for_status("Your access was revoked")
    browser.open()
    browser.wait_for_status("Your access was revoked")
    check(not browser.driver.execute_script("return document.querySelector('#backends li')"), "the page shows backends")


def turns_away(name, url, token):
    reply = send("GET", f"{url}/me", token)
    if name in LOCAL:
        # As its README warns: it learns nothing of revoked users. The operator does.
        accepted(name, reply, "user-ada")
    else:
        unauthorized(name, reply)
    unauthorized(name, send("POST", f"{url}/link", token))


def main():
    scratch = tempfile.mkdtemp(prefix="anon-examples-")
    examples, built = sys.argv[1:]
    processes, browser = Processes(examples, built, scratch), None
    address, port = net.OperatorAddress(), urllib.parse.urlsplit(API_URL).port
    try:
        step("the organization, seven processes and Chromium")
        kubectl("apply", f"--filename={examples}/webapp/organization.yaml")
        wait_until_ready()
        client, pool = status_of("sdkclient", "web")["clientId"], status_of("userpool", "customers")["id"]
        mounts = [Mount(scratch, "webapp-anon"), Mount(scratch, "backend-anon")]
        settings = {
            "ANON_API_URL": OPERATOR, "ANON_VALIDATOR_URL": OPERATOR, "WEBAPP_ORIGIN": WEBAPP,
            "ANON_ISSUER": f"{API_URL}/userPools/{pool}", "ANON_JWKS_URL": f"{OPERATOR}/userPools/{pool}/.well-known/jwks.json",
        }
        for url in (*BACKENDS.values(), IDP, WEBAPP):
            # Fails if an earlier process is still there, which would be tested instead.
            socket.create_server((net.HOST, int(url.rsplit(":", 1)[1]))).close()
        for name, url in BACKENDS.items():
            mounted = {"PORT": url.rsplit(":", 1)[1], "ANON_API_KEY_FILE": str(mounts[1].file)}
            processes.start(f"backend-{name}", **settings, **mounted)
        processes.start("idp")
        page = {"PORT": WEBAPP.rsplit(":", 1)[1], "ANON_API_KEY_FILE": str(mounts[0].file), "ANON_PUBLIC_URL": OPERATOR}
        processes.start("webapp", **settings, **page, IDP_URL=IDP, BACKEND_URLS=",".join(BACKENDS.values()))
        browser = Browser(scratch)
        for url, process in zip((*BACKENDS.values(), IDP, WEBAPP), processes.running):
            net.wait_for_port(int(url.rsplit(":", 1)[1]), process)

        test_deployments(processes)
        test_backends(address, port, mounts[1], client, mounts[0].file.read_text())
        test_page(browser, mounts, client)
        check(all(process.poll() is None for process in processes.running), "an example exited")
        step("done")
    except BaseException:
        if browser:
            browser.driver.save_screenshot(f"{scratch}/failure.png")
            print(f"the page: {scratch}/failure.png", flush=True)
        processes.show_logs()
        raise
    finally:
        if browser:
            browser.quit()
        processes.stop()
    # After a failure, logs and picture remain.
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
