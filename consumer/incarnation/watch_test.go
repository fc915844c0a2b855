package incarnation

import (
	"log/slog"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/consumer/consumertest"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

const topic = "cdc.public.a"

// watchAt is a Watch, and looks at one topic with two partitions.
type watchAt struct {
	*Watch
	at time.Time
}

func newWatch() *watchAt {
	return &watchAt{&Watch{Topics: regexp.MustCompile(`^cdc\.public\.`), Also: "letters",
		Metrics: telemetry.NewMetrics(), Log: slog.New(slog.DiscardHandler)}, time.Unix(1000, 0)}
}

// seen is a look: id 0 for no topic, and the assigned partitions; nil while rebalancing.
type seen struct {
	id         byte
	unconsumed bool
	assigned   []int32
	outside    bool // no member
	noLetters  bool
	noID       bool
}

func (w *watchAt) look(s seen) (forget []string, found bool) {
	w.at = w.at.Add(time.Second)
	l := look{topics: map[string]topicSeen{"other": {id: ID{9}}}, joined: !s.outside, at: w.at}
	if !s.noLetters {
		l.topics["letters"] = topicSeen{id: ID{8}}
	}
	if s.id != 0 {
		l.topics[topic] = topicSeen{ID{s.id}, both}
	}
	if s.noID {
		l.topics[topic] = topicSeen{ID{}, both}
	}
	if !s.unconsumed {
		l.consumed = []string{topic}
	}
	if s.assigned != nil {
		l.assigned = kadm.TopicsSet{}
		l.assigned.Add(topic, s.assigned...)
	}
	return w.judge(l)
}

var both = []int32{0, 1}

type step struct {
	seen
	suspect       bool // before the look
	reads         byte // the ID that records told before the look
	forget, found bool
	unread        string // after the look
}

// watchCase is a sequence of looks, and how many topics made anew are counted.
type watchCase struct {
	steps   []step
	counted float64
}

func watchCases() map[string]watchCase {
	const (
		anew  = "not read: cdc.public.a (made anew, and not taken up yet)"
		gone  = "not read: cdc.public.a (there is no such topic any more)"
		taken = "not read: cdc.public.a (not taken up yet)"
		part  = "not read: cdc.public.a (no member of the group has partition 1)"
	)
	read := step{seen: seen{id: 1, assigned: both}}
	return map[string]watchCase{
		"read": {steps: []step{read, read}},
		"anew": {counted: 1, steps: []step{read,
			{seen: seen{id: 2, assigned: both}, forget: true, found: true, unread: anew},
			{seen: seen{id: 2, unconsumed: true, assigned: both}, found: true, unread: taken},
			{seen: seen{id: 2}, unread: taken},
			{seen: seen{id: 2, assigned: both}}}},
		"gone, then anew": {counted: 1, steps: []step{read,
			{seen: seen{assigned: both}, forget: true},
			{seen: seen{unconsumed: true, assigned: both}, unread: gone},
			{seen: seen{id: 2, unconsumed: true}, found: true, unread: taken},
			{seen: seen{id: 2, assigned: both}}}},
		"gone, then found anew by the client": {counted: 1, steps: []step{read,
			{seen: seen{assigned: both}, forget: true},
			{seen: seen{id: 2, assigned: both}}}},
		"gone, and back as it was": {steps: []step{read, {seen: seen{assigned: both}, forget: true},
			{seen: seen{id: 1, assigned: both}}}},
		"anew, while records of the topic before arrive": {counted: 1, steps: []step{read,
			{seen: seen{id: 2, unconsumed: true}, found: true},
			{seen: seen{id: 2, unconsumed: true}, reads: 1, found: true, unread: taken}}},
		"found anew by the client itself": {counted: 1, steps: []step{read,
			{seen: seen{id: 2, assigned: both}, reads: 2}}},
		"unknown ID in a fetch": {steps: []step{read,
			{seen: seen{id: 1, assigned: both}, suspect: true, forget: true, found: true,
				unread: anew},
			{seen: seen{id: 1, assigned: both}}}},
		"unknown ID before the first look": {steps: []step{
			{seen: seen{id: 1, assigned: both}, suspect: true, forget: true, found: true,
				unread: anew}}},
		"no ID for once": {steps: []step{read,
			{seen: seen{id: 1, noID: true, assigned: both}}, read}},
		"new, not taken up": {steps: []step{{seen: seen{id: 1, unconsumed: true}, found: true},
			{seen: seen{id: 1, unconsumed: true}, found: true, unread: taken}, read}},
		"nobody has a partition": {steps: []step{read, {seen: seen{id: 1, assigned: both[:1]}},
			{seen: seen{id: 1, assigned: both[:1]}, unread: part},
			{seen: seen{id: 1}, unread: part},
			read}},
		"rebalancing": {steps: []step{read, {seen: seen{id: 1}}, {seen: seen{id: 1}}}},
		"no member yet": {steps: []step{
			{seen: seen{id: 1, unconsumed: true, outside: true}, found: true},
			{seen: seen{id: 1, unconsumed: true, outside: true}, found: true}, read}},
		"no dead-letter topic": {steps: []step{read,
			{seen: seen{id: 1, assigned: both, noLetters: true}},
			{seen: seen{id: 1, assigned: both, noLetters: true},
				unread: "not read: letters (there is no such topic any more)"}, read}},
	}
}

// TestWatch: what the client is to forget, and what is told as not read, look after look.
func TestWatch(t *testing.T) {
	t.Parallel()
	for name, c := range watchCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch()
			for i, s := range c.steps {
				if s.suspect {
					w.Suspect(topic)
				}
				if s.reads != 0 {
					w.Reads(topic, ID{s.reads})
				}
				forget, found := w.look(s.seen)
				if slices.Contains(forget, topic) != s.forget || found != s.found ||
					w.Unread() != s.unread {
					t.Errorf("look %d: forget %v, found %t, %q", i, forget, found, w.Unread())
				}
				want := 0.0
				if s.unread != "" {
					want = 1
				}
				n, _ := consumertest.GaugeOf(t, w.Metrics.Registry, telemetry.MetricUnreadTopics)
				if n != want {
					t.Errorf("look %d: the metric is %v, want %v", i, n, want)
				}
			}
			if n := consumertest.ValueOf(t, w.Metrics.TopicsAnew); n != c.counted {
				t.Errorf("%v topics made anew counted, want %v", n, c.counted)
			}
		})
	}
}

