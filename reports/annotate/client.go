package annotate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cdclab/cdclab/hop"
)

// Client reaches the HTTP API of a Grafana.
type Client struct {
	base  string
	token string
	http  *http.Client
}

const (
	// requestLimit bounds one request. A Grafana is close, and a run's end should not wait.
	requestLimit = 10 * time.Second
	// listMost is how many annotations of one Run are looked for; answerMost bounds an answer's
	// bytes.
	listMost   = 5000
	answerMost = 16 << 20
	// quoted is how much of an answer an error repeats.
	quoted = 200
)

// NewClient returns a Client for the Grafana at address, such as "https://grafana.example.com" or
// "http://127.0.0.1:3000/below/a/path". token is of a service account that may read, create and
// write annotations. Without TLS the token goes to this machine alone: other addresses fail when
// they are dialled.
func NewClient(address, token string) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the address of Grafana: want http or https, a host and a path, " +
			"such as http://127.0.0.1:3000")
	}
	if token == "" {
		return nil, errors.New("the token of Grafana: empty")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token of Grafana: has characters that no token has")
	}
	return &Client{strings.TrimSuffix(base.String(), "/"), token, &http.Client{
		Timeout: requestLimit, Transport: hop.Transport(true, base.Scheme),
		CheckRedirect: hop.StayHere}}, nil
}

// Sent counts what became of annotations.
type Sent struct {
	Created, Updated, Kept int
}

// Send brings Grafana to have each of the annotations once: creates the missing, updates the
// changed and keeps the others, so that sending again doubles nothing. All annotations are of one
// Run. After an error a part of the annotations may be there; sending again brings the rest.
func (c *Client) Send(ctx context.Context, annotations []Annotation) (Sent, error) {
	var sent Sent
	if len(annotations) == 0 {
		return sent, nil
	}
	run := annotations[0].tag(runTag)
	if run == "" {
		return sent, errors.New("annotate Grafana: an annotation names no run")
	}
	there, err := c.list(ctx, run)
	if err != nil {
		return sent, fmt.Errorf("find annotations in Grafana: %w", err)
	}
	for _, wanted := range annotations {
		known := slices.IndexFunc(there, func(a Annotation) bool {
			return a.tag(partTag) == wanted.tag(partTag)
		})
		switch {
		case known < 0:
			err = c.call(ctx, http.MethodPost, "/api/annotations", wanted, nil)
			sent.Created++
		case wanted.equals(there[known]):
			sent.Kept++
		default:
			err = c.call(ctx, http.MethodPatch,
				fmt.Sprintf("/api/annotations/%d", there[known].ID), wanted, nil)
			sent.Updated++
		}
		if err != nil {
			return sent, fmt.Errorf("annotate Grafana: %w", err)
		}
	}
	return sent, nil
}

// equals compares all but the ID. Grafana returns tags in an order of its own.
func (a *Annotation) equals(other Annotation) bool {
	return a.Time == other.Time && a.TimeEnd == other.TimeEnd && a.Text == other.Text &&
		slices.Equal(slices.Sorted(slices.Values(a.Tags)),
			slices.Sorted(slices.Values(other.Tags)))
}

// list returns the annotations with the tag.
func (c *Client) list(ctx context.Context, tag string) (found []Annotation, err error) {
	query := url.Values{"type": {"annotation"}, "tags": {tag}, "limit": {fmt.Sprint(listMost)}}
	return found, c.call(ctx, http.MethodGet, "/api/annotations?"+query.Encode(), nil, &found)
}

// call makes one request; answer, where not nil, receives the JSON.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
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
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return hop.WithoutURL(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, answerMost))
	switch {
	case response.StatusCode != http.StatusOK:
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

// refusal says what an answer other than 200 means, and what to do.
func refusal(response *http.Response, body []byte) error {
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("status %d: the token may not: give one of a service account with "+
			"annotations:read, annotations:create and annotations:write", code)
	case code == http.StatusNotFound:
		return fmt.Errorf("status %d: no API of annotations at this address", code)
	case code >= 300 && code < 400:
		to, _ := response.Location()
		host := "another address"
		if to != nil {
			host = to.Scheme + "://" + to.Host
		}
		return fmt.Errorf("status %d: a redirect to %s is not followed with a token: "+
			"give the address itself", code, host)
	}
	if len(body) > quoted {
		body = body[:quoted]
	}
	return fmt.Errorf("status %d: %q", response.StatusCode, body)
}
