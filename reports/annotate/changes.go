package annotate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"time"

	"github.com/cdclab/cdclab/reports/trend"
)

// OfTrend returns an annotation for each change in a trend: a region from the last Run before the
// change to the first Run after. The same change found again, with more Runs behind, is the same
// annotation. A change that moves to another Run is a second annotation, and the first one stays.
// link is as for Of.
func OfTrend(t trend.Trend, link string) ([]Annotation, error) {
	link, err := anchor(link)
	if err != nil {
		return nil, err
	}
	var all []Annotation
	for _, line := range t.Lines {
		for _, change := range line.Changes {
			good, bad := line.Runs[change.Index-1], line.Runs[change.Index]
			from, err := time.Parse(trend.TimeLayout, good.Time)
			if err != nil {
				return nil, fmt.Errorf("annotate run %s: %w", good.ID, err)
			}
			to, err := time.Parse(trend.TimeLayout, bad.Time)
			if err != nil {
				return nil, fmt.Errorf("annotate run %s: %w", bad.ID, err)
			}
			kind := "better"
			if change.Percent > 0 {
				kind = "worse"
			}
			all = append(all, Annotation{Time: from.UnixMilli(), TimeEnd: to.UnixMilli(),
				Tags: []string{Tag, "scenario:" + short(t.Key.Scenario),
					"stack:" + short(t.Key.Stack), "change:" + kind,
					runTag + digest(fmt.Sprintf("trend %+v", t.Key)),
					partTag + digest(line.Metric+"\n"+bad.ID+"\n"+bad.Time)},
				Text: html.EscapeString(line.Words(change)) + link})
		}
	}
	return all, nil
}

// digest returns 16 characters for a text of any length.
func digest(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:8])
}
