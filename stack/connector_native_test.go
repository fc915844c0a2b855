package stack

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProfiles: every profile can be read, and the README gives a reason for every setting of the
// recommended one.
func TestProfiles(t *testing.T) {
	t.Parallel()
	profiles := map[string]map[string]string{}
	for _, name := range Profiles() {
		config, err := readProfile(name)
		if err != nil || config["connector.class"] != debeziumClass ||
			config["slot.name"] != slotName {
			t.Errorf("%s: %v, %v", name, config, err)
		}
		profiles[name] = config
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for key := range profiles[TunedProfile] {
		if !strings.Contains(string(readme), "`"+key+"`") {
			t.Errorf("README.md does not say why %s is what it is", key)
		}
	}
	for name, differs := range map[string]map[string]string{
		"tuned-schemas": {"key.converter.schemas.enable": "true",
			"value.converter.schemas.enable": "true"},
		WhenNeededProfile: {"snapshot.mode": "when_needed"},
	} {
		want := maps.Clone(profiles[TunedProfile])
		maps.Copy(want, differs)
		if diff := cmp.Diff(want, profiles[name]); diff != "" {
			t.Errorf("%s differs from %s in more than %v:\n%s", name, TunedProfile, differs, diff)
		}
	}
	want := `no profile "fast" of Debezium, want one of debezium-defaults, tuned`
	if _, err := readProfile("fast"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("an unknown profile: %v", err)
	}
}
