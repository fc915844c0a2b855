package reports

import "fmt"

// part is one stage's share in the waterfall, in milliseconds.
type part struct {
	Stage, Label string
	Ms           float64
}

// visibility names what is left of the pipeline after the consumer's own stages: mostly from
// MongoDB's acknowledgement until the tracker saw the version.
const visibility = "visibility"

// waterfallParts are the stages of a write one after the other at one percentile: the schedule delay,
// the commit, and the pipeline, which is split where the consumer's own stages are known.
func waterfallParts(r *Run, at func(Latency) float64) []part {
	var found []part
	var inPipeline float64
	for _, stage := range parts {
		row, ok := r.StageOf(stage, "", "")
		if !ok {
			continue
		}
		found = append(found, part{stage, stageLabel(stage), at(row.Latency)})
		if stage != ScheduleDelay && stage != Commit {
			inPipeline += at(row.Latency)
		}
	}
	pipeline, ok := r.StageOf(Pipeline, "", "")
	rest := at(pipeline.Latency) - inPipeline
	switch {
	case ok && inPipeline == 0:
		found = append(found, part{Pipeline, stageLabel(Pipeline), rest})
	case ok && rest > 0:
		found = append(found, part{visibility, stageLabel(visibility), rest})
	}
	return found
}

func stageLabel(stage string) string {
	switch stage {
	case ScheduleDelay:
		return "schedule delay"
	case SourceToConnector:
		return "source → connector"
	case ConnectorToKafka:
		return "connector → Kafka"
	case KafkaToConsumer:
		return "Kafka → consumer"
	case ConsumerToApplied:
		return "consumer → applied"
	case visibility:
		return "rest of the pipeline"
	case E2E:
		return "end to end"
	case E2ESteady:
		return "end to end, outside faults"
	}
	return stage
}

// shownStages are the stages in the order of the tables; those of the consumer lie in the pipeline.
var shownStages = []struct {
	stage  string
	nested bool
}{
	{ScheduleDelay, false}, {Commit, false}, {Pipeline, false},
	{SourceToConnector, true}, {ConnectorToKafka, true}, {KafkaToConsumer, true}, {ConsumerToApplied, true},
	{E2E, false}, {E2ESteady, false},
}

// ms prints milliseconds with the digits that matter.
func ms(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func bytesText(n int64) string {
	const kibi = 1 << 10
	switch {
	case n >= kibi*kibi*kibi:
		return fmt.Sprintf("%.1f GiB", float64(n)/(kibi*kibi*kibi))
	case n >= kibi*kibi:
		return fmt.Sprintf("%.1f MiB", float64(n)/(kibi*kibi))
	case n >= kibi:
		return fmt.Sprintf("%.1f KiB", float64(n)/kibi)
	}
	return fmt.Sprintf("%d B", n)
}
