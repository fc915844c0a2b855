//go:build !planted

package documents

import "context"

// slowDown does nothing: only a build with the tag planted is slowed down on purpose.
func (m *Mongo) slowDown(context.Context, int) {}
