// Spike: five times the normal load for a minute, after one minute and before two of normal load, in
// which the pipeline is to recover (specification 2.7.3). A shorter DURATION keeps the proportions.
//
//   k6 run -e RATE=50 -e DURATION=40s spike.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { changingLoad, summaryTrendStats, timeouts } from './lib/config.js';
import { write } from './lib/writes.js';

export { setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export default write;

export const options = {
  scenarios: changingLoad({ rate: 100, duration: '4m' }, [[0.25, 1], [0, 5], [0.25, 5], [0, 1], [0.5, 1]]),
  thresholds: JSON.parse(open('../thresholds/spike.json')),
  summaryTrendStats,
  ...timeouts,
};
