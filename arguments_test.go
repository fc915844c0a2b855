package main

import (
	"bytes"
	"context"
	"flag"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cdclab/cdclab/shown"
)

// planted stands for a secret; no output, file or argument may hold the word.
const planted = "gEhe1m"

// variablesWithSecrets hold an address or a secret for the lab, the consumer and their libraries.
var variablesWithSecrets = map[string]string{
	"CDC_POSTGRES_DSN":               "postgres://lab:" + planted + "@127.0.0.1:1/shop",
	"CDC_MONGO_URI":                  "mongodb://lab:" + planted + "@127.0.0.1:1/",
	"CDCLAB_MONGO_URI":               "mongodb://lab:" + planted + "@127.0.0.1:1/?authSource=admin",
	"CDC_MONGO_DATABASE":             "lab:" + planted + "@cdc",
	"CDC_KAFKA_BROKERS":              "lab:" + planted + "@127.0.0.1:1",
	"CDC_OPTIONS":                    `{"mongo": "mongodb://lab:` + planted + `@127.0.0.1:1"`,
	"CDC_PROMETHEUS_URL":             "http://lab:" + planted + "@127.0.0.1:1",
	"CDC_GRAFANA_URL":                "http://lab:" + planted + "@127.0.0.1:1",
	"CDC_GRAFANA_TOKEN":              planted,
	"CDCLAB_POSTGRES_DIR":            "/nowhere?password=" + planted,
	"CDC_CONSUMER_KAFKA_PASSWORD":    planted,
	"CDC_CONSUMER_MONGO_PASSWORD":    planted,
	"CDC_CONSUMER_MONGO_URI":         "mongodb://lab:" + planted + "@127.0.0.1:1/",
	"OTEL_EXPORTER_OTLP_HEADERS":     "authorization=Bearer%20" + planted,
	"OTEL_EXPORTER_OTLP_ENDPOINT":    "http://127.0.0.1:1/?token=" + planted,
	"K6_OUT":                         "influxdb=http://lab:" + planted + "@127.0.0.1:1/k6",
	"K6_PROMETHEUS_RW_PASSWORD":      planted,
	"HTTPS_PROXY":                    "http://lab:" + planted + "@127.0.0.1:1",
	"CDC_CONSUMER_DEAD_LETTER_TOPIC": "cdc.dead-letter?password=" + planted,
}

// TestHelpShowsNoVariable: no help and no error about arguments prints a variable.
func TestHelpShowsNoVariable(t *testing.T) {
	for name, value := range variablesWithSecrets {
		t.Setenv(name, value)
	}
	for _, c := range commands() {
		for _, arguments := range []string{
			"-h", "--help", "--bogus", "--bogus=" + planted, "--=" + planted, "-p/" + planted,
			"--env " + planted + " --bogus", "--env =" + planted + " --bogus",
			"a b c postgres://lab:" + planted + "@db/shop --bogus", "sink-peer --bogus",
			"sink-peer --set " + planted,
		} {
			var text bytes.Buffer
			args := append([]string{c.name}, strings.Fields(arguments)...)
			code := run(t.Context(), args, terminal{&text, &text})
			if strings.Contains(text.String(), planted) || text.Len() == 0 {
				t.Errorf("cdclab %s, exit %d, prints %q", args, code, text.String())
			}
		}
	}
}

