// Soak: does anything grow? 100 writes per second for two hours (specification 2.7.3).
//
//   k6 run -e DURATION=15m soak.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { constantLoad, summaryTrendStats, timeouts } from './lib/config.js';

export { default, setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export const options = {
  scenarios: constantLoad({ rate: 100, duration: '2h' }),
  thresholds: JSON.parse(open('../thresholds/soak.json')),
  summaryTrendStats,
  ...timeouts,
};
