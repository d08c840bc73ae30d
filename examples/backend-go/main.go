// A backend for end users: asks the validator of anon-operator about each request.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

var (
	apiURL       = os.Getenv("ANON_API_URL")
	validatorURL = os.Getenv("ANON_VALIDATOR_URL")
	clientID     = os.Getenv("ANON_CLIENT_ID") // the webapp client that the users come through
	apiKeyFile   = os.Getenv("ANON_API_KEY_FILE")
	webappOrigin = os.Getenv("WEBAPP_ORIGIN") // the only origin whose pages may read the responses
	address      = cmp.Or(os.Getenv("HOST"), "127.0.0.1") + ":" + cmp.Or(os.Getenv("PORT"), "18213")

	operator        = http.Client{Timeout: 5 * time.Second}
	errUnauthorized = errors.New("unauthorized")
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("GET /me", respond(me))
	mux.HandleFunc("POST /link", respond(link))
	log.Fatal(http.ListenAndServe(address, withHeaders(mux)))
}

func me(r *http.Request) (any, error) {
	appUserID, _, err := authenticate(r)
	return map[string]string{"appUserId": appUserID}, err
}

// link creates the URL at which the user connects a calendar.
func link(r *http.Request) (any, error) {
	_, token, err := authenticate(r)
	if err != nil {
		return nil, err
	}
	// Reads the file each time: the kubelet replaces it when the operator rotates the key.
	apiKey, err := os.ReadFile(apiKeyFile)
	if err != nil {
		return nil, err
	}
	query := url.Values{"app": {"calendar"}, "clientId": {clientID}, "redirectUrl": {webappOrigin + "/linked"}, "appUserIdToken": {token}}
	var reply struct{ URL, Field string }
	status, err := ask(r, http.MethodGet, apiURL+"/link/url?"+query.Encode(), strings.TrimSpace(string(apiKey)), &reply)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusOK:
		return map[string]string{"url": reply.URL}, nil
	case status == http.StatusBadRequest && reply.Field == "appUserIdToken":
		return nil, errUnauthorized
	default: // This includes a rejected API key, which is not the fault of the user.
		return nil, fmt.Errorf("the API responded with status %d", status)
	}
}

// authenticate returns the id and the token of the user.
func authenticate(r *http.Request) (appUserID, token string, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", "", errUnauthorized
	}
	var user struct{ Principal, AppUserID string }
	status, err := ask(r, http.MethodPost, validatorURL+"/v1/validate", token, &user)
	switch {
	case err != nil:
		return "", "", err
	// The validator also knows API keys and session tokens, which are not end users.
	case status == http.StatusUnauthorized, status == http.StatusOK && user.Principal != "appUser":
		return "", "", errUnauthorized
	case status != http.StatusOK:
		return "", "", fmt.Errorf("the validator responded with status %d", status)
	}
	return user.AppUserID, token, nil
}

func ask(r *http.Request, method, address, bearer string, reply any) (int, error) {
	request, err := http.NewRequestWithContext(r.Context(), method, address, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	request.Header.Set("X-Anon-Sdk-Client-Id", clientID)
	response, err := operator.Do(request)
	if err != nil {
		return 0, errors.Unwrap(err) // without the URL, whose query contains the token
	}
	defer response.Body.Close()
	return response.StatusCode, json.NewDecoder(response.Body).Decode(reply)
}

// respond fails closed: without an answer of the operator, the user is not let in.
func respond(handle func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := handle(r)
		switch {
		case errors.Is(err, errUnauthorized):
			w.Header().Set("WWW-Authenticate", `Bearer realm="backend"`)
			w.WriteHeader(http.StatusUnauthorized)
			body = map[string]string{"error": "unauthorized"}
		case err != nil:
			log.Print("cannot answer: ", err)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			body = map[string]string{"error": "unavailable"}
		}
		json.NewEncoder(w).Encode(body)
	}
}

func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", webappOrigin)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
