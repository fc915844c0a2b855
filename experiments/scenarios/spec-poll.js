// The specification's own way to measure (2.7.4), for comparison: each of VUS virtual users (1; the
// specification has 50 to 100) writes a customer with k6/x/sql and asks MongoDB every 100 ms, at most
// 30 s long, until the document is there.
//
//   k6 run -e VUS=50 -e DURATION=30s spec-poll.js
//
// It is a closed model: the next write waits for the last one, so a pipeline that stalls is written
// to less, and its stall is one bad sample among few. A latency is a multiple of the 100 ms, more or
// less, and starts where the script got its turn. smoke.js does the same job without all that;
// README.md says what either costs.
import cdc from 'k6/x/cdc';
import sql from 'k6/x/sql';
import driver from 'k6/x/sql/driver/pgx';
import { check, sleep } from 'k6';
import { Rate, Trend } from 'k6/metrics';
import { summaryTrendStats, wholeNumber } from './lib/config.js';

export { handleSummary } from './lib/summary.js';

const maxWait = 30000; // ms
const pollInterval = 100; // ms

const { 'cdc_writes{scenario:load}': _, ...limits } = JSON.parse(open('../thresholds/smoke.json')); // those of lab.write()

export const options = {
  scenarios: { load: { executor: 'constant-vus', vus: wholeNumber('VUS', 1), duration: __ENV.DURATION || '20s', gracefulStop: '30s' } },
  thresholds: { ...limits, checks: ['rate>0.99'] },
  summaryTrendStats,
};

// The module's own metrics: the same names, so that both ways can be laid side by side.
const latency = new Trend('cdc_e2e_latency_ms', true);
const success = new Rate('cdc_e2e_success_rate');
const timeout = new Rate('cdc_e2e_timeout_rate');
const query = new Trend('db_query_duration', true);

const db = sql.open(driver, __ENV.CDC_POSTGRES_DSN || 'postgres://postgres@127.0.0.1:5432/postgres');
const lab = cdc.open();

export function setup() {
  lab.startOwn(pollInterval);
}

export default function () {
  const row = lab.newRow();
  const write = { entity: 'customer', op: 'insert', id: row.id, version: row.version };
  const tags = { entity: write.entity, operation: write.op };
  const start = Date.now();
  try {
    db.exec(
      "INSERT INTO public.customer (id, email, status, lab_version) VALUES ($1, $2, 'active', $3)",
      row.id, `load-test-${row.id}@example.com`, row.version);
  } catch (e) {
    lab.wrote({ ...write, started: start, error: `${e}` });
    throw e;
  }
  const committed = Date.now();
  query.add(committed - start, tags);
  let found = false;
  while (!found && Date.now() - start < maxWait) {
    found = lab.has('customer', row.id, row.version);
    if (!found) sleep(pollInterval / 1000);
  }
  const seen = found ? Date.now() : undefined;
  lab.wrote({ ...write, started: start, committed, seen });
  if (found) latency.add(seen - start, tags);
  success.add(found, tags);
  timeout.add(!found, tags);
  check(found, { 'record materialized': (f) => f === true });
}

export function teardown() {
  lab.drain('0s');
  db.close();
}
