// What every load scenario does: one write an iteration, between start() and drain(). A scenario exports
// these three as its own; its load is its options. write() it makes its own default, because k6 looks
// that up for every iteration, and slowly where another module has it.
import cdc from 'k6/x/cdc';
import { drainLimit, mix, seed } from './config.js';

const lab = cdc.open({ mix, seed });

export function setup() {
  lab.start();
}

export function write() {
  lab.write();
}

export function teardown() {
  lab.drain(drainLimit);
}
