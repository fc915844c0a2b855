package shown

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hidden stands for every text that is not known to be harmless.
const Hidden = "xxxxx"

// harmlessFlags are the flags of the lab and of the consumer whose values no person keeps secret. A
// variable CDC_CONSUMER_BATCH_MAX counts as the flag batch-max.
var harmlessFlags = strings.Fields(`
	against alerts-faster all all-letters as base base-consumer batch-max branch brokers budget
	calibrate chaos commit commit-interval consumer consumers database days dead-letter-topic dir
	drain-timeout draw dry-run duplicate duplicates duration entity epoch events fetch-max-bytes
	follow format from group head head-consumer held-max-bytes id instance json k6 kafka kafka-sasl
	kafka-tls keep kinds ledger listen local-images log-level max metadata-max-age minutes mix
	mongo-connect-timeout mongo-database mongo-insecure-tls mongo-pool-max mongo-select-timeout
	mongo-timeout more-runs nesting-max no-validate observe out page parked-max parked-retry
	partitions postgres-dir postgres-port pprof profile prometheus-lag queue-max quiet rate
	record-max-bytes repository retry-max retry-min rounds rule runs save scenarios schemas seed
	seeds segment session-timeout settle shrink shuffle shutdown-timeout since slot specs
	specs-reload stack suite tables-max tasks tombstone-ttl tombstones topic topic-prefix
	topic-tables topics toxiproxy trace-ratio unattended until verbose warmup weeks yes-break
	yes-write-to yes-write-to-mongo zero-tolerance`)

// addressFlags are the flags of addresses: the scheme and the hosts may be shown.
var addressFlags = strings.Fields(
	`consumer-metrics github grafana mongo mongo-uri otlp-endpoint postgres prometheus ` +
		`report-link`)

// harmlessNames are further variables and options of the generator.
var harmlessNames = strings.Fields(`K6_OUT OTEL_SERVICE_NAME OTEL_TRACES_SAMPLER
	choice entities mix tracker timeout statementTimeout abortAfter`)

// harmlessPages are the pages of the lab's own programs.
var harmlessPages = []string{"", "/", "/metrics", "/healthz", "/readyz"}

var (
	// plain has no sign that separates a user from a password, a name from a value, or a query.
	plain = regexp.MustCompile(`^[\w.,:/^*+$|()\[\] \\{}"%~-]*$`)
	// measure is a short number, a length of time or a truth.
	measure = regexp.MustCompile(`^(-?\d[\d.]{0,5}(ns|us|ms|s|m|h)?|true|false)$`)
	// oneAddress is a URL without a second @ and with nothing odd in any part; $1 is the scheme, $2
	// a user with or without a password, $3 the hosts, $4 the path, $5 the query.
	oneAddress = regexp.MustCompile(`^([a-z][a-z0-9+]*://)([^@/?#\s]*@)?` +
		`((?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?` +
		`(?:,(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)*)(/[\w.-]*)?(\?[^@\s]*)?$`)
	oneFlag = regexp.MustCompile(`^--?([a-z][a-z0-9-]*)(?:(=)((?s).*))?$`)
	// named is a secret beside its name, as in JSON.
	named  = regexp.MustCompile(`(?i)(pass|secret|token|key|credential|auth)[\w-]*"?\s*:`)
	secret = regexp.MustCompile(`(?i)pass|secret|token|key|pin|credential|auth|header|cookie`)
)

// IsHarmless is true for a flag whose value may be shown.
func IsHarmless(flag string) bool { return slices.Contains(harmlessFlags, flag) }

// Command returns the arguments of a command for a run to keep: names of known flags, and values
// that are known to be harmless.
func Command(args []string) []string {
	kept := make([]string, len(args))
	of := "" // the flag whose value comes next
	for i, arg := range args {
		flag := oneFlag.FindStringSubmatch(arg)
		switch {
		case of != "":
			kept[i], of = flagValue(of, arg), ""
		case flag == nil:
			kept[i] = plainOrHidden(arg)
		case !IsKnown(flag[1]):
			kept[i] = Hidden
			if flag[2] == "" {
				of = flag[1]
			}
		case flag[2] != "":
			kept[i] = strings.TrimSuffix(arg, flag[3]) + flagValue(flag[1], flag[3])
		default:
			kept[i] = arg
			if !IsHarmless(flag[1]) {
				of = flag[1]
			}
		}
	}
	return kept
}

