package render

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/reports/unit"
)

// The elements of JUnit's XML, as the readers of CI systems take them.
type (
	junitSuite struct {
		XMLName   xml.Name    `xml:"testsuite"`
		Name      string      `xml:"name,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Seconds   string      `xml:"time,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string       `xml:"classname,attr"`
		Name    string       `xml:"name,attr"`
		Failure *junitReason `xml:"failure"`
		Error   *junitReason `xml:"error"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes a Run as a JUnit test suite: a case for the verdict, one for the table check
// and one for each limit. A verdict of unknown is an error, for which nothing can be said, and no
// failure. A limit of such a Run decides nothing, so that the case passes.
func WriteJUnit(w io.Writer, r *reports.Run) error {
	suite := junitSuite{Name: r.TestRun.Scenario, Seconds: fmt.Sprint(r.TestRun.DurationSeconds),
		Timestamp: r.TestRun.StartTime.UTC().Format("2006-01-02T15:04:05")}
	add := func(name string, status reports.Status, message string) {
		one := junitCase{Class: "cdclab." + r.TestRun.Scenario, Name: name}
		reason := &junitReason{message, message}
		switch status {
		case reports.Fail:
			one.Failure = reason
			suite.Failures++
		case reports.Unknown:
			one.Error = reason
			suite.Errors++
		}
		suite.Cases = append(suite.Cases, one)
		suite.Tests++
	}
	add("verdict", r.Verdict.Status, strings.Join(r.Verdict.Reasons, "\n"))
	add("consistency", r.Consistency.Status(), r.Consistency.Sentence())
	for _, l := range r.Limits() {
		status := reports.Pass
		if !l.OK && r.Verdict.Status == reports.Fail {
			status = reports.Fail
		}
		add(l.Name, status, fmt.Sprintf("%s%s, want %s", unit.Number(l.Value), l.Unit, l.Wanted))
	}
	text, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return fmt.Errorf("render JUnit XML: %w", err)
	}
	return deliver(w, bytes.NewBufferString(xml.Header+string(text)+"\n"), "JUnit XML")
}
