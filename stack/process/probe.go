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
	ctx, cancel := context.WithTimeout(ctx, HealthLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", shown.Address(url), hop.WithoutURL(err))
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("read %s: %w", shown.Address(url), err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", shown.Address(url), response.Status,
			strings.TrimSpace(string(text)))
	}
	return nil
}
