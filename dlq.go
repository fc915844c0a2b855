package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer"
	"github.com/cdclab/cdclab/consumer/deadletter"
)

// dlqOptions are the flags of all verbs.
type dlqOptions struct {
	verb, brokers, topic       string
	topics                     *regexp.Regexp // of the consumer
	filter                     deadletter.Filter
	asJSON, allLetters, dryRun bool
}

// dlq reads and settles the dead letters.
func dlq(ctx context.Context, t terminal, args []string) (int, error) {
	o, err := dlqArguments(t, args)
	if err != nil {
		return 0, err
	}
	client, err := kafkaClient(ctx, o.brokers)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var counts deadletter.Counts
	switch {
	case o.verb == "list" || o.verb == "show":
		counts, err = o.print(ctx, t, client)
	default:
		counts, err = o.settle(ctx, t, client)
	}
	if err != nil {
		return 0, err
	}
	for _, note := range counts.Notes {
		t.say(note)
	}
	if counts.Missing != nil {
		return 0, fmt.Errorf("no letter %s in %s", strings.Join(counts.Missing, ", "), o.topic)
	}
	return exitPass, nil
}

func dlqArguments(t terminal, args []string) (*dlqOptions, error) {
	o := &dlqOptions{}
	set := flags("dlq", t)
	set.StringVar(&o.brokers, "brokers", "", brokersUsage)
	set.StringVar(&o.topic, "dead-letter-topic", consumer.DefaultConfig().DeadLetterTopic,
		"`topic` of the dead letters (env CDC_CONSUMER_DEAD_LETTER_TOPIC)")
	topics := set.String("topics", consumer.DefaultConfig().Topics,
		"`regexp` of the consumer's topics: replay writes to no other (env CDC_CONSUMER_TOPICS)")
	set.StringVar(&o.filter.Topic, "topic", "", "only records that came from this `topic`")
	set.StringVar(&o.filter.Rule, "rule", "", "only letters of this `rule`")
	set.StringVar(&o.filter.Entity, "entity", "", "only letters of this `entity`")
	now := time.Now()
	set.Func("since",
		"only letters from this `time` on: 2h (ago), 2026-11-23, 2026-11-23T06:00:00Z",
		func(text string) (err error) { o.filter.Since, err = moment(text, now); return err })
	set.Func("until", "only letters before this `time`",
		func(text string) (err error) { o.filter.Until, err = moment(text, now); return err })
	set.Func("id",
		"only these letters: `ids` with commas; may be repeated, or given without the flag",
		func(text string) error {
			o.filter.IDs = append(o.filter.IDs, strings.Split(text, ",")...)
			return nil
		})
	set.BoolVar(&o.filter.Done, "all", false, "letters that were replayed or dropped, too")
	set.BoolVar(&o.asJSON, "json", false,
		"print a JSON object a line (show: with key, value and headers in base64)")
	set.BoolVar(&o.allLetters, "all-letters", false,
		"replay or drop every pending letter: needed where nothing narrows them")
	set.BoolVar(&o.dryRun, "dry-run", false, "say what replay or drop would do")
	positional, err := parse(set, args, 0, 1<<10)
	if err != nil {
		return nil, err
	}
	if o.topics, err = regexp.Compile(*topics); err != nil {
		return nil, fmt.Errorf("--topics: %w", err)
	}
	if len(positional) == 0 {
		return nil, errors.New("no verb; want list, show, replay or drop")
	}
	o.verb = positional[0]
	for _, ids := range positional[1:] {
		o.filter.IDs = append(o.filter.IDs, strings.Split(ids, ",")...)
	}
	return o, o.check(set)
}

func (o *dlqOptions) check(set *flag.FlagSet) error {
	useless := []string{"json"}
	if o.verb == "list" || o.verb == "show" {
		useless = []string{"all-letters", "dry-run"}
	}
	var given []string
	set.Visit(func(f *flag.Flag) {
		if slices.Contains(useless, f.Name) {
			given = append(given, "--"+f.Name)
		}
	})
	for _, id := range o.filter.IDs {
		if err := deadletter.CheckID(id); err != nil {
			return err
		}
	}
	switch {
	case o.verb == "list" || o.verb == "show":
		if len(o.filter.IDs) > 0 {
			o.filter.Done = true // who names a letter wants to see the letter, whatever its fate
		}
	case o.verb != "replay" && o.verb != "drop":
		return fmt.Errorf("unknown verb %q, want list, show, replay or drop", o.verb)
	case o.allLetters && !o.filter.Empty():
		return errors.New("--all-letters and a filter: which?")
	case !o.allLetters && o.filter.Empty():
		return fmt.Errorf("%s what? give ids or a filter (--rule, --entity, --topic, --since, "+
			"--until), or --all-letters", o.verb)
	}
	if given != nil {
		return fmt.Errorf("%s: not with %s", strings.Join(given, ", "), o.verb)
	}
	return nil
}

