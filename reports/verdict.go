package reports

import "fmt"

// Status is what a Verdict says: Pass, Fail or Unknown.
type Status string

// The three statuses. Fail: the pipeline did something wrong. Unknown: the Run cannot tell.
const (
	Pass    Status = "pass"
	Fail    Status = "fail"
	Unknown Status = "unknown"
)

// Verdict is a status and why; each reason is a sentence that names the number. Pass needs none.
type Verdict struct {
	Status  Status   `json:"status"`
	Reasons []string `json:"reasons"`
}

// Merge is the worse of both with the reasons of both, those of a Fail first. A definite failure
// stays one whatever else is unknown, and unknown beats pass.
func (v Verdict) Merge(other Verdict) Verdict {
	if severity(other.Status) > severity(v.Status) {
		v, other = other, v
	}
	reasons := make([]string, 0, len(v.Reasons)+len(other.Reasons))
	return Verdict{v.Status, append(append(reasons, v.Reasons...), other.Reasons...)}
}

func severity(s Status) int {
	switch s {
	case Pass:
		return 0
	case Unknown:
		return 1
	}
	return 2
}

func fail(format string, args ...any) Verdict {
	return Verdict{Fail, []string{fmt.Sprintf(format, args...)}}
}

func unknown(format string, args ...any) Verdict {
	return Verdict{Unknown, []string{fmt.Sprintf(format, args...)}}
}
