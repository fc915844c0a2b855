package comment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cdclab/cdclab/hop"
)

// API is the address of GitHub's own API. A GitHub Enterprise server has another.
const API = "https://api.github.com"

// The form of the requests and the version of the API, as GitHub's documentation wants them.
const (
	mediaType  = "application/vnd.github+json"
	apiVersion = "2022-11-28"
)

const (
	// requestLimit bounds one request, answerMost the bytes of an answer: 100 comments of 64 KiB,
	// with room for what JSON escapes.
	requestLimit = 30 * time.Second
	answerMost   = 32 << 20
	// quoted is how much of an answer an error repeats.
	quoted = 200
)

// Client reaches the HTTP API of a GitHub.
type Client struct {
	base, token string
	http        *http.Client
}

// NewClient returns a Client for the API at address, such as API. token may write comments on pull
// requests. Without TLS the token goes to this machine alone.
func NewClient(address, token string) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the address of GitHub's API: want http or https, a host and a " +
			"path, such as " + API)
	}
	if token == "" {
		return nil, errors.New("the token of GitHub: empty")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token of GitHub: has characters that no token has")
	}
	return &Client{strings.TrimSuffix(base.String(), "/"), token, &http.Client{
		Timeout: requestLimit, Transport: hop.Transport(true, base.Scheme),
		CheckRedirect: hop.StayHere}}, nil
}

// call makes one request that must be answered with the status; answer, where not nil, receives the
// JSON.
func (c *Client) call(ctx context.Context, method, path string, body any, status int,
	answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(text))
	if err != nil {
		return hop.WithoutURL(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", mediaType)
	request.Header.Set("X-GitHub-Api-Version", apiVersion)
	request.Header.Set("User-Agent", "cdclab")
	response, err := c.http.Do(request)
	if err != nil {
		return hop.WithoutURL(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, answerMost))
	switch {
	case response.StatusCode != status:
		return refusal(response, got)
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

// refusal says what an answer of another status means, and what to do.
func refusal(response *http.Response, body []byte) error {
	code := response.StatusCode
	limited := response.Header.Get("X-RateLimit-Remaining") == "0" ||
		response.Header.Get("Retry-After") != ""
	switch {
	case code == http.StatusTooManyRequests || code == http.StatusForbidden && limited:
		return fmt.Errorf("status %d: too many requests: run the job again later", code)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("status %d: the token may not: the job wants "+
			"`permissions: pull-requests: write`", code)
	case code == http.StatusNotFound:
		return fmt.Errorf("status %d: no such repository, or the token may not see it", code)
	case code >= 300 && code < 400:
		return fmt.Errorf("status %d: a redirect is not followed with a token: "+
			"was the repository renamed?", code)
	}
	if len(body) > quoted {
		body = body[:quoted]
	}
	return fmt.Errorf("status %d: %q", code, body)
}
