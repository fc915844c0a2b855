package pg

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// An address leads statements to no other schema, role or rule, whatever form the setting has.
func TestAddressesThatLeadElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services")
	text := "[plain]\nhost=db.example.org\ndbname=shop\n" +
		"[lead]\nhost=db.example.org\ndbname=shop\nsearch_path=other\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const good = "postgres://lab:geheim@db.example.org:5432/shop"
	for address, refused := range map[string]bool{
		good:                      false,
		good + "?sslmode=require": false,
		good + "?sslmode=disable&application_name=lab&statement_timeout=1000": false,
		// A password of such words is refused as well.
		"host=db.example.org user=lab password='a service = b' dbname=shop": true,
		"host=db.example.org user=lab password=geheim dbname=shop":          false,
		good + "?search_path=other":                                         true,
		good + "?search%5Fpath=other":                                       true,
		good + "?SEARCH_PATH=other":                                         true,
		good + "?options=-csearch_path%3Dother":                             true,
		good + "?options=--search-path%3Dother":                             true,
		good + "?options=":                                                  true,
		good + "?role=other":                                                true,
		good + "?session_replication_role=replica":                          true,
		good + "?session_authorization=postgres":                            true,
		good + "?replication=database":                                      true,
		good + "?default_transaction_read_only=off":                         true,
		good + "?service=plain&servicefile=" + file:                         true,
		good + "?service=lead&servicefile=" + file:                          true,
		good + "?servicefile=" + file:                                       true,
		"host=db.example.org dbname=shop search_path=other":                 true,
		"host=db.example.org dbname=shop options='-c search_path=other'":    true,
		"service=lead servicefile=" + file:                                  true,
		"service = plain servicefile=" + file:                               true,
	} {
		config, err := Parse(address)
		if err == nil {
			err = FixSchema(&config.Config, address)
		}
		if (err != nil) != refused || refused && err != nil && !errors.Is(err, ErrSetting) {
			t.Errorf("%s: %v, want refused %v", address, err, refused)
		}
	}
}

// What the shell says counts no less: a plain k6 keeps the variables.
func TestVariablesThatLeadElsewhere(t *testing.T) {
	const address = "postgres://lab@db.example.org/shop"
	for name, value := range map[string]string{
		"PGOPTIONS": "-c search_path=other", "PGSERVICE": "lead",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "services")
			if err := os.WriteFile(file, []byte("[lead]\nsearch_path=other\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PGSERVICEFILE", file)
			t.Setenv(name, value)
			config, err := Parse(address)
			if err == nil {
				err = FixSchema(&config.Config, address)
			}
			if !errors.Is(err, ErrSetting) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		})
	}
}
