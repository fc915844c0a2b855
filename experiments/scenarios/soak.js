// Soak: does anything grow? 100 writes per second for two hours (specification 2.7.3).
//
//   k6 run -e DURATION=15m soak.js
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import cdc from 'k6/x/cdc';
import { constantLoad, drainLimit, mix, seed, summaryTrendStats, timeouts } from './lib/config.js';

export { handleSummary } from './lib/summary.js';

export const options = {
  scenarios: constantLoad({ rate: 100, duration: '2h' }),
  thresholds: JSON.parse(open('../thresholds/soak.json')),
  summaryTrendStats,
  ...timeouts,
};

// k6 keeps every sample of a trend, so with all of them k6 itself would grow.
const lab = cdc.open({ mix, seed, trends: 0.02 });

export const setup = () => lab.start();
export const teardown = () => lab.drain(drainLimit);
export default () => lab.write();