// secretValues are forms of secrets that people give to a flag, meant or by accident: one in an
// escaped form has the escaped word, too.
var secretValues = []string{
	"postgres://lab:" + planted + "@db:5432/shop", "postgres://lab:g%45he1m@db/shop",
	"postgres://lab:" + planted + "@one:1,two:2/shop", "postgres://one,lab:" + planted +
		"@two/shop",
	"postgres://" + planted + "@db/shop", "postgres://db/shop?password=" + planted,
	"postgres://db/shop?passfile=/home/" + planted, "postgres://db/shop?sslpassword=" + planted,
	"host=db password=" + planted, "host=db password = 'a b " + planted + "'",
	`host=db password='it\'s ` + planted + `' port=1`, "host=one,two port=1,2 password=" + planted,
	"host=db passfile=/home/" + planted, "host=db sslpassword=" + planted,
	"PASSWORD=" + planted, "user=lab;password=" + planted, "lab:" + planted + "@db:9092",
	"mongodb://lab:" + planted + "@one,two/?replicaSet=rs0", "mongodb+srv://lab:" + planted +
		"@one/",
	"mongodb://one/?authMechanismProperties=AWS_SESSION_TOKEN:" + planted,
	"mongodb://one/?tlsCertificateKeyFilePassword=" + planted,
	`sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required ` +
		`username="lab" password="` + planted + `";`,
	`org.apache.kafka.common.security.scram.ScramLoginModule required username="lab" password="` +
		planted + `";`,
	"https://" + planted + "@one/", "https://lab:" + planted + "@one/", "https://one/?token=" +
		planted,
	"https://one/#access_token=" + planted, "http://one/?a=b&key=" + planted + "#c",
	"https://one/" + planted, "HTTPS://lab:" + planted + "@one/", "https:/lab:" + planted + "@one",
	"Authorization: Bearer a=" + planted, "authorization=Basic " + planted, "x-api-key=" + planted,
	`{"password": "` + planted + `"}`, "a@\n" + planted, "a=\t" + planted + "\x1b",
}

// showsSecret is true if the text has the planted word in any form.
func showsSecret(text string) bool {
	for _, form := range []string{planted, "g%45he1m", "g%2545he1m"} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
			return true
		}
	}
	return false
}

// TestNoFlagShowsASecret: each form of a secret stands in each flag of each command. The flag is
// known or misspelt, in one argument or two, or behind --. No error, usage, JSON or stored command
// shows the secret.
func TestNoFlagShowsASecret(t *testing.T) {
	t.Parallel()
	lines := 0
	try := func(args ...string) {
		var text bytes.Buffer
		code := run(t.Context(), args, terminal{&text, &text})
		if lines++; showsSecret(text.String()) || text.Len() == 0 || code != exitCouldNotRun {
			t.Errorf("cdclab %q, exit %d, prints %q", args, code, text.String())
		}
		if kept := strings.Join(shown.Command(args), " "); showsSecret(kept) {
			t.Errorf("cdclab %q is kept as %s", args, kept)
		}
	}
	flagLine := regexp.MustCompile(`(?m)^  -([a-z0-9-]+)`)
	for _, value := range secretValues {
		try(value)
		try("--"+value, "bench")
	}
	for _, c := range commands() {
		var help bytes.Buffer
		run(t.Context(), []string{c.name, "-h"}, terminal{&help, &help})
		found := append(flagLine.FindAllStringSubmatch(help.String(), -1), []string{"", "bogus"})
		for _, value := range secretValues {
			for _, name := range found {
				flag := "--" + name[1]
				try(c.name, flag+"="+value, "--bogus")
				try(c.name, flag, value, "--bogus")
				try(c.name, flag+"x="+value)
				try(c.name, flag+"x", value)
				try(c.name, flag+" "+value)
			}
			try(c.name, "--json", "--bogus="+value)
			try(c.name, "--bogus", "--", "--postgres", value)
		}
	}
	if lines < 10_000 {
		t.Errorf("%d lines were tried: this test looks at the wrong thing", lines)
	}
}

// TestTooManyArguments: an argument in a wrong place is shown as far as it is known to be harmless.
func TestTooManyArguments(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	code := run(t.Context(), []string{"check", "smoke", "postgres://lab:" + planted + "@db/shop",
		"password=" + planted}, terminal{&text, &text})
	const want = `cdclab check: got 3 arguments ["smoke" "xxxxx" "xxxxx"], want 0 to 0` + "\n"
	if text.String() != want || code != exitCouldNotRun {
		t.Errorf("exit %d, prints %q, want %q", code, text.String(), want)
	}
}

