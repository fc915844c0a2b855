package stack

import (
	"context"
	"sync"
)

// Health looks at all Components at once: for each its error, nil when it serves. A look takes at
// most some seconds.
func (s *Stack) Health(ctx context.Context) map[string]error {
	var mu sync.Mutex
	health := map[string]error{}
	var looks sync.WaitGroup
	for _, c := range s.Components() {
		looks.Go(func() {
			err := c.Health(ctx)
			mu.Lock()
			defer mu.Unlock()
			health[c.Name()] = err
		})
	}
	looks.Wait()
	return health
}
