package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cdclab/cdclab/reports"
)

// mostStoredBytes bounds a gate.json: 24 runs with their reasons have about 40 kB.
const mostStoredBytes = 4 << 20

// DecodeResult reads a gate.json, perhaps of a stranger's run: metrics, sides and verdicts that no
// gate has are errors with the place. Free text stays as it is, because the writers escape texts.
func DecodeResult(text []byte) (*Result, error) {
	if len(text) > mostStoredBytes {
		return nil, fmt.Errorf("decode gate: more than %d bytes", mostStoredBytes)
	}
	var r Result
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("decode gate: at byte %d: %w", decoder.InputOffset(), err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode gate: more than one value, at byte %d",
			decoder.InputOffset())
	}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("decode gate: %w", err)
	}
	return &r, nil
}

func (r *Result) validate() error {
	if r.SchemaVersion != SchemaVersion {
		return fmt.Errorf("schemaVersion: %d, this lab reads %d", r.SchemaVersion, SchemaVersion)
	}
	if !isStatus(r.Verdict.Status) {
		return fmt.Errorf("verdict.status: no verdict is %q", r.Verdict.Status)
	}
	for i, f := range r.Findings {
		if !isMetric(f.Metric, f.Unit) {
			return fmt.Errorf("findings[%d].metric: no gate looks at %q (%q)", i, f.Metric, f.Unit)
		}
	}
	for i, name := range r.Suspicious {
		if !slices.ContainsFunc(Primary, func(m Metric) bool { return m.Name == name }) {
			return fmt.Errorf("suspicious[%d]: no gate looks at %q", i, name)
		}
	}
	for i, a := range r.Attempts {
		if a.Side != Base && a.Side != Head {
			return fmt.Errorf("attempts[%d].side: no side is %q", i, a.Side)
		}
		if !isStatus(a.Verdict.Status) {
			return fmt.Errorf("attempts[%d].verdict.status: no verdict is %q", i, a.Verdict.Status)
		}
	}
	return nil
}

func isStatus(s reports.Status) bool {
	return s == reports.Pass || s == reports.Fail || s == reports.Unknown
}

func isMetric(name, unit string) bool {
	return slices.ContainsFunc(Primary, func(m Metric) bool {
		return m.Name == name && m.Unit == unit
	})
}
