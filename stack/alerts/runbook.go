package alerts

import (
	"fmt"
	"strings"
)

// runbook is the table for a person: each alert with its condition and what to do.
func runbook(all []Alert) string {
	var text strings.Builder
	text.WriteString("# Runbook\n\nWritten from the table of alerts in this folder by " +
		"`go test ./stack/alerts -update`. Each alert has the\nnumbers of the specification's " +
		"section beside the alert; \"-\" marks the lab's own.\n\n" +
		"| alert | severity | component | for | section |\n|---|---|---|---|---|\n")
	for _, a := range all {
		fmt.Fprintf(&text, "| [%s](#%s) | %s | %s | %s | %s |\n", a.Name, strings.ToLower(a.Name),
			a.Severity, orDash(a.Component), promDuration(a.For), orDash(a.Section))
	}
	for _, a := range all {
		fmt.Fprintf(&text, "\n## %s\n\n%s\n\n%s\n\nDashboard `%s`.", a.Name,
			sentence(a.fill(a.Summary, plainText)), a.fill(a.Action, plainText), a.Dashboard)
		for _, s := range a.SilencedBy {
			fmt.Fprintf(&text, " Silenced by %s%s.", s.By, ofTheSame(s.Equal))
		}
		fmt.Fprintf(&text, "\n\n    %s\n", strings.ReplaceAll(a.Query, "\n", "\n    "))
	}
	return text.String()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

func ofTheSame(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return " of the same " + strings.Join(labels, " and ")
}

// plainText is a placeholder for a person.
func plainText(_ Alert, name, _ string) string { return "<" + name + ">" }
