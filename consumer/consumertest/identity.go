package consumertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// identity is a certificate of 127.0.0.1, the signer's certificates, and the files of both.
type identity struct {
	Pair                     tls.Certificate
	Pool                     *x509.CertPool
	Ca, Cert, Key, Both, Not string // not is a file without a certificate
}

// NewIdentity makes the certificates of a server and of a signer.
func NewIdentity(t *testing.T) *identity {
	t.Helper()
	signer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	signerKey, ca, _ := certify(t, signer, signer, nil)
	_, text, private := certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: signer.NotBefore, NotAfter: signer.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}},
		signer, signerKey)
	i := &identity{Pool: x509.NewCertPool()}
	var err error
	if i.Pair, err = tls.X509KeyPair(text, private); err != nil {
		t.Fatal(err)
	}
	i.Pool.AppendCertsFromPEM(ca)
	folder := t.TempDir()
	for path, text := range map[*string][]byte{&i.Ca: ca, &i.Cert: text, &i.Key: private,
		&i.Both: slices.Concat(text, private), &i.Not: []byte("nothing")} {
		file, err := os.CreateTemp(folder, "*.pem")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		*path = file.Name()
	}
	return i
}

// certify makes a key and a certificate, both as PEM too. Without a signer's key the certificate is
// signed by its own key.
func certify(t *testing.T, about, signer *x509.Certificate,
	by *ecdsa.PrivateKey) (key *ecdsa.PrivateKey, cert, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, about, signer, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
