package compose

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreMadeOnce(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "secrets")
	made, err := MakeSecrets(folder)
	if err != nil {
		t.Fatal(err)
	}
	harmless := regexp.MustCompile(`^[A-Z0-9]{32}$`) // in SQL, shells and addresses
	seen := map[string]bool{}
	for name, secret := range made {
		if !harmless.MatchString(secret) || seen[secret] {
			t.Errorf("%s is not a secret of its own of 32 letters and digits", name)
		}
		seen[secret] = true
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v (%v)", info.Mode(), err)
	}
	again, err := MakeSecrets(folder)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(made, again); d != "" {
		t.Error("a second time the secrets are others")
	}
	text, err := os.ReadFile(filepath.Join(folder, "k6.env"))
	for _, part := range []string{made[generatorPassword] + "@postgres:5432/lab",
		made[mongoPassword] + "@mongo:27017/"} {
		if err != nil || !strings.Contains(string(text), part) {
			t.Errorf("k6.env does not hold %s (%v)", part, err)
		}
	}
	text, err = os.ReadFile(filepath.Join(folder, "mongodb-exporter.env"))
	if err != nil || !strings.Contains(string(text), "MONGODB_URI=mongodb://cdclab:"+
		made[mongoPassword]+"@mongo:27017/") {
		t.Errorf("mongodb-exporter.env holds %q (%v)", text, err)
	}
	for name := range channels {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("of a person"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := MakeSecrets(folder); err != nil {
		t.Fatal(err)
	}
	for name := range channels {
		if text, err := os.ReadFile(filepath.Join(folder, name)); string(text) != "of a person" {
			t.Errorf("%s was written over: %q (%v)", name, text, err)
		}
	}
	if err := os.Remove(filepath.Join(folder, kafkaPassword)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, kafkaPassword), []byte("\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	_, err = MakeSecrets(folder)
	wantError(t, err, "kafka_password is empty")
}
