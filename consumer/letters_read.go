package consumer

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// LetterFilter says which letters are meant. What is zero does not narrow.
type LetterFilter struct {
	Rule, Entity string
	Topic        string    // the record's, not that of the letters
	Since, Until time.Time // of the letter; Until is not in it
	IDs          []string
	Done         bool // letters that were replayed or dropped, too
}

// Empty is true of a filter that means every letter.
func (f *LetterFilter) Empty() bool {
	return f.Rule == "" && f.Entity == "" && f.Topic == "" && f.Since.IsZero() && f.Until.IsZero() &&
		len(f.IDs) == 0
}

func (f *LetterFilter) takes(l *Letter) bool {
	return (f.Rule == "" || f.Rule == l.Rule) && (f.Entity == "" || f.Entity == l.Entity) &&
		(f.Topic == "" || f.Topic == l.Record.Topic) && !l.Time.Before(f.Since) &&
		(f.Until.IsZero() || l.Time.Before(f.Until)) && (f.Done || l.Done == "")
}

// LetterCounts is what Letters found in the topic.
type LetterCounts struct {
	Letters, Pending, Replayed, Dropped int
	// Again counts letters of a record that had one already, Foreign what is no letter at all.
	Again, Foreign int
	// Visited counts those that the filter took.
	Visited int
	// Missing are ids of the filter that no letter has. Already are ids of letters that are done and
	// that the filter leaves out for it.
	Missing, Already []string
	// Notes are sentences on what could not be read.
	Notes []string
}

// Letters reads the dead-letter topic from its start to the end it has now and visits the letters
// that the filter takes, in the order of the topic. client tells how to reach Kafka; it needs no
// other options. It reads twice, so that only ids are held in memory: what became of a letter stands
// behind it. It returns visit's error as it is.
func Letters(ctx context.Context, client *kgo.Client, topic string, filter LetterFilter,
	visit func(*Letter) error) (LetterCounts, error) {
	whole, err := wholeTopics(ctx, client, topic)
	if err != nil {
		return LetterCounts{}, fmt.Errorf("read the dead letters: %w", err)
	}
	index := letterIndex{partitions: len(whole[topic]), done: map[letterPlace]string{},
		same: map[sameRecord]letterPlace{}, again: map[letterPlace][]letterPlace{},
		first: map[letterPlace]letterPlace{}}
	short, err := scan(ctx, client, whole, index.add)
	if err != nil {
		return LetterCounts{}, fmt.Errorf("read the dead letters: %w", err)
	}
	counts := index.counts()
	counts.Notes = short
	wanted, err := index.wanted(&filter, &counts)
	if err != nil {
		return counts, err
	}
	var refused error
	_, err = scan(ctx, client, whole, func(r *kgo.Record) error {
		l, ok := readLetter(r)
		if !ok || index.first[l.at] != l.at || wanted != nil && !wanted[l.at] {
			return nil
		}
		if index.describe(l); !filter.takes(l) {
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

// sameRecord is what two letters of the very same failure of a record have in common.
type sameRecord struct {
	group, topic      string
	partition         int32
	offset, timestamp int64
}

// letterIndex is what there is to know of the letters before they are visited.
type letterIndex struct {
	partitions int
	done       map[letterPlace]string
	same       map[sameRecord]letterPlace
	first      map[letterPlace]letterPlace   // of each letter: the first of the same record
	again      map[letterPlace][]letterPlace // the others, of each first
	foreign    int
}

func (x *letterIndex) add(r *kgo.Record) error {
	if of, how, ok := readMarker(r); ok {
		x.done[of] = how
		return nil
	}
	l, ok := readLetter(r)
	if !ok {
		x.foreign++
		return nil
	}
	key := sameRecord{l.Group, l.Record.Topic, l.Record.Partition, l.Record.Offset, l.Record.Timestamp.UnixMilli()}
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

func (x *letterIndex) how(first letterPlace) string {
	how := x.done[first]
	for _, other := range x.again[first] {
		how = cmp.Or(how, x.done[other])
	}
	return how
}

func (x *letterIndex) counts() LetterCounts {
	counts := LetterCounts{Foreign: x.foreign}
	for at, first := range x.first {
		if at != first {
			counts.Again++
			continue
		}
		counts.Letters++
		switch x.how(at) {
		case LetterReplayed:
			counts.Replayed++
		case LetterDropped:
			counts.Dropped++
		default:
			counts.Pending++
		}
	}
	return counts
}

// wanted are the letters that the filter's ids name; nil where it names none.
func (x *letterIndex) wanted(f *LetterFilter, counts *LetterCounts) (map[letterPlace]bool, error) {
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
		case x.how(first) != "" && !f.Done:
			counts.Already = append(counts.Already, id)
		default:
			wanted[first] = true
		}
	}
	return wanted, nil
}

func (x *letterIndex) describe(l *Letter) {
	l.ID, l.Done = l.at.id(x.partitions), x.how(l.at)
	for _, other := range x.again[l.at] {
		l.Again = append(l.Again, other.id(x.partitions))
	}
}
