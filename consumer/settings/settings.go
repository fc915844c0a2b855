// Package settings holds the common part of the configurations of the consumer's rooms: hidden
// secrets, files of passwords and certificates, and the list of faults. The configuration is
// consumer.Config. Start reading at Secret.
package settings

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/cdclab/cdclab/namedfile"
)

// Secret is a text that fmt, slog and encoding/json do not show.
type Secret string

const shown = "(secret)"

// Format writes a stand-in, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { f.Write([]byte(shown)) }

// MarshalText writes the stand-in.
func (Secret) MarshalText() ([]byte, error) { return []byte(shown), nil }

// Faults collects the faults of the flags.
type Faults []error

// Add notes a fault of a flag.
func (f *Faults) Add(flag, format string, args ...any) {
	*f = append(*f, fmt.Errorf("--%s: "+format, append([]any{flag}, args...)...))
}

// RequirePassword wants exactly one of the two sources.
func (f *Faults) RequirePassword(server string, given Secret, file string) {
	variable := "CDC_CONSUMER_" + strings.ToUpper(server) + "_PASSWORD"
	switch {
	case given == "" && file == "":
		f.Add(server+"-user", "needs --%s-password-file or %s", server, variable)
	case given != "" && file != "":
		f.Add(server+"-password-file", "%s is set, too", variable)
	}
}

// TrustSigners trusts the signers in the file for the other side's certificate, instead of the
// system's signers.
func TrustSigners(config *tls.Config, flag, file string) error {
	if file == "" {
		return nil
	}
	pem, err := namedfile.Read(file, namedfile.Small)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("--%s: no certificate in %s", flag, file)
	}
	return nil
}

// PresentCertificate shows the certificate to the other side.
func PresentCertificate(config *tls.Config, flag, certificate, key string) error {
	if certificate == "" {
		return nil
	}
	signed, err := namedfile.Read(certificate, namedfile.Small)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	private := signed
	if key != certificate { // a pipe can be read once
		if private, err = namedfile.Read(key, namedfile.Small); err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
	}
	pair, err := tls.X509KeyPair(signed, private)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// ReadPassword returns the given password, or the first line of the flag's file.
func ReadPassword(flag string, given Secret, file string) (string, error) {
	if file == "" {
		return string(given), nil
	}
	text, err := namedfile.Read(file, namedfile.Small)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("--%s: %s is empty", flag, file)
	}
	return password, nil
}
