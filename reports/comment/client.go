package comment

import (
	"net/http"
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
)

// Client reaches the HTTP API of a GitHub.
type Client struct{ api hop.API }

// NewClient returns a Client for the API at address, such as API. token may write comments on pull
// requests. Without TLS the token goes to this machine alone.
func NewClient(address, token string) (*Client, error) {
	c := &Client{hop.API{Of: "GitHub's API", TokenOf: "GitHub", Example: API, Limit: requestLimit,
		AnswerMost: answerMost, Refusal: refusal, Header: map[string]string{"Accept": mediaType,
			"X-GitHub-Api-Version": apiVersion, "User-Agent": "cdclab"}}}
	if err := c.api.Open(address, token); err != nil {
		return nil, err
	}
	return c, nil
}

// refusal says what an answer of another status means, and what to do.
func refusal(response *http.Response) string {
	code := response.StatusCode
	limited := response.Header.Get("X-RateLimit-Remaining") == "0" ||
		response.Header.Get("Retry-After") != ""
	switch {
	case code == http.StatusTooManyRequests || code == http.StatusForbidden && limited:
		return "too many requests: run the job again later"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return "the token may not: the job wants `permissions: pull-requests: write`"
	case code == http.StatusNotFound:
		return "no such repository, or the token may not see it"
	case code >= 300 && code < 400:
		return "a redirect is not followed with a token: was the repository renamed?"
	}
	return ""
}
