// Breakpoint: at which rate does it break? An open ramp up to 50 times the first rate, which ends when
// the threshold on the latency is crossed (specification 2.7.3). `cdclab bench breakpoint` runs it
// first, and then searches for the highest rate that holds, with HOLD=1: a constant RATE.
//
//   k6 run -e RATE=100 -e DURATION=3m breakpoint.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { changingLoad, constantLoad, summaryTrendStats, timeouts } from './lib/config.js';
import { write } from './lib/writes.js';

export { setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export default write;

export const options = {
  scenarios: __ENV.HOLD ? constantLoad({ rate: 100, duration: '20s' }) : changingLoad({ rate: 100, duration: '2m' }, [[1, 50]]),
  thresholds: JSON.parse(open('../thresholds/breakpoint.json')),
  summaryTrendStats,
  ...timeouts,
};
