package mongodb

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/stack/process"
	"github.com/cdclab/cdclab/stack/programs"
)

// TestArguments: what a mongod and a stand-in are started with, also where the program itself is
// not there: a login that is asked for, loopback alone, no socket in a folder of all users.
func TestArguments(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{programs.Mongod, programs.SecantusRS, programs.SecantusPy} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			folder, err := process.NewFolder()
			if err != nil {
				t.Fatal(err)
			}
			defer folder.Close(false)
			m, err := New(folder, programs.MongoProgram{Kind: kind, Path: kind},
				Options{Login: true})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close(t.Context())
			var before []string
			for range 2 { // the second start is over the first one's data
				flags, err := m.loginFlags()
				if err != nil {
					t.Fatal(err)
				}
				args, err := m.arguments(folder.File("data"), m.address, flags)
				if err != nil {
					t.Fatal(err)
				}
				if before != nil && !slices.Equal(args, before) {
					t.Errorf("the second start has %q, the first %q", args, before)
				}
				before = args
				wantArguments(t, kind, args, m.login.password)
			}
		})
	}
}

func wantArguments(t *testing.T, kind string, args []string, password string) {
	t.Helper()
	after := func(flag string) string {
		if at := slices.Index(args, flag); at >= 0 && at+1 < len(args) {
			return args[at+1]
		}
		return ""
	}
	if strings.Contains(strings.Join(args, " "), password) {
		t.Errorf("the arguments hold the password: %q", args)
	}
	if !slices.Contains(args, "--auth") {
		t.Errorf("%q ask for no login", args)
	}
	if host := after("--host") + after("--bind_ip"); host != "127.0.0.1" {
		t.Errorf("%q listen at %q", args, host)
	}
	if kind != programs.Mongod {
		return
	}
	if after("--replSet") != replicaSet || !slices.Contains(args, "--nounixsocket") {
		t.Errorf("%q are no replica set without a socket", args)
	}
	key := after("--keyFile")
	info, err := os.Lstat(key)
	if err != nil {
		t.Fatal(err)
	}
	// mongod refuses a key that others may read, and takes 6 to 1024 characters of base64.
	text, err := os.ReadFile(key)
	if err != nil || info.Mode() != 0o600 ||
		len(text) < 40 || len(text) > 1024 || !regexp.MustCompile(`^[A-Za-z0-9+/=]*$`).Match(text) {
		t.Errorf("the key is %v of %d bytes, %v", info.Mode(), len(text), err)
	}
}
