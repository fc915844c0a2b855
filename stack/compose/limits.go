package compose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// cpuPeriod is the length over which the kernel counts a quota of processor time.
const cpuPeriod = 100 * time.Millisecond

// LimitCPU leaves the container so many per cent of one processor, until FreeCPU.
func (c *Container) LimitCPU(ctx context.Context, percent int) error {
	return c.setQuota(ctx, (cpuPeriod * time.Duration(percent) / 100).Microseconds())
}

// FreeCPU ends LimitCPU.
func (c *Container) FreeCPU(ctx context.Context) error {
	const noQuota = -1
	return c.setQuota(ctx, noQuota)
}

// setQuota sets the microseconds of processor time in each cpuPeriod.
func (c *Container) setQuota(ctx context.Context, quota int64) error {
	_, err := c.api().ContainerUpdate(ctx, c.id, client.ContainerUpdateOptions{
		Resources: &container.Resources{CPUPeriod: cpuPeriod.Microseconds(), CPUQuota: quota}})
	if err != nil {
		return fmt.Errorf("limit the processor time of %s: %w", c.name, err)
	}
	return nil
}

// Networks are a container's connections by the names of the networks.
type Networks map[string]*network.EndpointSettings

// Networks asks the engine where the container is connected.
func (c *Container) Networks(ctx context.Context) (Networks, error) {
	found, err := c.inspect(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the networks of %s: %w", c.name, err)
	}
	return found.NetworkSettings.Networks, nil
}

// Unplug takes the container out of the networks.
func (c *Container) Unplug(ctx context.Context, from Networks) error {
	var failed []error
	for name := range from {
		_, err := c.api().NetworkDisconnect(ctx, name, client.NetworkDisconnectOptions{
			Container: c.id, Force: true})
		if err != nil {
			failed = append(failed, fmt.Errorf("take %s out of network %s: %w", c.name, name, err))
		}
	}
	return errors.Join(failed...)
}

// Plug puts the container back into the networks that it is not in, under the names from before.
// The container's addresses may be others.
func (c *Container) Plug(ctx context.Context, into Networks) error {
	now, err := c.Networks(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for name, before := range into {
		if now[name] != nil {
			continue
		}
		_, err := c.api().NetworkConnect(ctx, name, client.NetworkConnectOptions{Container: c.id,
			EndpointConfig: &network.EndpointSettings{Aliases: before.Aliases,
				GwPriority: before.GwPriority}})
		if err != nil {
			failed = append(failed, fmt.Errorf("put %s into network %s: %w", c.name, name, err))
		}
	}
	return errors.Join(failed...)
}
