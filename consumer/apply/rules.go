package apply

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cdclab/cdclab/consumer/encode"
	"github.com/cdclab/cdclab/consumer/entity"
	"github.com/cdclab/cdclab/consumer/fate"
	"github.com/cdclab/cdclab/consumer/telemetry"
)

// ruleLog counts and logs broken rules and changes of schema: the rules once a batch and without a
// row's values, which are told at debug only. A member with unknown values is logged once.
type ruleLog struct {
	metrics *eventMetrics
	log     *slog.Logger
	seen    map[brokenRule]*broken
	once    *sync.Map // of the process: tables without a key, and onceTold members
}

type brokenRule struct {
	topic, entity, operation, rule, field string
	partition                             int32
}

// onceTold names a member with values that are not known.
type onceTold struct{ entity, field string }

// broken is how often a rule was broken in a batch, and the trace of the first breaking event, if
// any.
type broken struct {
	events int
	trace  context.Context
}

// brokenMax bounds the lines of a batch about broken rules, changesMax the lines of a record about
// changes of its table: the fields beyond are told together. A row may have thousands of columns.
const (
	brokenMax  = 100
	changesMax = 20
	otherField = "other"
)

// rejectionFor returns the rejection for all violations together, or nil.
func (l *ruleLog) rejectionFor(d *draft, violations []entity.Violation) error {
	if len(violations) == 0 {
		return nil
	}
	l.noteBroken(d, violations)
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
	return &fate.Rejection{Rule: rule, Reason: strings.Join(reasons, "\n")}
}

// noteBroken counts and logs.
func (l *ruleLog) noteBroken(d *draft, violations []entity.Violation) {
	for _, v := range violations {
		l.metrics.countViolation(v.Rule, d.entity, v.Severity)
		l.logEvent(d, slog.LevelDebug, "rule broken", "rule", v.Rule, "field", v.Field,
			telemetry.ValueKey, v.Value)
		of := brokenRule{d.record.Topic, d.entity, d.operation, v.Rule, v.Field, d.record.Partition}
		if l.seen == nil {
			l.seen = map[brokenRule]*broken{}
		}
		if len(l.seen) >= brokenMax && l.seen[of] == nil {
			of.field = otherField
		}
		if l.seen[of] == nil {
			if v.Rule == fate.RuleUnknown {
				if _, told := l.once.LoadOrStore(onceTold{d.entity, v.Field}, true); told {
					continue
				}
			}
			l.seen[of] = &broken{trace: d.record.Context}
		}
		l.seen[of].events++
	}
}

// noteUnseenRow counts a row that an update made, and tells of the table once. Either the row's
// earlier events are gone, or the row had another key, and nothing in the log names that key.
func (l *ruleLog) noteUnseenRow(d *draft) {
	l.metrics.countViolation(fate.RuleHistory, d.entity, entity.Warn)
	if _, told := l.once.LoadOrStore(onceTold{d.entity, fate.RuleHistory + " "}, true); !told {
		l.logEvent(d, slog.LevelWarn, "an update made a document: the row's earlier events are"+
			" gone, or a column of the key changed that is not in the replica identity, and then"+
			" the document of the key before is still there (REPLICA IDENTITY FULL tells that key)",
			"rule", fate.RuleHistory)
	}
}

// logEvent logs a line about an event.
func (l *ruleLog) logEvent(d *draft, level slog.Level, message string, about ...any) {
	ctx := cmp.Or(d.record.Context, context.Background())
	if !l.log.Enabled(ctx, level) {
		return
	}
	l.log.Log(ctx, level, message,
		append(about, "entity_type", d.entity, "operation", d.operation,
			"kafka_topic", d.record.Topic, "kafka_partition", d.record.Partition,
			"kafka_offset", d.record.Offset)...)
}

func (l *ruleLog) schemaChanges(d *draft, changes []encode.SchemaChange) {
	if len(changes) == 0 {
		return
	}
	l.metrics.countSchemaChanges(d.entity, changes)
	for i := range changes[:min(len(changes), changesMax+1)] {
		c := &changes[i]
		level := slog.LevelWarn
		if c.Severity == entity.Error {
			level = slog.LevelError
		}
		if i == changesMax {
			l.logEvent(d, slog.LevelWarn, "schema changed", "column", otherField,
				"changes", len(changes)-changesMax)
		} else {
			l.logEvent(d, level, "schema changed", "column", c.Column, "kind", c.Kind,
				"from", c.From, "to", c.To)
		}
	}
}

// logKeylessTable tells of a table whose rows cannot be stored, once.
func (l *ruleLog) logKeylessTable(d *draft, err error) {
	table := d.table.Spec().Table
	if _, told := l.once.LoadOrStore(table, true); !told {
		l.logEvent(d, slog.LevelError, "a table without a key: its rows are dead letters",
			"table", table, "reason", err.Error())
	}
}

// logBroken ends a batch. The batch's context is for lines about events without a context.
func (l *ruleLog) logBroken(ctx context.Context) {
	for _, b := range slices.SortedFunc(maps.Keys(l.seen), func(a, b brokenRule) int {
		return cmp.Or(cmp.Compare(a.rule, b.rule), cmp.Compare(a.field, b.field),
			cmp.Compare(a.entity, b.entity), cmp.Compare(a.operation, b.operation))
	}) {
		l.log.WarnContext(cmp.Or(l.seen[b].trace, ctx), "rule broken", "entity_type", b.entity,
			"operation", b.operation, "rule", b.rule, "field", b.field, "events", l.seen[b].events,
			"kafka_topic", b.topic, "kafka_partition", b.partition)
	}
	clear(l.seen)
}
