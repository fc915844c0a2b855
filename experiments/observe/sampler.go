// Package observe samples what a load does to the parts of a pipeline: processes, servers, the
// machine, the consumer's own metrics and clocks, and what Kafka holds in the end. The package
// starts nothing, breaks nothing and judges nothing. Start reading at NewSampler; a Sampler has one
// probe for each kind of part.
package observe

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/cdclab/cdclab/reports"
	"github.com/cdclab/cdclab/stack"
)

// Sampled components outside of the stack.
const (
	generatorComponent = "generator"
	hostComponent      = "host"
	// labComponent is this process.
	labComponent = "lab"
)

// sampleEvery is the time between two samples; mostSamples bounds a Run's: then every other sample
// is dropped, and half as many are taken.
const (
	sampleEvery = time.Second
	mostSamples = 1200
)

// seldomEvery is the number of samples for each costly question: sizes, a whole page of metrics.
const seldomEvery = 5

// Sampler samples the parts beside the load: what their processes use, and the answers to probes.
type Sampler struct {
	at     []time.Time
	gauges map[gaugeName]*reports.Gauge
	// totals are the last values of growing totals, from which a rate is made.
	totals map[gaugeName]total
	probes []probe
	// seldom are asked at every seldomEvery-th sample only, because an answer costs the server.
	seldom []probe
	used   usage
	// lag is the consumer's in the last sample, -1 while the lag is not known.
	lag atomic.Int64
	// made is the number of samples taken, also of samples dropped again.
	made int
}

// Lag returns the number of records that the consumer has not committed, -1 while not known.
func (s *Sampler) Lag() float64 { return float64(s.lag.Load()) }

type gaugeName struct{ component, name string }

type total struct {
	value float64
	at    time.Time
}

// probe asks a part; a question without an answer is missing in the sample.
type probe interface {
	sample(ctx context.Context, s *Sampler)
	close()
}

func samplerOf(probes ...probe) *Sampler {
	s := &Sampler{
		gauges: map[gaugeName]*reports.Gauge{}, totals: map[gaugeName]total{}, probes: probes,
		used: usage{map[string]map[string]float64{}, map[string]float64{}, map[string]int64{}},
	}
	s.lag.Store(-1)
	return s
}

// Targets are the parts a Sampler observes: every part of the stack, the generator and the machine.
type Targets struct {
	Stack *stack.Stack
	// GeneratorPIDs are the processes of the generator, now.
	GeneratorPIDs func() []int
	// Prometheus is the address of a Prometheus that watches the pipeline, empty for none; LagQuery
	// asks for the consumer's lag, and an empty LagQuery is the lab's own query.
	Prometheus, LagQuery string
	// Say is told, once, why Prometheus does not answer.
	Say func(string)
}

// NewSampler connects to the Targets; Watch samples and disconnects.
func NewSampler(t Targets) (*Sampler, error) {
	endpoints := t.Stack.Endpoints()
	lag, err := newLagProbe(t.Stack)
	if err != nil {
		return nil, fmt.Errorf("observe the consumer's lag: %w", err)
	}
	sized := endpoints.MongoDatabase
	if kind := t.Stack.MongoKind(); kind == stack.SecantusRS || kind == stack.SecantusPy {
		sized = "" // the stand-ins read every document to answer
	}
	mongo, err := newMongoProbe(endpoints.MongoURI, sized)
	if err != nil {
		return nil, fmt.Errorf("observe MongoDB: %w", err)
	}
	metrics := map[string][]string{
		stack.Connector: {endpoints.ConnectorMetricsURL}, stack.Kafka: {endpoints.KafkaMetricsURL},
	}
	var consumers []string
	for n, url := range endpoints.ConsumerMetricsURLs {
		consumers = append(consumers, stack.ConsumerName(n+1))
		metrics[consumers[n]] = []string{url}
	}
	host := machineCapacities()
	pids := func() map[string][]int {
		all := map[string][]int{generatorComponent: t.GeneratorPIDs()}
		for _, c := range t.Stack.Components() {
			all[c.Name()] = c.PIDs()
		}
		return all
	}
	probes := []probe{
		processes{pids, host, hostGroups}, containers{t.Stack.Components, host}, hostProbe{host},
		lag,
	}
	if t.Prometheus != "" {
		query := cmp.Or(t.LagQuery, defaultLagQuery(t.Stack.Group()))
		watching, err := newPrometheusProbe(t.Prometheus, query, t.Say)
		if err != nil {
			return nil, err
		}
		probes = append(probes, watching)
	}
	s := samplerOf(probes...)
	s.seldom = []probe{
		mongo, &postgresProbe{dsn: endpoints.PostgresDSN},
		&metricsProbe{urls: metrics, consumers: consumers},
	}
	return s, nil
}