// TestHastyAnswers: only many empty answers in a row, each at once, ask for a look.
func TestHastyAnswers(t *testing.T) {
	t.Parallel()
	const fast, slow = time.Millisecond, 250 * time.Millisecond
	for name, c := range map[string]struct {
		key    kmsg.Key
		after  time.Duration
		n      int
		polled bool
		want   bool
	}{
		"a spin":                    {kmsg.Fetch, fast, hastyAnswers, false, true},
		"a few":                     {kmsg.Fetch, fast, hastyAnswers - 1, false, false},
		"an idle broker":            {kmsg.Fetch, slow, 10 * hastyAnswers, false, false},
		"records":                   {kmsg.Fetch, fast, 10 * hastyAnswers, true, false},
		"answers to other requests": {kmsg.Metadata, fast, 10 * hastyAnswers, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch()
			for range c.n {
				w.OnBrokerE2E(kgo.BrokerMetadata{}, int16(c.key),
					kgo.BrokerE2E{TimeToRead: c.after})
				if c.polled {
					w.Polled()
				}
			}
			asked := false
			select {
			case <-w.woken():
				asked = true
			default:
			}
			if asked != c.want {
				t.Errorf("asked for a look: %t, want %t", asked, c.want)
			}
		})
	}
}

// TestHastyAnswersAfterALook: the count begins anew with each look that is asked for.
func TestHastyAnswersAfterALook(t *testing.T) {
	t.Parallel()
	w := newWatch()
	for n := 1; n <= 3*hastyAnswers; n++ {
		w.OnBrokerE2E(kgo.BrokerMetadata{}, int16(kmsg.Fetch), kgo.BrokerE2E{})
		asked := false
		select {
		case <-w.woken():
			asked = true
		default:
		}
		if want := n%hastyAnswers == 0; asked != want {
			t.Errorf("answer %d asked for a look: %t, want %t", n, asked, want)
		}
	}
}

// TestSuspicionAsksForALook: a topic whose ID the broker does not know is not left until the next
// look is due.
func TestSuspicionAsksForALook(t *testing.T) {
	t.Parallel()
	w := newWatch()
	w.Suspect(topic)
	w.Suspect(topic)
	select {
	case <-w.woken():
	default:
		t.Error("nobody asked for a look")
	}
}

