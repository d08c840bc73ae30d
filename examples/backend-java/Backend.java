// A backend for end users: verifies their tokens locally, with the published keys of the pool.

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.ParseException;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import static java.nio.charset.StandardCharsets.UTF_8;

class Backend {
    static final Map<String, String> ENV = System.getenv();
    static final String CLIENT_ID = ENV.get("ANON_CLIENT_ID"); // the webapp client that the users come through
    static final String WEBAPP_ORIGIN = ENV.get("WEBAPP_ORIGIN"); // whose pages may read the responses
    static final HttpClient HTTP = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    static final DefaultJWTProcessor<SecurityContext> TOKENS = new DefaultJWTProcessor<>();

    record User(String appUserId, String token) {}
    record Reply(int status, Map<String, Object> body) {}
    interface Route { Map<String, Object> answer(HttpExchange request) throws Exception; }
    static class Unauthorized extends Exception {}

    static final Map<String, Route> ROUTES = Map.of(
            "GET /healthz", request -> Map.of("status", "ok"),
            "GET /me", request -> Map.of("appUserId", authenticate(request).appUserId()),
            "POST /link", request -> Map.of("url", linkUrl(authenticate(request))));

    public static void main(String[] arguments) throws IOException {
        // Fetched when needed, and again for a token with an unknown key, at most every 5 s.
        var keys = JWKSourceBuilder.create(URI.create(ENV.get("ANON_JWKS_URL")).toURL()).rateLimited(5_000).build();
        var algorithms = Set.of(JWSAlgorithm.RS256, JWSAlgorithm.PS256, JWSAlgorithm.ES256, JWSAlgorithm.ES384);
        var exact = new JWTClaimsSet.Builder().issuer(ENV.get("ANON_ISSUER")).build();
        TOKENS.setJWSKeySelector(new JWSVerificationKeySelector<>(algorithms, keys));
        TOKENS.setJWTClaimsSetVerifier(new DefaultJWTClaimsVerifier<>(CLIENT_ID, exact, Set.of("sub", "exp")));

        var port = Integer.parseInt(ENV.getOrDefault("PORT", "18215"));
        var server = HttpServer.create(new InetSocketAddress(ENV.getOrDefault("HOST", "127.0.0.1"), port), 0);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/", Backend::handle);
        server.start();
    }

    static User authenticate(HttpExchange request) throws Unauthorized, JOSEException {
        var header = request.getRequestHeaders().getFirst("Authorization");
        if (header == null || !header.regionMatches(true, 0, "Bearer ", 0, 7)) throw new Unauthorized();
        var token = header.substring(7);
        try {
            return new User(TOKENS.process(token, null).getSubject(), token);
        } catch (ParseException | BadJOSEException invalid) {
            throw new Unauthorized();
        } // A JOSEException means that the token could not be verified: the keys are not available.
    }

    /** Creates the URL at which the user connects a calendar. */
    static String linkUrl(User user) throws Exception {
        var query = "?app=calendar&clientId=" + CLIENT_ID + "&appUserIdToken=" + user.token()
                + "&redirectUrl=" + URLEncoder.encode(WEBAPP_ORIGIN + "/linked", UTF_8);
        // Reads the file each time: the kubelet replaces it when the operator rotates the key.
        var apiKey = Files.readString(Path.of(ENV.get("ANON_API_KEY_FILE"))).strip();
        var request = HttpRequest.newBuilder(URI.create(ENV.get("ANON_API_URL") + "/link/url" + query))
                .header("Authorization", "Bearer " + apiKey).timeout(Duration.ofSeconds(5)).build();
        var response = HTTP.send(request, BodyHandlers.ofString());
        var body = JSONObjectUtils.parse(response.body());
        if (response.statusCode() == 200) return JSONObjectUtils.getString(body, "url");
        // The operator knows about revoked users, too.
        if (response.statusCode() == 400 && "appUserIdToken".equals(body.get("field"))) throw new Unauthorized();
        // This includes a rejected API key, which is not the fault of the user.
        throw new IOException("the API responded with status " + response.statusCode());
    }

    static void handle(HttpExchange request) throws IOException {
        var route = ROUTES.get(request.getRequestMethod() + " " + request.getRequestURI().getPath());
        var headers = request.getResponseHeaders();
        Reply reply;
        try {
            reply = request.getRequestMethod().equals("OPTIONS") ? new Reply(200, Map.of())
                    : route == null ? new Reply(404, Map.of("error", "not found"))
                    : new Reply(200, route.answer(request));
        } catch (Unauthorized unauthorized) {
            headers.set("WWW-Authenticate", "Bearer realm=\"backend\"");
            reply = new Reply(401, Map.of("error", "unauthorized"));
        } catch (Exception error) {
            // Fail closed: without an answer, the user is not let in.
            System.err.println("cannot answer: " + error.getClass().getSimpleName());
            headers.set("Retry-After", "1");
            reply = new Reply(503, Map.of("error", "unavailable"));
        }
        headers.set("Access-Control-Allow-Origin", WEBAPP_ORIGIN);
        headers.set("Access-Control-Allow-Headers", "Authorization");
        headers.set("Cache-Control", "no-store");
        headers.set("Content-Type", "application/json");
        var text = JSONObjectUtils.toJSONString(reply.body()).getBytes(UTF_8);
        try (request) {
            request.sendResponseHeaders(reply.status(), text.length);
            request.getResponseBody().write(text);
        }
    }
}
