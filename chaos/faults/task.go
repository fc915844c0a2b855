package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cdclab/cdclab/stack"
	"github.com/cdclab/cdclab/stack/connect"
)

// taskKinds are the connector's faults that need Kafka Connect.
func taskKinds() []Kind {
	return []Kind{
		{Name: "task-restarted", Does: "restarts Debezium's connector and task by Kafka Connect",
			Ends: AtOnce, Verified: "the walsender of the slot is another process, or none",
			Undone: "the task streams again by itself", Stacks: withConnect, bind: restartTask},
		{Name: "task-failed", Does: "gives the connector a transform that no record survives, so " +
			"that the task fails", Ends: Lasts, LeastFor: time.Second,
			Verified: "Kafka Connect says that the task is FAILED",
			Undone:   "the connector has the configuration from before, and the task is restarted",
			Stacks:   withConnect, bind: failTask,
			unable: needs[failing](" is no task of Kafka Connect")},
		{Name: "connector-recreated", Does: "deletes the connector, and at the end creates the " +
			"connector again with the same name, slot and topics", Ends: Lasts,
			Verified: "Kafka Connect knows no such connector",
			Undone:   "the connector is created with the configuration from before",
			Stacks:   withConnect, bind: recreateConnector},
	}
}

// withConnect are the stacks whose connector is a task of Kafka Connect.
var withConnect = []string{stack.Native, stack.Compose}

// worker is the client of the Kafka Connect with the connector.
func (s Site) worker() connect.Client { return connect.Client{URL: s.At.ConnectURL} }

// restartTask restarts the connector while the worker goes on, and waits for the end of the task.
func restartTask(s Site) *Injection {
	return endWalsender(s, func(ctx context.Context, pid int) error {
		ctx, cancel := context.WithTimeout(ctx, walsenderLimit)
		defer cancel()
		if err := s.worker().Restart(ctx, stack.SourceConnector, false); err != nil {
			return err
		}
		return until(ctx, func() error {
			now, err := walsender(ctx, s.At.PostgresDSN)
			if err == nil && now == pid {
				err = fmt.Errorf("the walsender %d is still there", pid)
			}
			return err
		})
	})
}

// failing is a connector whose task may fail.
type failing interface{ MayFail(may bool) }

// failTask has the task cast each whole record to a number.
func failTask(s Site) *Injection {
	part, _ := s.Part.(failing) // the Kind needs one
	var before map[string]string
	i := &Injection{Healthy: s.healthy}
	failure := func(ctx context.Context) (string, error) {
		status, err := s.worker().Status(ctx, stack.SourceConnector)
		if err == nil && !status.Failed() {
			err = errors.New("the task has not failed")
		}
		if err != nil {
			return "", err
		}
		return status.Health().Error(), nil
	}
	i.Inject = func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, walsenderLimit)
		defer cancel()
		if before, err = s.worker().Config(ctx, stack.SourceConnector); err != nil {
			return err
		}
		broken := maps.Clone(before)
		broken["transforms"] = strings.Trim(before["transforms"]+",chaos", ",")
		broken["transforms.chaos.type"] = "org.apache.kafka.connect.transforms.Cast$Value"
		broken["transforms.chaos.spec"] = "int32"
		part.MayFail(true)
		if err := s.worker().Put(ctx, stack.SourceConnector, broken); err != nil {
			return err
		}
		return until(ctx, func() error { _, err := failure(ctx); return err })
	}
	i.During = failure
	i.Undo = func(ctx context.Context) error {
		if before == nil {
			return nil
		}
		defer part.MayFail(false)
		if err := s.worker().Put(ctx, stack.SourceConnector, before); err != nil {
			return err
		}
		var asked time.Time
		return until(ctx, func() error {
			if _, err := failure(ctx); err != nil || time.Since(asked) < time.Second {
				return s.healthy(ctx)
			}
			asked = time.Now()
			return errors.Join(errors.New("the failed task is being restarted"),
				s.worker().Restart(ctx, stack.SourceConnector, true))
		})
	}
	return i
}

// recreateConnector deletes the connector, whose offsets Kafka Connect keeps by the name.
func recreateConnector(s Site) *Injection {
	var before map[string]string
	i := &Injection{Healthy: s.healthy}
	i.Inject = func(ctx context.Context) (err error) {
		if before, err = s.worker().Config(ctx, stack.SourceConnector); err != nil {
			return err
		}
		return s.worker().Delete(ctx, stack.SourceConnector)
	}
	i.During = func(ctx context.Context) (string, error) {
		_, err := s.worker().Config(ctx, stack.SourceConnector)
		switch {
		case errors.Is(err, connect.ErrNoConnector):
			return "Kafka Connect has no connector " + stack.SourceConnector, nil
		case err == nil:
			err = fmt.Errorf("connector %s is there", stack.SourceConnector)
		}
		return "", err
	}
	i.Undo = func(ctx context.Context) error {
		if before == nil {
			return nil
		}
		return errors.Join(s.worker().Put(ctx, stack.SourceConnector, before),
			until(ctx, func() error { return s.healthy(ctx) }))
	}
	return i
}