// TestForgetRetiresFirst: the marking of offsets ends before the client forgets a topic.
func TestForgetRetiresFirst(t *testing.T) {
	t.Parallel()
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"),
		kgo.ConsumeTopics(topic, "cdc.public.b"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w := newWatch()
	w.Client = client
	var retired []string
	w.Retire = func(of string) {
		if !slices.Contains(client.GetConsumeTopics(), of) {
			t.Errorf("%s was forgotten before", of)
		}
		retired = append(retired, of)
	}
	w.Forget(topic)
	if !slices.Equal(retired, []string{topic}) ||
		!slices.Equal(client.GetConsumeTopics(), []string{"cdc.public.b"}) {
		t.Errorf("retired %v, and the client reads %v", retired, client.GetConsumeTopics())
	}
	if !w.Forgot(topic, ID{1}) || w.Forgot("cdc.public.b", ID{1}) {
		t.Error("records of the forgotten topic alone may come without an assignment")
	}
}

// TestGoneFor: a missing topic is gone since the first look in a row without the topic.
func TestGoneFor(t *testing.T) {
	t.Parallel()
	w := newWatch()
	for i, c := range []struct {
		noLetters bool
		want      time.Duration
	}{{false, 0}, {true, 0}, {true, time.Second}, {true, 2 * time.Second}, {false, 0}, {true, 0},
		{true, time.Second}} {
		w.look(seen{id: 1, assigned: both, noLetters: c.noLetters})
		if got := w.goneFor("letters", w.at); got != c.want {
			t.Errorf("look %d: gone for %v, want %v", i, got, c.want)
		}
	}
}

// TestStampedCommits: an offset names the incarnation; an offset without a name is believed.
func TestStampedCommits(t *testing.T) {
	t.Parallel()
	request := kmsg.NewPtrOffsetCommitRequest()
	for _, id := range []ID{{1}, {}} {
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.TopicID = id
		topic.Partitions = []kmsg.OffsetCommitRequestTopicPartition{{Metadata: new(string)}}
		request.Topics = append(request.Topics, topic)
	}
	if err := stampRequest(request); err != nil {
		t.Fatal(err)
	}
	stamped, bare := *request.Topics[0].Partitions[0].Metadata,
		*request.Topics[1].Partitions[0].Metadata
	if bare != "" {
		t.Errorf("metadata %q of a topic without an ID", bare)
	}
	for _, c := range []struct {
		id       ID
		metadata string
		want     bool
	}{
		{ID{1}, stamped, false}, {ID{2}, stamped, true}, {ID{}, stamped, false},
		{ID{2}, "", false}, {ID{2}, "cdc-consumer-7f3a", false},
	} {
		if got := IsOfAnother(c.id, c.metadata); got != c.want {
			t.Errorf("IsOfAnother(%v, %q) is %t", c.id, c.metadata, got)
		}
	}
}

// TestResetOffsets: of the offsets fetched, those of another incarnation begin anew.
func TestResetOffsets(t *testing.T) {
	t.Parallel()
	c := NewCommits(slog.New(slog.DiscardHandler))
	response := kmsg.NewPtrOffsetFetchResponse()
	group := kmsg.NewOffsetFetchResponseGroup()
	fetched := kmsg.NewOffsetFetchResponseGroupTopic()
	fetched.Topic = topic
	for number, metadata := range []string{commitPrefix + ID{1}.String(),
		commitPrefix + ID{2}.String(), ""} {
		one := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		one.Partition, one.Metadata = int32(number), &metadata
		fetched.Partitions = append(fetched.Partitions, one)
	}
	group.Topics = append(group.Topics, fetched)
	response.Groups = append(response.Groups, group)
	c.noteFetched(response)
	at := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(7),
		1: kgo.NewOffset().At(7), 2: kgo.NewOffset().At(7), 3: kgo.NewOffset().AtStart()}}
	first := c.resetOffsets(at, map[string]topicSeen{topic: {id: ID{2}}})
	want := map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1}}}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("to commit (-want +got):\n%s", diff)
	}
	for number, offset := range at[topic] {
		want := kgo.NewOffset().At(7)
		if number == 0 || number == 3 {
			want = kgo.NewOffset().AtStart()
		}
		if offset != want {
			t.Errorf("partition %d is read from %v", number, offset)
		}
	}
}
