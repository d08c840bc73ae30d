"""A backend for end users: asks the validator of anon-operator about each request."""

import logging
import os
from pathlib import Path

import requests
from flask import Flask, abort, jsonify, request

API_URL = os.environ["ANON_API_URL"]
VALIDATOR_URL = os.environ["ANON_VALIDATOR_URL"]
# The webapp client that the users come through.
CLIENT_ID = os.environ["ANON_CLIENT_ID"]
API_KEY_FILE = Path(os.environ["ANON_API_KEY_FILE"])
# The only origin whose pages may read the responses.
WEBAPP_ORIGIN = os.environ["WEBAPP_ORIGIN"]
TIMEOUT = 5  # seconds

app = Flask(__name__)
session = requests.Session()
# Otherwise, an entry in ~/.netrc would replace the Authorization header.
session.trust_env = False


@app.get("/healthz")
def healthz():
    return "ok\n"


@app.get("/me")
def me():
    app_user_id, _ = authenticate()
    return jsonify(appUserId=app_user_id)


@app.post("/link")
def link():
    """Creates the URL at which the user connects a calendar."""
    _, token = authenticate()
    query = {
        "app": "calendar",
        "clientId": CLIENT_ID,
        "redirectUrl": f"{WEBAPP_ORIGIN}/linked",
        "appUserIdToken": token,
    }
    # Reads the file each time: the kubelet replaces it when the operator rotates the key.
    api_key = API_KEY_FILE.read_text().strip()
    reply = ask("GET", f"{API_URL}/link/url", params=query, headers={"Authorization": f"Bearer {api_key}"})
    if reply.status_code == 200:
        return jsonify(url=reply.json()["url"])
    if reply.status_code == 400 and reply.json().get("field") == "appUserIdToken":
        abort(401)
    # This includes a rejected API key, which is not the fault of the user.
    app.logger.error("no Link URL: the API responded with status %d", reply.status_code)
    abort(503)


def authenticate():
    """Returns the id and the token of the user, or ends the request with 401 or 503."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        abort(401)
    headers = {"Authorization": f"Bearer {token}", "X-Anon-Sdk-Client-Id": CLIENT_ID}
    reply = ask("POST", f"{VALIDATOR_URL}/v1/validate", headers=headers)
    if reply.status_code == 401:
        abort(401)
    if reply.status_code != 200:
        app.logger.error("the validator responded with status %d", reply.status_code)
        abort(503)
    user = reply.json()
    # The validator also knows API keys and session tokens, which are not end users.
    if user["principal"] != "appUser":
        abort(401)
    return user["appUserId"], token


def ask(method, url, **arguments):
    try:
        return session.request(method, url, timeout=TIMEOUT, allow_redirects=False, **arguments)
    except requests.RequestException as error:
        # Not the message, which contains the query of the URL.
        app.logger.error("the operator is unreachable: %s", type(error).__name__)
        abort(503)


@app.errorhandler(401)
def unauthorized(_):
    return jsonify(error="unauthorized"), 401, {"WWW-Authenticate": 'Bearer realm="backend"'}


# Fail closed: without an answer, and after any other error, the user is not let in.
@app.errorhandler(503)
@app.errorhandler(Exception)
def unavailable(error):
    if getattr(error, "code", None) in (404, 405):
        return jsonify(error=error.name), error.code
    if getattr(error, "code", None) != 503:
        app.logger.error("unexpected %s", type(error).__name__)
    return jsonify(error="unavailable"), 503, {"Retry-After": "1"}


@app.after_request
def add_headers(response):
    response.headers["Access-Control-Allow-Origin"] = WEBAPP_ORIGIN
    response.headers["Access-Control-Allow-Headers"] = "Authorization"
    response.headers["Cache-Control"] = "no-store"
    return response


logging.basicConfig(level=logging.INFO)
