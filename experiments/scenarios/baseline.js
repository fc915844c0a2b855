// Baseline: normal load, 100 writes per second for 5 minutes (specification 2.7.3).
//
//   k6 run -e RATE=200 -e DURATION=1m baseline.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { constantLoad, summaryTrendStats, timeouts } from './lib/config.js';
import { write } from './lib/writes.js';

export { setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export default write;

export const options = {
  scenarios: constantLoad({ rate: 100, duration: '5m' }),
  thresholds: JSON.parse(open('../thresholds/baseline.json')),
  summaryTrendStats,
  ...timeouts,
};