// TestVariablesOfFlags: a variable counts where its flag is not given.
func TestVariablesOfFlags(t *testing.T) {
	t.Setenv("CDC_MONGO_URI", "mongodb://one")
	t.Setenv("CDC_POSTGRES_DSN", "postgres://one")
	set := flags("check", terminal{})
	mongo := set.String("mongo", "", "(env CDC_MONGO_URI)")
	postgres := set.String("postgres", "", "(env CDC_POSTGRES_DSN; default: none)")
	number := set.Int("number", 7, "(env CDC_NUMBER)")
	if _, err := parse(set, []string{"--postgres", "two"}, 0, 0); err != nil {
		t.Fatal(err)
	}
	given := 0
	set.Visit(func(*flag.Flag) { given++ })
	if given != 1 {
		t.Errorf("%d flags count as given, want the one among the arguments", given)
	}
	if *mongo != "mongodb://one" || *postgres != "two" || *number != 7 {
		t.Errorf("mongo %q, postgres %q, number %d", *mongo, *postgres, *number)
	}
	t.Setenv("CDC_NUMBER", planted)
	if _, err := parse(set, nil, 0, 0); err == nil ||
		err.Error() != "read CDC_NUMBER: want what --number takes" {
		t.Errorf("a wrong variable: %v", err)
	}
}

// TestEmptyValues: an empty value, as a shell makes one of a variable that is not set, is no flag's
// default, and no file's name.
func TestEmptyValues(t *testing.T) {
	t.Parallel()
	flagLine := regexp.MustCompile(`(?m)^  -([a-z0-9-]+)`)
	seen := 0
	ctx, end := context.WithCancel(t.Context())
	end() // nothing is to be started
	commands := slices.Concat(commands(), []command{{name: "bench " + sinkPeer}})
	for _, c := range commands {
		var help bytes.Buffer
		words := strings.Fields(c.name)
		run(t.Context(), slices.Concat(words, []string{"-h"}), terminal{&help, &help})
		for _, name := range flagLine.FindAllStringSubmatch(help.String(), -1) {
			var text bytes.Buffer
			args := slices.Concat(words, []string{"--" + name[1] + "="})
			code := run(ctx, args, terminal{&text, &text})
			if seen++; code != exitCouldNotRun || !strings.Contains(text.String(),
				name[1]+": must not be empty") {
				t.Errorf("cdclab %s: exit %d, %s", args, code, text.String())
			}
		}
		if c.name == "compose" {
			continue // the arguments are Compose's
		}
		var text bytes.Buffer
		code := run(ctx, append(words, ""), terminal{&text, &text})
		if code != exitCouldNotRun || !strings.Contains(text.String(), "argument 1 is empty") {
			t.Errorf("cdclab %s '': exit %d, %s", c.name, code, text.String())
		}
	}
	if seen < 60 {
		t.Errorf("%d flags were found: this test looks at the wrong thing", seen)
	}
}

// TestHelpOfACommand: the help of a command says what the command does and takes, beside the flags.
func TestHelpOfACommand(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		if c.name == "compose" {
			continue // the arguments are Compose's
		}
		var help bytes.Buffer
		code := run(t.Context(), []string{c.name, "-h"}, terminal{&help, &help})
		want := "cdclab " + c.name + " " + c.arguments + "\n        " + c.does + "\n"
		if code != exitPass || !strings.Contains(help.String(), want) {
			t.Errorf("%s -h: exit %d, prints %s\nwant %s", c.name, code, help.String(), want)
		}
	}
}

// TestFlagsAreClassified: of every flag of every command it is known whether a run may keep the
// value, because the command of a run hides unknown flags.
func TestFlagsAreClassified(t *testing.T) {
	t.Parallel()
	flagLine := regexp.MustCompile(`(?m)^  -([a-z0-9-]+)`)
	seen := 0
	for _, command := range [][]string{{"bench"}, {"bench", sinkPeer}, {"up"}, {"check"},
		{"replay"}, {"capture"}, {"dlq"}, {"merge"}, {"report"}, {"compare"}, {"baseline"},
		{"fetch"}, {"compose"}, {"gate"}, {"trend"}, {"comment"}, {"history"}, {"annotate"},
		{"chaos", "random"}, {"chaos", "matrix"}, {"chaos", "list"}, {"chaos", "export"},
		{"gameday"}} {
		var text bytes.Buffer
		run(t.Context(), append(command, "-h"), terminal{&text, &text})
		for _, name := range flagLine.FindAllStringSubmatch(text.String(), -1) {
			if seen++; !shown.IsKnown(name[1]) {
				t.Errorf("%s: package shown does not know --%s", command, name[1])
			}
		}
	}
	if seen < 60 {
		t.Errorf("%d flags were found: this test looks at the wrong thing", seen)
	}
}
