package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cdclab/cdclab/consumer/kafka"
)

// Filter selects letters. A zero field does not narrow.
type Filter struct {
	Rule, Entity string
	Topic        string    // the record's, not the letters'
	Since, Until time.Time // of the letter; without Until itself
	IDs          []string
	Done         bool // replayed and dropped letters, too
}

// Empty returns true if the filter selects every letter.
func (f *Filter) Empty() bool {
	return f.Rule == "" && f.Entity == "" && f.Topic == "" &&
		f.Since.IsZero() && f.Until.IsZero() && len(f.IDs) == 0
}

func (f *Filter) takesLetter(l *Letter) bool {
	return (f.Rule == "" || f.Rule == l.Rule) && (f.Entity == "" || f.Entity == l.Entity) &&
		(f.Topic == "" || f.Topic == l.Record.Topic) && !l.Time.Before(f.Since) &&
		(f.Until.IsZero() || l.Time.Before(f.Until)) && (f.Done || l.Done == "")
}

// Counts is the numbers that Read found in the topic.
type Counts struct {
	Letters, Pending, Replayed, Dropped int
	// Again counts letters after the first of a record, Foreign records that are no letters.
	Again, Foreign int
	// Visited counts the letters selected by the filter.
	Visited int
	// Missing are ids of the filter without a letter. Already are ids of done letters, which the
	// filter leaves out.
	Missing, Already []string
	// Notes are sentences on unreadable parts.
	Notes []string
}

// Read reads the dead-letter topic from the start to the present end and visits the filter's
// letters in the order of the topic. client needs no options but how to reach Kafka. Read reads
// twice, so that memory holds only ids: the answer to a letter stands behind the letter. Read
// returns visit's error unchanged.
func Read(ctx context.Context, client *kgo.Client, topic string, filter Filter,
	visit func(*Letter) error) (Counts, error) {
	whole, err := kafka.Whole(ctx, client, topic)
	if err != nil {
		return Counts{}, fmt.Errorf("read the dead letters: %w", err)
	}
	index := letterIndex{partitions: len(whole[topic]), done: map[letterPlace]string{},
		same: map[sameRecord]letterPlace{}, again: map[letterPlace][]letterPlace{},
		first: map[letterPlace]letterPlace{}}
	short, err := kafka.Read(ctx, client, whole, index.indexRecord)
	if err != nil {
		return Counts{}, fmt.Errorf("read the dead letters: %w", err)
	}
	counts := index.countLetters()
	counts.Notes = short
	wanted, err := index.wantedPlaces(&filter, &counts)
	if err != nil {
		return counts, err
	}
	var refused error
	_, err = kafka.Read(ctx, client, whole, func(r *kgo.Record) error {
		l, ok := readLetter(r)
		if !ok || index.first[l.at] != l.at || wanted != nil && !wanted[l.at] {
			return nil
		}
		if index.describeLetter(l); !filter.takesLetter(l) {
			return nil
		}
		counts.Visited++
		refused = visit(l)
		return refused
	})
	if err != nil && refused == nil {
		err = fmt.Errorf("read the dead letters: %w", err)
	}
	return counts, err
}

// sameRecord is the same for two letters of the very same failure of a record.
type sameRecord struct {
	group, topic      string
	partition         int32
	offset, timestamp int64
}

// letterIndex holds all knowledge of the letters before the visits.
type letterIndex struct {
	partitions int
	done       map[letterPlace]string
	same       map[sameRecord]letterPlace
	first      map[letterPlace]letterPlace   // of each letter: the first of the same record
	again      map[letterPlace][]letterPlace // the others, of each first
	foreign    int
}

func (x *letterIndex) indexRecord(r *kgo.Record) error {
	if of, how, ok := readMarker(r); ok {
		x.done[of] = how
		return nil
	}
	l, ok := readLetter(r)
	if !ok {
		x.foreign++
		return nil
	}
	key := sameRecord{l.Group, l.Record.Topic, l.Record.Partition, l.Record.Offset,
		l.Record.Timestamp.UnixMilli()}
	first, known := x.same[key]
	if !known {
		first = l.at
		x.same[key] = first
	} else {
		x.again[first] = append(x.again[first], l.at)
	}
	x.first[l.at] = first
	return nil
}

func (x *letterIndex) answerTo(first letterPlace) string {
	how := x.done[first]
	for _, other := range x.again[first] {
		how = cmp.Or(how, x.done[other])
	}
	return how
}

func (x *letterIndex) countLetters() Counts {
	counts := Counts{Foreign: x.foreign}
	for at, first := range x.first {
		if at != first {
			counts.Again++
			continue
		}
		counts.Letters++
		switch x.answerTo(at) {
		case Replayed:
			counts.Replayed++
		case Dropped:
			counts.Dropped++
		default:
			counts.Pending++
		}
	}
	return counts
}

// wantedPlaces returns the letters named by the filter's ids; nil where the filter has no ids.
func (x *letterIndex) wantedPlaces(f *Filter, counts *Counts) (map[letterPlace]bool, error) {
	if len(f.IDs) == 0 {
		return nil, nil
	}
	wanted := map[letterPlace]bool{}
	for _, id := range f.IDs {
		at, err := parsePlace(id)
		if err != nil {
			return nil, err
		}
		first, known := x.first[at]
		switch {
		case !known:
			counts.Missing = append(counts.Missing, id)
		case x.answerTo(first) != "" && !f.Done:
			counts.Already = append(counts.Already, id)
		default:
			wanted[first] = true
		}
	}
	return wanted, nil
}

func (x *letterIndex) describeLetter(l *Letter) {
	l.ID, l.Done = l.at.letterID(x.partitions), x.answerTo(l.at)
	for _, other := range x.again[l.at] {
		l.Again = append(l.Again, other.letterID(x.partitions))
	}
}
