package shown

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestWriterEscapes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"pass\ttwo\nlines, größer, 表\n", "pass\ttwo\nlines, größer, 表\n"},
		{"\x1b[2J\x1b]0;title\a", `\u001b[2J\u001b]0;title\u0007`},
		{"fail\rpass\b\x00\x7f", `fail\u000dpass\u0008\u0000\u007f`},
		{"\u009b31m\u0085", `\u009b31m\u0085`},
		{"a\u202eb\u2066c\u2069\u200f\u061c", `a\u202eb\u2066c\u2069\u200f\u061c`},
		{"\u2028\u2029\ufeff\u00ad", `\u2028\u2029\ufeff\u00ad`},
		{"\U000e0041", `\udb40\udc41`},
		{"می\u200cخواهم \u200d", "می\u200cخواهم \u200d"},
		{"\x9b31m\xff\xc3", `\x9b31m\xff`}, // \xc3 may be the beginning of a letter
	} {
		var got bytes.Buffer
		w := &Writer{To: &got}
		if n, err := w.Write([]byte(c.text)); n != len(c.text) || err != nil {
			t.Errorf("%q: wrote %d, %v", c.text, n, err)
		}
		if got.String() != c.want {
			t.Errorf("%q is shown as %q, want %q", c.text, got.String(), c.want)
		}
	}
	if got := Line("FAIL\nPASS\t1"); got != `FAIL\u000aPASS\u00091` {
		t.Errorf("a line with two lines is %q", got)
	}
}

// TestWriterOfParts: whatever comes, in whatever parts, nothing on the screen moves the screen, and
// JSON keeps its meaning.
func TestWriterOfParts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "isText") {
			text = []byte(rapid.String().Draw(t, "text"))
		}
		var got, whole bytes.Buffer
		parts := &Writer{To: &got}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			if wrote, err := parts.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		(&Writer{To: &whole}).Write(text)
		if got.String() != whole.String() {
			t.Fatalf("in parts %q, at once %q", got.String(), whole.String())
		}
		if !utf8.Valid(got.Bytes()) || strings.ContainsFunc(got.String(), func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' && r != '\t'
		}) {
			t.Fatalf("%q is shown as %q", text, got.String())
		}
		line, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		var shownLine bytes.Buffer
		(&Writer{To: &shownLine}).Write(line)
		if json.Unmarshal(line, &before) != nil ||
			json.Unmarshal(shownLine.Bytes(), &after) != nil || before != after {
			t.Fatalf("%s is shown as %s", line, shownLine.Bytes())
		}
	})
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ given, want string }{
		{"bench smoke --rate 300 --quiet --stack=native --out runs/a",
			"bench smoke --rate 300 --quiet --stack=native --out runs/a"},
		{"bench --postgres postgres://lab:geheim@db:5432/shop?sslmode=off -yes-write-to db/shop",
			"bench --postgres postgres://xxxxx@db:5432/shop?xxxxx -yes-write-to db/shop"},
		{"bench --env TOKEN=geheim --env=TOKEN=geheim smoke",
			"bench --env xxxxx --env=xxxxx smoke"},
		{`bench --options {"mongo":"geheim"} --set password=geheim`,
			"bench --options xxxxx --set xxxxx"},
		{"bench --bogus geheim --rate 1", "bench xxxxx xxxxx --rate 1"},
		{"bench --bogus=geheim -pgeheim postgres://lab:geheim@db", "bench xxxxx xxxxx xxxxx"},
		{"bench --kafka lab:geheim@one:9092,two:9092", "bench --kafka xxxxx"},
		{"bench --kafka one:9092,two:9092 --", "bench --kafka one:9092,two:9092 --"},
	} {
		given := strings.Fields(c.given)
		if got := strings.Join(Command(given), " "); got != c.want {
			t.Errorf("%s\nis kept as %s\nwant       %s", c.given, got, c.want)
		}
		if !slices.Equal(given, strings.Fields(c.given)) {
			t.Errorf("the arguments themselves are now %q", given)
		}
	}
}