// isValue is true if the next argument is the value of a flag that is not harmless.
func isValue(before []string) bool {
	if len(before) == 0 {
		return false
	}
	flag := oneFlag.FindStringSubmatch(before[len(before)-1])
	return flag != nil && flag[2] == "" && !IsHarmless(flag[1])
}

// shortest is how many bytes an argument has for Hide: the text may hold a shorter one by chance.
const shortest = 6

// Hide returns a text, such as an error, that quotes no argument but as far as Command keeps the
// argument.
func Hide(text string, args []string) string {
	for i, kept := range Command(args) {
		arg := args[i]
		// An odd name of a file is no secret.
		if arg == kept || !isValue(args[:i]) && !strings.ContainsAny(arg, "@=") &&
			!strings.Contains(arg, "://") && !named.MatchString(arg) {
			continue
		}
		if flag := oneFlag.FindStringSubmatch(arg); flag != nil && flag[2] != "" && flag[3] != "" {
			_, kept, _ = strings.Cut(kept, "=")
			arg = flag[3]
			kept = cmp.Or(kept, Hidden)
		}
		if len(arg) >= shortest {
			quoted := strconv.Quote(arg)
			text = strings.NewReplacer(arg, kept, quoted[1:len(quoted)-1], kept).Replace(text)
		}
	}
	return text
}

// withSecrets are flags with values that are never shown, and whose names are.
var withSecrets = strings.Fields("env options set")

// IsKnown is true for a flag that Command keeps by name.
func IsKnown(flag string) bool {
	return IsHarmless(flag) || slices.Contains(addressFlags, flag) ||
		slices.Contains(withSecrets, flag)
}

// flagValue returns the value of a flag as far as the value is known to be harmless.
func flagValue(flag, value string) string {
	switch {
	case IsHarmless(flag):
		return plainOrHidden(value)
	case slices.Contains(addressFlags, flag):
		return Address(value)
	}
	return Hidden
}

func plainOrHidden(text string) string {
	if plain.MatchString(text) && !strings.Contains(text, "://") && !named.MatchString(text) {
		return text
	}
	return Hidden
}

// Setting returns the value of a variable or an option for a run to keep. The value of an unknown
// name is kept where it is a short number, a length of time or a truth. All others become "set" and
// 16 bits of a digest: two runs with different values are told apart, and 16 bits identify no
// secret.
func Setting(name, value string) string {
	flag, isConsumers := strings.CutPrefix(name, "CDC_CONSUMER_")
	flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
	isHarmless := isConsumers && IsHarmless(flag) ||
		slices.Contains(harmlessNames, name)
	switch {
	case isHarmless && plainOrHidden(value) == value:
		return value
	case measure.MatchString(value) && !secret.MatchString(name):
		return value
	}
	digest := sha256.Sum256([]byte(name + "=" + value))
	return fmt.Sprintf("set (%x)", digest[:2])
}

// Address returns the schemes and hosts of addresses with commas, and the path where the path names
// a database. An address in another form is hidden as a whole, because where its password ends is a
// guess.
func Address(addresses string) string {
	if one := shortAddress(addresses); one != Hidden {
		return one
	}
	var all []string
	for _, one := range strings.Split(addresses, ",") {
		if one = shortAddress(one); one == Hidden {
			return Hidden
		}
		all = append(all, one)
	}
	return strings.Join(all, ",")
}

func shortAddress(address string) string {
	part := oneAddress.FindStringSubmatch(address)
	if part == nil {
		return Hidden
	}
	scheme, user, hosts, path, query := part[1], part[2], part[3], part[4], part[5]
	if user != "" {
		user = Hidden + "@"
	}
	if strings.HasPrefix(scheme, "http") && !slices.Contains(harmlessPages, path) {
		path = "/" + Hidden // the path of a web page may be a key
	}
	if query != "" {
		query = "?" + Hidden
	}
	return scheme + user + hosts + path + query
}
