// Smoke: does the whole pipeline work at all? 50 writes per second for 20 seconds, for pull requests.
//
//   k6 run -e RATE=20 smoke.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { constantLoad, summaryTrendStats, timeouts } from './lib/config.js';
import { write } from './lib/writes.js';

export { setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export default write;

export const options = {
  scenarios: constantLoad({ rate: 50, duration: '20s' }),
  thresholds: JSON.parse(open('../thresholds/smoke.json')),
  summaryTrendStats,
  ...timeouts,
};
