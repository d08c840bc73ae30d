"""Calls the operator with a client of the public platform; only the base URL differs.

The package `public_api` is generated from public-api.yaml. It raises an exception for any response
that it cannot parse.
"""

import os
import sys

import httpx
import jwt
from public_api import AuthenticatedClient, Client
from public_api.api.default import (
    create_app_user_id_token,
    create_member,
    create_organization,
    create_sdk_client,
    create_user_pool,
    get_member,
    get_organization,
    get_sdk_client,
    get_user_pool,
    login,
)
from public_api.models import (
    Application,
    ApplicationApplication,
    AppUserIdTokenCreate,
    Login,
    MemberCreate,
    MemberRole,
    OrganizationCreate,
    OrganizationCreateMember,
    SdkClientCreate,
    SdkClientCreateKindType0,
    UserPoolCreate,
)
from public_api.types import UNSET

URL = os.environ["ANON_API_URL"]
EMAIL, PASSWORD = sys.argv[1:]


def anonymous() -> Client:
    return Client(base_url=URL, raise_on_unexpected_status=True)


def log_in(email: str) -> AuthenticatedClient:
    session = login.sync(client=anonymous(), body=Login(email=email, password=PASSWORD))
    return bearer(session.token)


def bearer(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=URL, token=token, raise_on_unexpected_status=True)


def main() -> None:
    first = OrganizationCreateMember("Ada", EMAIL, PASSWORD)
    signed_up = create_organization.sync(
        client=anonymous(), body=OrganizationCreate("Cool Kids", first)
    )
    own = signed_up.id
    admin = log_in(EMAIL)
    organization = get_organization.sync(own, client=admin)
    assert (organization.id, organization.name) == (own, "Cool Kids")
    assert [it.role for it in organization.members] == [MemberRole.ADMIN]

    dev = f"dev-{EMAIL}"
    member = create_member.sync(
        client=admin,
        body=MemberCreate(own, "Dev", dev, PASSWORD, MemberRole.MEMBER),
    )
    assert get_member.sync(member.id, client=admin) == member
    assert (member.email, member.role) == (dev, MemberRole.MEMBER)

    # The rest requires only the role Member.
    admin = None
    client = log_in(dev)
    pool = create_user_pool.sync(
        client=client, body=UserPoolCreate(own, "Users", "All users")
    )
    assert get_user_pool.sync(pool.id, client=client) == pool
    kind = Application(ApplicationApplication(user_pool_id=pool.id))
    web = create_sdk_client.sync(
        client=client, body=SdkClientCreate(own, "Web", "The shop", kind=kind)
    )
    assert web.auth.user_pool_id == pool.id
    backend = create_sdk_client.sync(
        client=client,
        body=SdkClientCreate(
            own, "Backend", "", kind=SdkClientCreateKindType0.SERVICE
        ),
    )
    shown = get_sdk_client.sync(backend.id, client=client)
    assert shown.auth.secret is UNSET, "the API key is returned only once"
    assert (shown.id, shown.name) == (backend.id, "Backend")

    # From here on, the caller is the backend.
    client = bearer(backend.auth.secret)
    minted = create_app_user_id_token.sync(
        client=client, body=AppUserIdTokenCreate(user_pool_id=pool.id, app_user_id="user-1")
    )
    token = minted.app_user_id_token

    # A JOSE library needs only the key set at the pool's `jwks_uri`.
    key = jwt.PyJWKClient(pool.authorization.jwks_uri).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=pool.id)
    assert claims["sub"] == "user-1"
    headers = {"Authorization": f"Bearer {token}", "X-Anon-Sdk-Client-Id": web.id}
    validator = os.environ["ANON_VALIDATOR_URL"]
    verdict = httpx.post(f"{validator}/v1/validate", headers=headers).json()
    assert verdict["active"] and verdict["appUserId"] == "user-1", verdict
    print("the generated client signed up, created every kind, and issued and validated a token")


main()
