package consumer

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cdclab/cdclab/consumer/entity"
)

// ruleLog counts and logs broken rules and changes of schema: the rules once a batch and without a
// row's values, which are told at debug only.
type ruleLog struct {
	metrics *metrics
	log     *slog.Logger
	seen    map[brokenRule]int
	tables  *sync.Map // of the process: those whose rows have no key
}

type brokenRule struct {
	topic, entity, rule, field string
	partition                  int32
}

// judge is nil, or the rejection that the violations make together.
func (l *ruleLog) judge(d *draft, violations []entity.Violation) error {
	if len(violations) == 0 {
		return nil
	}
	l.broken(d, violations)
	var rule string
	var reasons []string
	for _, v := range violations {
		if v.Severity != entity.Reject {
			continue
		}
		rule = cmp.Or(rule, v.Rule)
		reasons = append(reasons, v.Error())
	}
	if rule == "" {
		return nil
	}
	return &rejection{rule, strings.Join(reasons, "\n")}
}

// broken counts and logs.
func (l *ruleLog) broken(d *draft, violations []entity.Violation) {
	for _, v := range violations {
		l.metrics.violated(v.Rule, d.entity, v.Severity)
		broken := brokenRule{d.record.Topic, d.entity, v.Rule, v.Field, d.record.Partition}
		if l.seen == nil {
			l.seen = map[brokenRule]int{}
		}
		l.seen[broken]++
		l.log.Debug("rule broken", "entity_type", d.entity, "rule", v.Rule, "field", v.Field,
			"value", v.Value, "kafka_topic", d.record.Topic, "kafka_partition", d.record.Partition,
			"kafka_offset", d.record.Offset)
	}
}

func (l *ruleLog) schemaChange(d *draft, c *entity.SchemaChange) {
	l.metrics.schemaChange(d.entity, c)
	level := slog.LevelWarn
	if c.Severity == entity.Error {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "schema changed", "entity_type", d.entity, "column", c.Column,
		"kind", c.Kind, "from", c.From, "to", c.To, "kafka_topic", d.record.Topic,
		"kafka_partition", d.record.Partition, "kafka_offset", d.record.Offset)
}

// keyless tells of a table whose rows cannot be stored, once.
func (l *ruleLog) keyless(d *draft, err error) {
	table := d.table.Spec().Table
	if _, told := l.tables.LoadOrStore(table, true); !told {
		l.log.Error("a table without a key: its rows are dead letters", "table", table,
			"entity_type", d.entity, "reason", err.Error(), "kafka_topic", d.record.Topic,
			"kafka_partition", d.record.Partition, "kafka_offset", d.record.Offset)
	}
}

// flush ends a batch.
func (l *ruleLog) flush() {
	for _, b := range slices.SortedFunc(maps.Keys(l.seen), compareBroken) {
		l.log.Warn("rule broken", "entity_type", b.entity, "rule", b.rule, "field", b.field,
			"events", l.seen[b], "kafka_topic", b.topic, "kafka_partition", b.partition)
	}
	clear(l.seen)
}

func compareBroken(a, b brokenRule) int {
	return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.field, b.field),
		cmp.Compare(a.entity, b.entity))
}
