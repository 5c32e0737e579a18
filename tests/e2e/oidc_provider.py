"""A small real OpenID Connect provider on the loopback: it lets in whoever the test says is at the keyboard."""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT, SECRET = "maskledger", "a secret of the tests"


class Provider(ThreadingHTTPServer):
    """Authorization code flow with signed identity tokens; `person` holds the claims of whoever comes next."""

    def __init__(self) -> None:
        from joserfc.jwk import RSAKey

        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self.person: dict[str, Any] = {}
        self.asked: dict[str, dict[str, str]] = {}

    @property
    def metadata(self) -> dict[str, Any]:
        """What ``/.well-known/openid-configuration`` answers (OpenID Connect Discovery 1.0)."""
        return {
            "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"], "scopes_supported": ["openid", "email", "profile"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }  # fmt: skip

    def identity(self, code: str) -> str:
        """The signed identity token for a code; a code is good once."""
        from joserfc import jwt

        asked = self.asked.pop(code)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 600, "nonce": asked.get("nonce", ""),
            "sub": str(self.person["email"]), **self.person,
        }  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.key)


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        path, asked = (
            urlsplit(self.path).path,
            {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()},
        )
        if path == "/.well-known/openid-configuration":
            self._answer(self.server.metadata)
        elif path == "/keys":
            self._answer({"keys": [self.server.key.as_dict(private=False)]})
        elif path == "/authorize" and asked.get("client_id") == CLIENT:
            code = secrets.token_urlsafe(8)
            self.server.asked[code] = asked
            self.send_response(302)
            back = urlencode({"code": code, "state": asked["state"]})
            self.send_header("Location", f"{asked['redirect_uri']}?{back}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        code = parse_qs(body).get("code", [""])[0]
        if urlsplit(self.path).path != "/token" or code not in self.server.asked:
            self.send_error(400)
            return
        token = {"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "expires_in": 600}
        self._answer({**token, "id_token": self.server.identity(code)})

    def _answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing: the test's output is its own."""


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """A provider that answers while the block runs."""
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
