package incarnation

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cdclab/cdclab/consumer/telemetry"
)

// lookMin is the least time between two looks, and the time between looks while a topic is not
// read.
const lookMin = 100 * time.Millisecond

// A client whose topic was deleted fetches without a pause, and tells nobody. So many empty answers
// in a row, each sooner than an idle broker's, ask for a look.
const (
	hastyAnswers = 5
	hastyAnswer  = 100 * time.Millisecond // an idle broker holds a fetch for longer
)

// madeAnew is the reason of a topic of which the log told already.
const madeAnew = "made anew, and not taken up yet"

// lookLimit bounds a look at a broker that is away.
const lookLimit = 5 * time.Second

// Watch looks at the topics of a subscription: whether each is there, in the incarnation that the
// client reads, and with each partition assigned to a member of the group. A topic made anew is
// read from the beginning, because Watch has the client forget the topic. Watch is safe for
// concurrent use.
type Watch struct {
	Client *kgo.Client
	Group  string
	Topics *regexp.Regexp
	// Also is a topic outside of the subscription whose absence is told: the dead-letter topic.
	Also    string
	Metrics *telemetry.Metrics
	Log     *slog.Logger
	// Retire ends the marking of offsets of the topic, before the client forgets the topic.
	Retire func(topic string)
	// Missing is called at each look that does not find Also, with the time since the first.
	Missing func(ctx context.Context, since time.Duration)

	once  sync.Once
	wake  chan struct{}
	hasty atomic.Int32

	mu     sync.Mutex
	topics map[string]*watched
	// doubts are the topics that the last look found not read, with the reason; unread are those of
	// two looks in a row, because a new topic or member needs a moment.
	doubts, unread map[string]string
}

// watched is what Watch knows of a topic.
type watched struct {
	id      ID
	ids     map[ID]bool // met in this process
	suspect bool        // the broker does not know the ID that the client asks for
	forgot  bool        // the client was told to forget the topic
	gone    time.Time   // of the first look in a row without the topic
}

func (w *Watch) woken() chan struct{} {
	w.once.Do(func() { w.wake = make(chan struct{}, 1) })
	return w.wake
}

// LookSoon asks for a look before the next is due.
func (w *Watch) LookSoon() {
	select {
	case w.woken() <- struct{}{}:
	default:
	}
}

// OnBrokerE2E counts hasty answers. The method makes Watch a hook of the client.
func (w *Watch) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, answer kgo.BrokerE2E) {
	if key != int16(kmsg.Fetch) || answer.DurationE2E() >= hastyAnswer {
		return
	}
	if w.hasty.Add(1) >= hastyAnswers {
		w.hasty.Store(0)
		w.LookSoon()
	}
}

// Suspect says that the broker does not know the ID under which the client asks for the topic.
func (w *Watch) Suspect(topic string) {
	w.mu.Lock()
	w.know(topic).suspect = true
	w.mu.Unlock()
	w.LookSoon()
}

// Polled says that records arrived.
func (w *Watch) Polled() { w.hasty.Store(0) }

// Reads says that the client reads an incarnation of the topic.
func (w *Watch) Reads(topic string, id ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteID(topic, id)
}

// Forgot returns true if records of the topic, of the given incarnation, may arrive without an
// assignment, because the client was told to forget the topic: what was under way belongs to the
// topic before. The client begins anew where the records are of the topic that is there now.
func (w *Watch) Forgot(topic string, id ID) bool {
	w.mu.Lock()
	t := w.know(topic)
	forgot, current := t.forgot, id == t.id
	w.mu.Unlock()
	if forgot && current {
		w.Log.Warn("records of a topic made anew came without an assignment",
			"kafka_topic", topic, "topic_id", id.String())
		w.Suspect(topic)
	}
	return forgot
}

// noteID notes the ID that the topic has now, and tells of a new one.
func (w *Watch) noteID(topic string, id ID) {
	t := w.know(topic)
	if id == (ID{}) {
		return
	}
	if !t.ids[id] && len(t.ids) > 0 {
		w.Log.Warn("topic made anew: the topic before is gone, with what was not read",
			"kafka_topic", topic, "topic_id", id.String())
		w.Metrics.TopicsAnew.Inc()
	}
	t.id, t.ids[id] = id, true
}

func (w *Watch) know(topic string) *watched {
	if w.topics == nil {
		w.topics = map[string]*watched{}
	}
	if w.topics[topic] == nil {
		w.topics[topic] = &watched{ids: map[ID]bool{}}
	}
	return w.topics[topic]
}

// ID returns the incarnation of the topic at the last look; zero where none was seen.
func (w *Watch) ID(topic string) ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.topics[topic]; t != nil {
		return t.id
	}
	return ID{}
}

// Unread returns the topics that nobody reads, with the reason of each, as a sentence; "" where all
// are read.
func (w *Watch) Unread() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, topic := range slices.Sorted(maps.Keys(w.unread)) {
		all = append(all, topic+" ("+w.unread[topic]+")")
	}
	if all == nil {
		return ""
	}
	return "not read: " + strings.Join(all, ", ")
}

func (w *Watch) inDoubt() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.doubts)+len(w.unread) > 0
}

