package process

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cdclab/cdclab/hop"
	"github.com/cdclab/cdclab/shown"
)

// HealthLimit bounds one look at a component's health when the caller's context does not.
const HealthLimit = 2 * time.Second

// Answers is nil when a page is there, and holds the page's text when the answer is an error.
func Answers(ctx context.Context, url string) error {
	_, err := Page(ctx, url)
	return err
}

// mostPage bounds the text of a page, and mostRefusal the text in an error, in bytes.
const (
	mostPage    = 1 << 20
	mostRefusal = 1 << 10
)

// Page returns the beginning of a page; the error holds the page's text when the answer is one.
func Page(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, HealthLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostPage))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", shown.Address(url), err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", shown.Address(url), response.Status,
			strings.TrimSpace(string(text[:min(len(text), mostRefusal)])))
	}
	return text, nil
}
