// A back end's conduct in XenStore: what it shows, and when its driver connects and disconnects.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { BackendDevice, type BackendDriver, FrontendError } from '../../../src/backends/xenbus/backend-device.ts';
import type { XenStore } from '../../../src/backends/xenstore/store.ts';
import { makeStore } from '../xenstore/guest.ts';

const BACK = '/local/domain/0/backend/vif/1/0';
const FRONT = '/local/domain/1/device/vif/0';

let store: XenStore;
let calls: string[];
let refusal: string | null;

const driver: BackendDriver = {
  features: () => {
    calls.push('features');
    return { 'feature-sg': '1' };
  },
  connect: front => {
    calls.push('connect');
    if (refusal !== null) throw new FrontendError(refusal);
    return { ring: String(front.number('tx-ring-ref', 100)) };
  },
  disconnect: () => void calls.push('disconnect'),
};

const front = (state: number | string) => store.host.write(`${FRONT}/state`, String(state));
const shown = () => store.host.read(`${BACK}/state`);
const device = () => new BackendDevice({ store: store.host, backendPath: BACK, frontendPath: FRONT, driver });

beforeEach(() => {
  store = makeStore();
  calls = [];
  refusal = null;
  store.host.write(`${BACK}/state`, '1');
  store.host.write(`${BACK}/online`, '1');
  front(1);
});

describe('a back end in XenStore', () => {
  it('offers its features, connects, and closes with its front end', () => {
    device();
    expect([shown(), store.host.read(`${BACK}/feature-sg`)]).toEqual(['2', '1']);
    store.host.write(`${FRONT}/tx-ring-ref`, '8');
    front(4);
    expect([shown(), store.host.read(`${BACK}/ring`)]).toEqual(['4', '8']);
    front(5);
    expect(shown()).toBe('5');
    front(6);
    expect(shown()).toBe('6');
    expect(calls).toEqual(['features', 'connect', 'disconnect']);
  });

  it('waits through Initialised as block front ends do it', () => {
    device();
    store.host.write(`${FRONT}/tx-ring-ref`, '8');
    front(3);
    expect(shown()).toBe('4');
    front(4);
    expect(calls).toEqual(['features', 'connect']);
  });

  it('starts again for a front end that does, whether it had closed or not', () => {
    device();
    store.host.write(`${FRONT}/tx-ring-ref`, '8');
    front(4);
    front(6);
    front(1);
    expect(shown()).toBe('2');
    front(4);
    front(1);
    expect(shown()).toBe('2');
    front(4);
    expect(shown()).toBe('4');
    expect(calls.filter(call => call === 'connect')).toHaveLength(3);
    expect(calls.filter(call => call === 'disconnect')).toHaveLength(2);
  });

  it.each(['', '-1', '101', '8 ', '0x8', '99999999999'])('refuses the number %j with a sentence', text => {
    device();
    store.host.write(`${FRONT}/tx-ring-ref`, text);
    front(4);
    expect(shown()).toBe('5');
    expect(store.host.read('/local/domain/0/error/backend/vif/1/0/error')).toBe(
      '-22 reading tx-ring-ref: not a number from 0 to 100',
    );
    expect(calls).toEqual(['features', 'connect', 'disconnect']);
  });

  it('is detached once its front end has let go', () => {
    const back = device();
    store.host.write(`${FRONT}/tx-ring-ref`, '8');
    front(4);
    let isGone = false;
    back.close(() => {
      isGone = true;
    });
    expect([shown(), isGone, store.host.read(`${BACK}/online`)]).toEqual(['5', false, '0']);
    front(5);
    front(6);
    expect([shown(), isGone]).toEqual(['6', true]);
    front(1);
    expect(shown()).toBe('6');
  });

  it('stop() gives back what is connected and hears nothing more', () => {
    const back = device();
    store.host.write(`${FRONT}/tx-ring-ref`, '8');
    front(4);
    back.stop();
    back.stop();
    front(1);
    expect(calls).toEqual(['features', 'connect', 'disconnect']);
  });

  it('connects and disconnects by turns, whatever states a front end shows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(9), fc.constantFrom('', 'x', 'gone', '4 ', 'fail', 'ok')), { maxLength: 40 }),
        steps => {
          store = makeStore();
          calls = [];
          refusal = null;
          const back = device();
          store.host.write(`${FRONT}/tx-ring-ref`, '8');
          for (const step of steps) {
            if (step === 'gone') store.host.rmIfThere(FRONT);
            else if (step === 'fail') refusal = 'no';
            else if (step === 'ok') refusal = null;
            else front(step);
          }
          back.stop();
          const turns = calls.filter(call => call !== 'features');
          for (const [i, call] of turns.entries()) expect(call).toBe(i % 2 === 0 ? 'connect' : 'disconnect');
          expect(turns.length % 2).toBe(0);
        },
      ),
    );
  });
});