// LookUntilDone looks at once and then every interval, and sooner when asked to, until ctx is done.
func (w *Watch) LookUntilDone(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		w.lookOnce(ctx)
		next := time.After(interval)
		select {
		case <-ctx.Done():
		case <-time.After(lookMin):
		}
		if w.inDoubt() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-next:
		case <-w.woken():
		}
	}
}

// look is what a look found.
type look struct {
	topics   map[string]topicSeen
	consumed []string       // by the client
	joined   bool           // true if the client is a member of the group
	assigned kadm.TopicsSet // to all members; nil while the group rebalances
	at       time.Time
}

// lookOnce leaves everything as known where the broker does not answer.
func (w *Watch) lookOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	all, err := readTopics(ctx, w.Client, nil)
	if err != nil {
		return
	}
	_, generation := w.Client.GroupMetadata()
	l := look{topics: all, consumed: w.Client.GetConsumeTopics(), joined: generation >= 0,
		at: time.Now()}
	groups, err := kadm.NewClient(w.Client).DescribeGroups(ctx, w.Group)
	if group := groups[w.Group]; err == nil && group.Err == nil && group.State == "Stable" {
		l.assigned = group.AssignedPartitions()
	}
	forget, found := w.judge(l)
	w.Forget(forget...)
	for _, topic := range forget {
		w.Reads(topic, l.topics[topic].id) // whatever arrived before the retirement
	}
	if found {
		w.Client.ForceMetadataRefresh()
	}
	if since := w.goneFor(w.Also, l.at); since > 0 && w.Missing != nil {
		w.Missing(ctx, since)
	}
}

// Forget has the client forget topics. The client finds again what matches the subscription.
func (w *Watch) Forget(topics ...string) {
	for _, topic := range topics {
		w.Retire(topic)
		w.mu.Lock()
		w.know(topic).forgot = true
		w.mu.Unlock()
	}
	w.Client.PurgeTopicsFromClient(topics...)
}

// goneFor returns how long the topic has been gone at least; 0 while there.
func (w *Watch) goneFor(topic string, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.topics[topic]; t != nil && !t.gone.IsZero() {
		return now.Sub(t.gone)
	}
	return 0
}

// judge compares a look with what is known, and returns the topics for the client to forget. found
// is true if the client has yet to find a topic.
func (w *Watch) judge(l look) (forget []string, found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	doubts, unread := map[string]string{}, map[string]string{}
	for topic, seen := range l.topics {
		if topic != w.Also && !w.Topics.MatchString(topic) {
			continue
		}
		stale := w.noteSeen(topic, seen.id)
		switch consumed := slices.Contains(l.consumed, topic); {
		case topic == w.Also:
		case consumed && stale:
			forget, found = append(forget, topic), true
			unread[topic] = madeAnew
		case !consumed:
			found = true
			doubts[topic] = "not taken up yet"
		default:
			if why := w.unassigned(topic, seen, l.assigned); why != "" {
				doubts[topic] = why
			}
		}
	}
	w.know(w.Also)
	for topic, t := range w.topics {
		if _, there := l.topics[topic]; there {
			continue
		}
		if t.gone.IsZero() {
			t.gone = l.at
		}
		doubts[topic] = "there is no such topic any more"
		if slices.Contains(l.consumed, topic) {
			forget = append(forget, topic)
		}
	}
	if l.joined {
		w.settleDoubts(doubts, unread)
	}
	slices.Sort(forget)
	return forget, found
}

// noteSeen notes that the topic is there, and returns true if the client reads another incarnation.
// A topic that was gone is forgotten already.
func (w *Watch) noteSeen(topic string, id ID) (stale bool) {
	t := w.know(topic)
	another := t.id != (ID{}) && id != (ID{}) && id != t.id
	stale = t.gone.IsZero() && (another || t.suspect)
	w.noteID(topic, id)
	t.suspect, t.gone = false, time.Time{}
	return stale
}

// settleDoubts adds the doubts of two looks in a row to the topics known to be not read.
func (w *Watch) settleDoubts(doubts, unread map[string]string) {
	for topic, why := range doubts {
		if w.doubts[topic] != "" || w.unread[topic] != "" {
			unread[topic] = why
		}
	}
	w.doubts = doubts
	w.tellUnread(unread)
}

// unassigned returns why a partition is not read by any member; "" where each is read. While the
// group rebalances the last verdict stays.
func (w *Watch) unassigned(topic string, seen topicSeen, assigned kadm.TopicsSet) string {
	if assigned == nil {
		return w.unread[topic]
	}
	for _, number := range seen.partitions {
		if !assigned.Lookup(topic, number) {
			return fmt.Sprintf("no member of the group has partition %d", number)
		}
	}
	return ""
}

// tellUnread logs what changed.
func (w *Watch) tellUnread(unread map[string]string) {
	var lost, back []string
	for topic, why := range unread {
		if w.unread[topic] == "" && why != madeAnew {
			lost = append(lost, topic+": "+why)
		}
	}
	for topic := range w.unread {
		if unread[topic] == "" {
			back = append(back, topic)
		}
	}
	slices.Sort(lost)
	slices.Sort(back)
	if lost != nil {
		w.Log.Warn("topics not read", "topics", lost)
	}
	if back != nil {
		w.Log.Info("topics read again", "topics", back)
	}
	w.unread = unread
	w.Metrics.Unread.Set(float64(len(unread)))
}