// Watch takes samples until the context ends, and a last sample then.
func (s *Sampler) Watch(ctx context.Context) {
	every := sampleEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s.sample()
		if len(s.at) >= mostSamples {
			s.thin()
			every *= 2
			tick.Reset(every)
		}
		select {
		case <-ctx.Done():
			s.sample()
			for _, p := range slices.Concat(s.probes, s.seldom) {
				p.close()
			}
			return
		case <-tick.C:
		}
	}
}

// sample takes one sample; a part that does not answer must not hold up the next sample.
func (s *Sampler) sample() {
	ctx, cancel := context.WithTimeout(context.Background(), sampleEvery*9/10)
	defer cancel()
	s.at = append(s.at, time.Now())
	for _, p := range s.probes {
		p.sample(ctx, s)
	}
	if s.made++; s.made%seldomEvery == 1 {
		for _, p := range s.seldom {
			p.sample(ctx, s)
		}
	}
	for _, g := range s.gauges {
		if len(g.Values) < len(s.at) {
			g.Values = append(g.Values, -1)
		}
	}
}

// put files a value of the sample being taken; a second value of the same name is added.
func (s *Sampler) put(component, name, unit string, capacity, value float64) {
	key := gaugeName{component, name}
	g := s.gauges[key]
	if g == nil {
		g = &reports.Gauge{Component: component, Name: name, Unit: unit}
		for range len(s.at) - 1 {
			g.Values = append(g.Values, -1)
		}
		s.gauges[key] = g
	}
	if len(g.Values) == len(s.at) {
		g.Values[len(g.Values)-1] += value
		g.Capacity += capacity
		return
	}
	g.Values, g.Capacity = append(g.Values, value), capacity
}

// putRate files a total's growth a second since the last sample; times scales the growth.
func (s *Sampler) putRate(component, name, unit string, capacity, times, value float64) {
	if rate, ok := s.rate(gaugeName{component, name}, value); ok {
		s.put(component, name, unit, capacity, times*rate)
	}
}

// rate returns a total's growth a second since the last sample. A shrunken total, of a restarted
// part, says nothing.
func (s *Sampler) rate(key gaugeName, value float64) (rate float64, ok bool) {
	before, known := s.totals[key]
	now := s.at[len(s.at)-1]
	s.totals[key] = total{value, now}
	if seconds := now.Sub(before.at).Seconds(); known && value >= before.value && seconds > 0 {
		return (value - before.value) / seconds, true
	}
	return 0, false
}

// thin drops every other sample.
func (s *Sampler) thin() {
	s.at = everyOther(s.at)
	for _, g := range s.gauges {
		g.Values = everyOther(g.Values)
	}
}

func everyOther[T any](all []T) []T {
	kept := all[:0]
	for i := 0; i < len(all); i += 2 {
		kept = append(kept, all[i])
	}
	return kept
}

// Looks are all samples, their seconds counted from the start of the measured load.
func (s *Sampler) Looks(start time.Time) reports.Looks {
	var all reports.Looks
	for _, at := range s.at {
		all.Seconds = append(all.Seconds, at.Sub(start).Round(time.Millisecond).Seconds())
	}
	for _, g := range s.gauges {
		all.Gauges = append(all.Gauges, *g)
	}
	sort.Slice(all.Gauges, func(i, j int) bool {
		a, b := all.Gauges[i], all.Gauges[j]
		return a.Component+"\x00"+a.Name < b.Component+"\x00"+b.Name
	})
	return all
}

// Resources returns what the processes of each component used in all.
func (s *Sampler) Resources() []reports.Resource { return s.used.resources() }
