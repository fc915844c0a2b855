package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/hop"
)

// Error marks an error of the broker's side, for the metrics.
type Error struct{ err error }

func (k *Error) Error() string { return k.err.Error() }

func (k *Error) Unwrap() error { return k.err }

// Reason is the label of the metric of retries.
func (k *Error) Reason() string { return "kafka" }

// Classify makes a fate.Halt of an error curable only by a change of configuration.
func Classify(err error) error {
	if errors.Is(err, hop.ErrReadable) {
		return &fate.Halt{Err: err}
	}
	for _, denied := range []*kerr.Error{kerr.TopicAuthorizationFailed,
		kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.InvalidGroupID,
		kerr.InvalidSessionTimeout, kerr.UnsupportedVersion} {
		if errors.Is(err, denied) {
			return &fate.Halt{Err: err}
		}
	}
	return &Error{err}
}