// moment reads a time, or an age before now.
func moment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		if ago < 0 {
			return time.Time{}, errors.New("want how long ago, not below 0")
		}
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05",
		"2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("want a duration (2h) or a time in UTC (2026-11-23 06:00)")
}

func (o *dlqOptions) print(ctx context.Context, t terminal,
	client *kgo.Client) (deadletter.Counts, error) {
	write := (*deadletter.Letter).WriteLine
	switch {
	case o.asJSON:
		write = func(l *deadletter.Letter, w io.Writer) error {
			return l.WriteJSON(w, o.verb == "show")
		}
	case o.verb == "show":
		write = (*deadletter.Letter).WriteText
	}
	counts, err := deadletter.Read(ctx, client, o.topic, o.filter,
		func(l *deadletter.Letter) error {
			if err := write(l, t.out); err != nil {
				return fmt.Errorf("print letter %s: %w", l.ID, err)
			}
			return nil
		})
	if err == nil {
		t.say(fmt.Sprintf("%d of %d letters: %s", counts.Visited, counts.Letters, &counts))
	}
	return counts, err
}

func (o *dlqOptions) settle(ctx context.Context, t terminal,
	client *kgo.Client) (deadletter.Counts, error) {
	did, would, work := "dropped", "would drop", deadletter.Drop
	if o.verb == "replay" {
		did, would, work = "replayed", "would replay", o.replay
		if err := o.showTopics(ctx, t, client); err != nil {
			return deadletter.Counts{}, err
		}
	}
	n := 0
	tell := func(words string) func(*deadletter.Letter) {
		return func(l *deadletter.Letter) {
			n++
			fmt.Fprintln(t.out, words, l.Brief())
		}
	}
	var counts deadletter.Counts
	var err error
	if o.dryRun {
		did = "would be " + did
		visit := tell(would)
		counts, err = deadletter.Read(ctx, client, o.topic, o.filter,
			func(l *deadletter.Letter) error { visit(l); return nil })
	} else {
		counts, err = work(ctx, client, o.topic, o.filter, tell(did))
	}
	for _, id := range counts.Already {
		t.say(fmt.Sprintf("letter %s is done already; --all means it too", id))
	}
	if err != nil {
		return counts, fmt.Errorf("%d letters %s, then: %w", n, did, err)
	}
	t.say(fmt.Sprintf("%d letters %s", n, did))
	if o.verb == "replay" && n > 0 && !o.dryRun {
		t.say("the consumer judges a replayed record like any other: an event older than its " +
			"document is stale and changes nothing,\n" +
			"one that still breaks a rule becomes a letter again, with its number of attempts")
	}
	return counts, nil
}

func (o *dlqOptions) replay(ctx context.Context, client *kgo.Client, topic string,
	filter deadletter.Filter, done func(*deadletter.Letter)) (deadletter.Counts, error) {
	return deadletter.Replay(ctx, client, topic, filter, o.topics, done)
}

// showTopics says which topics a replay writes to, before the replay. A topic that the consumer
// does not read is an error, and nothing is replayed.
func (o *dlqOptions) showTopics(ctx context.Context, t terminal, client *kgo.Client) error {
	topics, err := deadletter.CountTopics(ctx, client, o.topic, o.filter)
	if err != nil {
		return err
	}
	var foreign []string
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		t.say(fmt.Sprintf("%d letters go into %s", topics[topic], topic))
		if !deadletter.MayReplay(topic, o.topic, o.topics) {
			foreign = append(foreign, topic)
		}
	}
	if foreign != nil {
		return fmt.Errorf("the consumer does not read %s (--topics %s): nothing is replayed; "+
			"leave these letters out, or drop them", strings.Join(foreign, ", "), o.topics)
	}
	return nil
}