// TestAddress: of an address without an odd sign the scheme, the hosts and the database are shown,
// and of others nothing.
func TestAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://one:9090/metrics,http://l:geheim@two:9090": "http://one:9090/metrics," +
			"http://xxxxx@two:9090",
		"postgres://db.example.org/shop":               "postgres://db.example.org/shop",
		"postgres://lab@db/shop":                       "postgres://xxxxx@db/shop",
		"postgres://lab:geheim@db,db2:5433/shop":       "postgres://xxxxx@db,db2:5433/shop",
		"postgres://db/shop?password=geheim":           "postgres://db/shop?xxxxx",
		"mongodb+srv://lab:geheim@one/?replicaSet=rs0": "mongodb+srv://xxxxx@one/?xxxxx",
		"mongodb://[::1]:27017,127.0.0.1:1/":           "mongodb://[::1]:27017,127.0.0.1:1/",
		"http://one:9090/":                             "http://one:9090/",
		"https://one/geheim":                           "https://one/xxxxx",
	} {
		if got := Address(address); got != want {
			t.Errorf("%s is shown as %s, want %s", address, got, want)
		}
	}
	for _, odd := range []string{
		"postgres://lab:ge@geheim@db/shop", "postgres://lab:ge/geheim@db/shop",
		"postgres://lab:ge?geheim@db/shop", "postgres://lab:ge#geheim@db/shop",
		"postgres://lab:geheim", "postgres://db/shop?password=a@geheim",
		"postgres://db/shop?user=lab&password=ge@geheim", "host=db password=geheim",
		`password='ge \' geheim' host=db`, "lab:geheim@db/shop", "geheim", "mongodb:/lab:geheim@x",
		"POSTGRES://lab:geheim@db", "http://one,http://lab:ge@geheim@two", "http://db/#geheim",
		"postgres://lab:ge heim@geheim/db", "postgres://lab:geheim\n@db/x", "",
	} {
		if got := Address(odd); got != Hidden {
			t.Errorf("%s is shown as %s, want nothing", odd, got)
		}
	}
}

func TestSetting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		isKept      bool
	}{
		{"RAISED", "7", true}, {"PAUSE", "1.5s", true}, {"WIDE", "true", true},
		{"SHAPE", "wide", false}, {"LONG", "1234567", false}, {"MY_PIN", "4711", false},
		{"CDC_CONSUMER_LOG_LEVEL", "debug", true},
		{"CDC_CONSUMER_TOPICS", `^cdc\.public\..*`, true},
		{"CDC_CONSUMER_BROKERS", "lab:geheim@one:9092", false},
		{"CDC_CONSUMER_KAFKA_PASSWORD", "7", false}, {"CDC_CONSUMER_MONGO_URI", "geheim", false},
		{"K6_OUT", "experimental-prometheus-rw", true}, {"K6_OUT", "influxdb=http://l:p@h", false},
		{"tracker", `"poll"`, true}, {"mongo", `"geheim"`, false},
	} {
		got := Setting(c.name, c.value)
		if (got == c.value) != c.isKept || !c.isKept && !strings.HasPrefix(got, "set (") {
			t.Errorf("%s=%s is kept as %s", c.name, c.value, got)
		}
	}
	if Setting("SHAPE", "wide") == Setting("SHAPE", "long") {
		t.Error("two values of a hidden setting look the same")
	}
}

// TestHide: an error quotes an argument as far as the argument is harmless, plain or in quotes.
func TestHide(t *testing.T) {
	t.Parallel()
	args := []string{"bench", "smoke", "postgres://lab:geheim@db/shop", "--env=A=ge heim",
		"--mongo", "mongodb://u:\tgeheim@db", "--rate", "5", "--options", ""}
	text := fmt.Sprintf("bench smoke at rate 5: no scenario %q; open %s: %s, %q", args[2], args[2],
		args[3], args[5])
	const want = `bench smoke at rate 5: no scenario "xxxxx"; open xxxxx: --env=xxxxx, "xxxxx"`
	if got := Hide(text, args); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestFlagsAreWhole: no name of a flag was broken at a hyphen when the list was filled in anew.
func TestFlagsAreWhole(t *testing.T) {
	t.Parallel()
	whole := regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	for _, name := range slices.Concat(harmlessFlags, addressFlags, withSecrets) {
		if !whole.MatchString(name) {
			t.Errorf("%q is no name of a flag", name)
		}
	}
	if !IsHarmless("session-timeout") || !IsHarmless("mongo-connect-timeout") {
		t.Error("a name at the end of a line is lost")
	}
}
