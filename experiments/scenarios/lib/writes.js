// What every load scenario does: one write an iteration, between start() and drain(). A scenario exports
// these three as its own; its load is its options.
import cdc from 'k6/x/cdc';
import { drainLimit, mix, seed } from './config.js';

const lab = cdc.open({ mix, seed });

export function setup() {
  lab.start();
}

export default function () {
  lab.write();
}

export function teardown() {
  lab.drain(drainLimit);
}
