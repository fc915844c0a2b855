package annotate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/cdclab/cdclab/hop"
)

// Client reaches the HTTP API of a Grafana.
type Client struct{ api hop.API }

const (
	// requestLimit bounds one request. A Grafana is close, and a run's end should not wait.
	requestLimit = 10 * time.Second
	// listMost is how many annotations of one Run are looked for; answerMost bounds an answer's
	// bytes.
	listMost   = 5000
	answerMost = 16 << 20
)

// NewClient returns a Client for the Grafana at address, such as "https://grafana.example.com" or
// "http://127.0.0.1:3000/below/a/path". token is of a service account that may read, create and
// write annotations. Without TLS the token goes to this machine alone: other addresses fail when
// they are dialled.
func NewClient(address, token string) (*Client, error) {
	c := &Client{hop.API{Of: "Grafana", TokenOf: "Grafana", Example: "http://127.0.0.1:3000",
		Limit: requestLimit, AnswerMost: answerMost, Refusal: refusal,
		Header: map[string]string{"Accept": "application/json"}}}
	if err := c.api.Open(address, token); err != nil {
		return nil, err
	}
	return c, nil
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
			err = c.api.Call(ctx, http.MethodPost, "/api/annotations", wanted,
				http.StatusOK, nil)
			sent.Created++
		case wanted.equals(there[known]):
			sent.Kept++
		default:
			err = c.api.Call(ctx, http.MethodPatch,
				fmt.Sprintf("/api/annotations/%d", there[known].ID), wanted, http.StatusOK, nil)
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
	return found, c.api.Call(ctx, http.MethodGet, "/api/annotations?"+query.Encode(), nil,
		http.StatusOK, &found)
}

// refusal says what an answer other than 200 means, and what to do.
func refusal(response *http.Response) string {
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return "the token may not: give one of a service account with annotations:read, " +
			"annotations:create and annotations:write"
	case code == http.StatusNotFound:
		return "no API of annotations at this address"
	case code >= 300 && code < 400:
		to, _ := response.Location()
		host := "another address"
		if to != nil {
			host = to.Scheme + "://" + to.Host
		}
		return fmt.Sprintf("a redirect to %s is not followed with a token: give the address "+
			"itself", host)
	}
	return ""
}
