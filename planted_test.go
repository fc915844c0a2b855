package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// secrets are words of which each stands in one place.
type secrets struct {
	mu     sync.Mutex
	places []string
}

// in returns the text with a secret of its own for SECRET; the text names the place.
func (s *secrets) in(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places = append(s.places, text)
	return strings.ReplaceAll(text, "SECRET", fmt.Sprintf("%s%02dz", planted, len(s.places)-1))
}

// find returns the places whose secrets stand in text, also in escaped forms.
func (s *secrets) find(text string) (found []string) {
	for _, word := range regexp.MustCompile(`(?i)`+planted+`(\d\d)z`).FindAllStringSubmatch(text,
		-1) {
		n, _ := strconv.Atoi(word[1]) // fmt.Sscan would read 08 as 0
		found = append(found, s.places[n])
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// The forms of an address with a password that people write, right and wrong.
var (
	postgresForms = []string{
		"postgres://lab:SECRET@127.0.0.1:1/shop",
		"postgresql://lab@127.0.0.1:1/shop?password=SECRET",
		"postgres://lab:a@SECRET@127.0.0.1:1/shop", "postgres://lab:a/SECRET@127.0.0.1:1/shop",
		"postgres://lab:a?SECRET@127.0.0.1:1/shop", "postgres://lab:a#SECRET@127.0.0.1:1/shop",
		"postgres://lab:%zzSECRET@127.0.0.1:1/shop", "postgres://lab:SECRET@127.0.0.1:x/shop",
		"postgres://127.0.0.1:1/shop?sslmode=x&sslpassword=SECRET",
		"host=127.0.0.1 port=1 user=lab password=SECRET", "host=127.0.0.1 password='a SECRET",
		"host=127.0.0.1 port=1 password = 'a\\' SECRET'", "lab:SECRET@127.0.0.1/shop",
	}
	mongoForms = []string{
		"mongodb://lab:SECRET@127.0.0.1:1/", "mongodb://lab:a/SECRET@127.0.0.1:1/",
		"mongodb://lab:a@SECRET@127.0.0.1:1/", "mongodb://lab:%zzSECRET@127.0.0.1:1/",
		"mongodb://lab:SECRET@127.0.0.1:x/", "mongodb+srv://lab:SECRET@127.0.0.1:1/",
		"mongodb://127.0.0.1:1/?tls=true&tlsCertificateKeyFile=/no&" +
			"tlsCertificateKeyFilePassword=SECRET",
		"mongodb://lab:SECRET@127.0.0.1:1/?authMechanism=x", "mongo://lab:SECRET@127.0.0.1:1/",
		"mongodb://lab@127.0.0.1:1/?authMechanism=MONGODB-AWS&" +
			"authMechanismProperties=AWS_SESSION_TOKEN:SECRET",
	}
	settingForms = map[string]string{
		"CDC_KAFKA_BROKERS": "lab:SECRET@127.0.0.1:1", "CDC_CONSUMER_KAFKA_PASSWORD": "SECRET",
		"CDC_CONSUMER_MONGO_PASSWORD": "SECRET",
		"CDC_CONSUMER_MONGO_URI":      "mongodb://lab:SECRET@127.0.0.1:1/",
		"CDC_MONGO_URI":               "mongodb://lab:SECRET@127.0.0.1:1/",
		"CDC_POSTGRES_DSN":            "postgres://lab:SECRET@127.0.0.1:1/shop",
		"OTEL_EXPORTER_OTLP_HEADERS":  "authorization=Bearer%20SECRET,x-key=SECRET",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1/?token=SECRET",
		"CDC_PROMETHEUS_URL":          "http://lab:SECRET@127.0.0.1:1/SECRET",
		"K6_PROMETHEUS_RW_PASSWORD":   "SECRET", "K6_INFLUXDB_PASSWORD": "SECRET",
		"K6_PROMETHEUS_RW_SERVER_URL": "http://lab:SECRET@127.0.0.1:1/SECRET",
		"K6_OTEL_HEADERS":             "authorization=SECRET",
		"HTTPS_PROXY":                 "http://lab:SECRET@127.0.0.1:1",
		"PGPASSWORD":                  "SECRET", "AWS_SECRET_ACCESS_KEY": "SECRET",
		"GIT_ASKPASS": "SECRET", "K6_CLOUD_TOKEN": "SECRET",
	}
)

// program starts the lab as a person does, with the secrets in its environment.
func program(t *testing.T, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Args[0] = "cdclab" // of TestMain
	c.Env = slices.Concat(os.Environ(), environment)
	return c
}

// TestNoSecretIsShown plants a secret in each of more than 40 places, variables, flags and forms of
// addresses, right and wrong. None may stand in an output, in a file of a run, or among the
// arguments of a program.
func TestNoSecretIsShown(t *testing.T) {
	t.Parallel()
	all := &secrets{}
	var environment []string
	for _, name := range slices.Sorted(maps.Keys(settingForms)) {
		environment = append(environment, all.in(name+"="+settingForms[name]))
	}
	t.Run("refused", func(t *testing.T) { refuseSecrets(t, all, environment) })
	t.Run("run", func(t *testing.T) { runWithSecrets(t, all, environment) })
	if len(all.places) < 40 {
		t.Errorf("secrets stand in %d places, want at least 40", len(all.places))
	}
}

// refuseSecrets runs commands that cannot work, because of a secret or with a secret.
func refuseSecrets(t *testing.T, all *secrets, environment []string) {
	for _, form := range postgresForms {
		refuse(t, all, nil, "check", "--mongo", "mongodb://127.0.0.1:1", "--postgres", all.in(form))
	}
	for _, form := range mongoForms {
		refuse(t, all, nil, "replay", os.DevNull, "--mongo", all.in(form))
		refuse(t, all, []string{"CDC_MONGO_URI=" + all.in(form)}, "check", "--postgres",
			"postgres://127.0.0.1:1/shop")
	}
	for _, args := range [][]string{{"dlq", "list"}, {"capture", "x"}, {"check"},
		{"bench", "--bogus"}, {"bench", "-h"}, {"bench", "smoke", "--stack", "external"},
		{"bench", "--env", all.in("SECRET")},
		{"bench", all.in("postgres://lab:SECRET@127.0.0.1/shop")},
		{"report", all.in("postgres://lab:SECRET@127.0.0.1/shop")},
		{"bench", "smoke", "--chaos", all.in("postgres://lab:SECRET@127.0.0.1/shop")},
		{"bench", all.in("postgres://lab:SECRET@127.0.0.1/shop"), "--json"},
		{"bench", "smoke", "--json", "--chaos", all.in("postgres://lab:SECRET@127.0.0.1/shop")},
		{"bench", "suite", "--out", t.TempDir(), "--scenarios",
			all.in("postgres://lab:SECRET@127.0.0.1/shop")},
		{"bench", "smoke", "--options", all.in(`{"mongo": "mongodb://lab:SECRET@127.0.0.1:1/"`)},
		{"bench", "smoke", "--prometheus", all.in("lab:SECRET@127.0.0.1")},
		{"bench", "sink-peer", "--set", all.in("connection.uri mongodb://lab:SECRET@127.0.0.1")},
	} {
		refuse(t, all, environment, args...)
	}
}

// refuse runs a command that cannot work, and looks for secrets in its output.
func refuse(t *testing.T, all *secrets, environment []string, args ...string) {
	t.Helper()
	text, err := program(t, environment, args...).CombinedOutput()
	if found := all.find(string(text)); found != nil || len(text) == 0 {
		t.Errorf("cdclab %s (%v) shows what stands in %q:\n%s", args, err, found, text)
	}
}

// runWithSecrets measures with secrets in the environment and in flags, and looks for secrets in
// the arguments of all programs meanwhile and in all files afterwards.
func runWithSecrets(t *testing.T, all *secrets, environment []string) {
	if testing.Short() {
		t.Skip("a run of 25 s; left out by -short")
	}
	out := t.TempDir()
	bench := program(t, environment, "bench", "smoke", "--duration", "5s", "--warmup", "1s",
		"--out",
		out, "--keep", "--env", all.in("TOKEN=SECRET"), "--prometheus",
		all.in("http://lab:SECRET@127.0.0.1:1/?token=SECRET"))
	var text bytes.Buffer
	bench.Stdout, bench.Stderr = &text, &text
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { watchArguments(ctx, t, all, int32(bench.Process.Pid)) })
	err := bench.Wait()
	cancel()
	watch.Wait()
	if code := bench.ProcessState.ExitCode(); code < 0 || code == exitCouldNotRun {
		t.Fatalf("%v: %s", err, text.String())
	}
	if found := all.find(text.String()); found != nil {
		t.Errorf("the output shows what stands in %q:\n%s", found, text.String())
	}
	kept := regexp.MustCompile(`(?m)^kept: (/\S+/stack-\d+)$`).FindStringSubmatch(text.String())
	if kept == nil {
		t.Fatalf("the run did not say where it kept its data:\n%s", text.String())
	}
	defer os.RemoveAll(kept[1])
	seen := 0
	for _, folder := range []string{out, kept[1]} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if found := all.find(string(content)); found != nil {
				t.Errorf("%s holds what stands in %q", path, found)
			}
			seen++
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 10 {
		t.Errorf("%d files were read: this test looks at the wrong thing", seen)
	}
}

// mayHave are the variables with secrets of each program: its own, and for a tool of Go how to
// fetch modules. Every other program has none.
var mayHave = func() map[string]*regexp.Regexp {
	tool := regexp.MustCompile(`^(GIT_ASKPASS|HTTPS_PROXY)=`)
	all := map[string]*regexp.Regexp{"k6": regexp.MustCompile(`^(K6_|OTEL_|TOKEN=|HTTPS_PROXY=)`),
		"consumer": regexp.MustCompile(`^(OTEL_|CDC_CONSUMER_)`)}
	for _, name := range []string{"go", "compile", "link", "cgo", "asm", "vet", "git"} {
		all[name] = tool
	}
	return all
}()

// watchArguments looks at the arguments and variables of all descendants of a process until ctx
// ends.
func watchArguments(ctx context.Context, t *testing.T, all *secrets, pid int32) {
	programs, reported, own := map[string]bool{}, map[string]bool{}, ""
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(programs) < 4 {
				t.Errorf("only %v were seen", slices.Sorted(maps.Keys(programs)))
			}
			return
		case <-tick.C:
		}
		for next := []int32{pid}; len(next) > 0; next = next[1:] {
			p := &process.Process{Pid: next[0]}
			if children, err := p.Children(); err == nil {
				for _, child := range children {
					next = append(next, child.Pid)
				}
			}
			line, err := p.Cmdline()
			if own == "" {
				own = line
			}
			if err != nil || line == own {
				continue // the person's own, which a fork has until its exec
			}
			name, _, _ := strings.Cut(line, " ")
			programs[filepath.Base(name)] = true
			if found := all.find(line); found != nil {
				t.Errorf("arguments hold what stands in %q: %s", found, line)
			}
			variables, _ := p.Environ()
			if now, err := p.Cmdline(); err != nil || now != line {
				continue // in the middle of its exec: line and variables are of two programs
			}
			found := slices.DeleteFunc(all.find(strings.Join(variables, "\n")),
				func(place string) bool {
					may := mayHave[filepath.Base(name)]
					return may != nil && may.MatchString(place)
				})
			if len(found) > 0 && !reported[name] {
				reported[name] = true
				t.Errorf("the environment of %s holds what stands in %q", name, found)
			}
		}
	}
}
