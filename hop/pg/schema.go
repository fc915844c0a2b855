package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrSetting refuses an address with a setting that changes what statements mean.
var ErrSetting = errors.New("the address of PostgreSQL may name a server, a database, a user " +
	"and how to reach them, and no other setting")

// harmless are the settings of a session that an address may have; the others lead statements
// elsewhere (search_path, options, role) or past a rule (session_replication_role, row_security).
var harmless = []string{"application_name", "client_encoding", "statement_timeout", "lock_timeout",
	"idle_in_transaction_session_timeout"}

// fixedPath finds PostgreSQL's own functions before all others. The lab's statements name their
// schema; public is for the triggers of the tables there.
const fixedPath = "SET search_path = pg_catalog, public"

// FixSchema leads every connection of the configuration to schema public. The path is set after
// connecting, because a role, a database or a trigger of a login may set another at the login. A
// setting of the address beyond the harmless, also one from PGOPTIONS or a service's file, is
// ErrSetting.
func FixSchema(config *pgconn.Config, address string) error {
	for _, name := range slices.Sorted(maps.Keys(config.RuntimeParams)) {
		if !slices.Contains(harmless, name) {
			return fmt.Errorf("%w: it sets %s", ErrSetting, name)
		}
	}
	if namesService(address) {
		return fmt.Errorf("%w: it names a service, whose file names others", ErrSetting)
	}
	before := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if before != nil {
			if err := before(ctx, conn); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, fixedPath).ReadAll(); err != nil {
			return fmt.Errorf("fix the schema: %w", err)
		}
		return nil
	}
	return nil
}

var service = regexp.MustCompile(`(?i)(^|\s)service(file)?\s*=`)

// namesService is true for an address, as a URL or as words, with a service or a service's file.
func namesService(address string) bool {
	if parsed, err := url.Parse(address); err == nil &&
		strings.HasPrefix(parsed.Scheme, "postgres") {
		query := parsed.Query()
		return query.Has("service") || query.Has("servicefile")
	}
	return service.MatchString(address)
}
