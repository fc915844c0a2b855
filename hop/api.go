package hop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// API is an HTTP API that speaks JSON and is opened by a token. Without TLS the token goes to this
// machine alone: other addresses fail when they are dialled.
type API struct {
	// Of names the API in errors, TokenOf the giver of the token; Example is an address.
	Of, TokenOf, Example string
	Limit                time.Duration // of one request
	AnswerMost           int64         // bytes of an answer
	Header               map[string]string
	// Refusal says what an answer with another status than the wanted means, and what to do; "" for
	// an answer to be quoted.
	Refusal func(*http.Response) string

	HTTP        *http.Client // made by Open
	base, token string
}

// quoted is how many bytes of an answer an error repeats.
const quoted = 200

// Open sets the address and the token. The errors repeat neither.
func (a *API) Open(address, token string) error {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return fmt.Errorf("the address of %s: want http or https, a host and a path, such as %s",
			a.Of, a.Example)
	}
	if token == "" {
		return fmt.Errorf("the token of %s: empty", a.TokenOf)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the token of %s: has characters that no token has", a.TokenOf)
	}
	a.base, a.token = strings.TrimSuffix(base.String(), "/"), token
	a.HTTP = &http.Client{Timeout: a.Limit, Transport: Transport(true, base.Scheme),
		CheckRedirect: StayHere}
	return nil
}

// Call makes one request, which must be answered with the status. body and answer may be nil;
// answer receives the JSON of the answer.
func (a *API) Call(ctx context.Context, method, path string, body any, status int,
	answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(text))
	if err != nil {
		return WithoutURL(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	for name, value := range a.Header {
		request.Header.Set(name, value)
	}
	response, err := a.HTTP.Do(request)
	if err != nil {
		return WithoutURL(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, a.AnswerMost))
	switch {
	case response.StatusCode != status:
		if means := a.Refusal(response); means != "" {
			return fmt.Errorf("status %d: %s", response.StatusCode, means)
		}
		return fmt.Errorf("status %d: %q", response.StatusCode, got[:min(len(got), quoted)])
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(got, answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
