// Package topics says which tables a topic may hold, because who may write a topic must not write
// the rows of all tables. The package reads no topic; package apply asks, and remembers the last
// answer. Start reading at Tables.Check.
package topics

import (
	"fmt"
	"strings"

	"github.com/cdclab/cdclab/consumer/debezium"
	"github.com/cdclab/cdclab/consumer/fate"
)

// Tables are the tables of topics with other names than Debezium's prefix.schema.table: pairs
// TOPIC=SCHEMA.TABLE with commas between. A * in both stands for the same text; a * in the table
// alone for any. A topic of several pairs may hold the tables of each. Tables is a flag.Value.
type Tables struct{ pairs []topicTable }

type topicTable struct{ topic, table string }

// String returns the pairs in the form that Set reads.
func (t *Tables) String() string {
	var all []string
	for _, pair := range t.pairs {
		all = append(all, pair.topic+"="+pair.table)
	}
	return strings.Join(all, ",")
}

// Set replaces the pairs. The error counts to the wrong pair, because a text in the wrong place may
// be a secret.
func (t *Tables) Set(text string) error {
	var pairs []topicTable
	for i, one := range strings.Split(text, ",") {
		topic, table, both := strings.Cut(one, "=")
		schema, name, dotted := strings.Cut(table, ".")
		if !both || topic == "" || !dotted || schema == "" || name == "" {
			return fmt.Errorf("pair %d: want TOPIC=SCHEMA.TABLE", i+1)
		}
		if strings.Count(topic, "*") > 1 || strings.Count(table, "*") > 1 {
			return fmt.Errorf("pair %d: at most one * on each side", i+1)
		}
		pairs = append(pairs, topicTable{topic, table})
	}
	t.pairs = pairs
	return nil
}

// Check returns a rejection of an event in the topic of another table.
func (t *Tables) Check(topic string, s *debezium.Source) error {
	table := s.Schema + "." + s.Table
	named, right := t.allow(topic, table)
	own := sanitizeTopic(s.Name + "." + table)
	switch {
	case right, !named && topic == own:
		return nil
	case named:
		return fate.Rejectf(fate.RuleTopic, "the topic holds no rows of %q (--topic-tables)",
			table)
	}
	return fate.Rejectf(fate.RuleTopic, "rows of %q belong into the topic %q (--topic-tables"+
		" where a transformation renames topics)", table, own)
}

// allow returns named true if a pair is about the topic, and right if a pair allows the table.
func (t *Tables) allow(topic, table string) (named, right bool) {
	for _, pair := range t.pairs {
		text, is := matchStar(pair.topic, topic)
		if !is {
			continue
		}
		named = true
		other, fits := matchStar(pair.table, table)
		if fits && (!strings.Contains(pair.topic, "*") || !strings.Contains(pair.table, "*") ||
			sanitizeTopic(other) == text) {
			return true, true
		}
	}
	return named, false
}

// MayHoldSeveral returns true if the pairs allow several tables in the topic.
func (t *Tables) MayHoldSeveral(topic string) bool {
	tables := 0
	for _, pair := range t.pairs {
		if _, is := matchStar(pair.topic, topic); !is {
			continue
		}
		if tables++; strings.Contains(pair.table, "*") && !strings.Contains(pair.topic, "*") {
			return true
		}
	}
	return tables > 1
}

// matchStar returns the text in place of the pattern's *.
func matchStar(pattern, text string) (star string, matches bool) {
	before, after, starred := strings.Cut(pattern, "*")
	if !starred {
		return "", pattern == text
	}
	rest, begins := strings.CutPrefix(text, before)
	star, ends := strings.CutSuffix(rest, after)
	return star, begins && ends
}

// sanitizeTopic replaces what a topic's name cannot have by underscores, as Debezium's default
// topic.naming.strategy does, in UTF-16 code units.
func sanitizeTopic(name string) string {
	var topic strings.Builder
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9',
			r == '.', r == '_', r == '-':
			topic.WriteRune(r)
		case r > 0xffff:
			topic.WriteString("__")
		default:
			topic.WriteByte('_')
		}
	}
	return topic.String()
}
