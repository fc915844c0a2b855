// Stress: where are the limits? A ramp from 100 to 1,000 writes per second (specification 2.7.3).
//
//   k6 run -e RATE=200 -e DURATION=2m stress.js      # from 200 to 2,000/s in two minutes
//
// k6 must have k6/x/cdc compiled in: go build ./xk6-cdc/cmd/k6
import { changingLoad, summaryTrendStats, timeouts } from './lib/config.js';
import { write } from './lib/writes.js';

export { setup, teardown } from './lib/writes.js';
export { handleSummary } from './lib/summary.js';

export default write;

export const options = {
  scenarios: changingLoad({ rate: 100, duration: '5m' }, [[1, 10]]),
  thresholds: JSON.parse(open('../thresholds/stress.json')),
  summaryTrendStats,
  ...timeouts,
};
