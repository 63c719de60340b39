import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { BACKOFF_FIRST_MS, PING_EVERY_MS, PONG_WITHIN_MS, STABLE_AFTER_MS } from '../static/flowd-client.js';
import { HeatmapWebSocket } from '../static/flowd-heatmap.js';
import { FakeSocket } from './fakes.js';

/** @param {object} [options] */
function connect(options = {}) {
  return new HeatmapWebSocket({ url: 'http://daemon.test/ws/heatmap', WebSocket: /** @type {any} */ (FakeSocket), random: () => 1, ...options });
}

function connected() {
  const maps = connect();
  FakeSocket.last.open();
  return maps;
}

/** What it tells, in order. @param {HeatmapWebSocket} maps */
function notes(maps) {
  /** @type {unknown[]} */
  const told = [];
  for (const type of ['snapshot', 'warning', 'error']) {
    maps.addEventListener(type, (event) => {
      const { detail } = /** @type {CustomEvent} */ (event);
      told.push([type, detail.symbol ?? detail.code]);
    });
  }
  maps.addEventListener('status', () => told.push(maps.status));
  return told;
}

/** @param {string} symbol @param {string} [position] @param {string} [source] */
const snapshot = (symbol, position, source = 'estimated') => ({ type: 'snapshot', symbol, position, timestamp: '2026-11-29T00:00:00Z', data: { source, levels: [] } });

/** All promises that are ready have been told. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
});

afterEach(() => mock.timers.reset());

test('symbols are asked for once the connection is open, ten in one message', () => {
  const maps = connect({ interval: 2 });
  maps.subscribe(['BTCUSDT', 'ETHUSDT', 'BTCUSDT']);
  maps.subscribe(Array.from({ length: 9 }, (_, n) => `A${n}`));
  assert.deepEqual(FakeSocket.last.said, []);

  FakeSocket.last.open();

  const asked = FakeSocket.last.all('subscribe');
  assert.deepEqual(asked[0], { action: 'subscribe', symbols: ['BTCUSDT', 'ETHUSDT', 'A0', 'A1', 'A2', 'A3', 'A4', 'A5', 'A6', 'A7'], update_interval: 2 });
  assert.deepEqual(asked[1], { action: 'subscribe', symbols: ['A8'], update_interval: 2 });
  assert.equal(FakeSocket.last.url, 'ws://daemon.test/ws/heatmap');
});

test('who follows already is not asked for again', () => {
  const maps = connected();
  maps.subscribe(['BTCUSDT']);

  maps.subscribe(['BTCUSDT', 'ETHUSDT']);

  assert.deepEqual(FakeSocket.last.all('subscribe').map((said) => /** @type {any} */ (said).symbols), [['BTCUSDT'], ['ETHUSDT']]);
});

test('maps come to who listens, and none of a symbol that was let go of', () => {
  const maps = connected();
  maps.subscribe(['BTCUSDT', 'ETHUSDT']);
  const told = notes(maps);

  maps.unsubscribe(['ETHUSDT', 'nobody']);
  FakeSocket.last.says(snapshot('ETHUSDT'));
  FakeSocket.last.says(snapshot('BTCUSDT'));

  assert.deepEqual(told, [['snapshot', 'BTCUSDT']]);
  assert.deepEqual(FakeSocket.last.all('unsubscribe'), [{ action: 'unsubscribe', symbols: ['ETHUSDT'] }]);
});

test('a source that is named is asked for, apart from others, and again after the connection was lost', () => {
  const maps = connected();
  maps.subscribe(['BTCUSDT', 'ETHUSDT']);
  maps.subscribe(['BTC'], 'observed');
  FakeSocket.last.says(snapshot('BTC', 'e.7', 'observed'));

  FakeSocket.last.end(1006);
  mock.timers.tick(BACKOFF_FIRST_MS);
  FakeSocket.last.open();

  assert.deepEqual(FakeSocket.last.all('subscribe'), [
    { action: 'subscribe', symbols: ['BTCUSDT', 'ETHUSDT'], update_interval: 5 },
    { action: 'subscribe', symbols: ['BTC'], source: 'observed', update_interval: 5, after: { BTC: 'e.7' } },
  ]);
});

test('to follow a symbol in another source changes over, and nothing of the former one comes any more', () => {
  const maps = connected();
  maps.subscribe(['BTC'], 'estimated');
  FakeSocket.last.says(snapshot('BTC', 'e.7', 'estimated'));
  const told = notes(maps);

  maps.subscribe(['BTC'], 'observed');
  FakeSocket.last.says(snapshot('BTC', 'e.8', 'estimated'));
  assert.deepEqual(told, []);
  FakeSocket.last.says(snapshot('BTC', 'f.1', 'observed'));

  assert.deepEqual(told, [['snapshot', 'BTC']]);
  assert.deepEqual(FakeSocket.last.all('subscribe').at(-1), { action: 'subscribe', symbols: ['BTC'], source: 'observed', update_interval: 5 });
});

test('where streams are locked, each connection has a ticket of its own', async () => {
  let made = 0;
  const maps = connect({ ticket: async () => `t${++made}` });
  assert.equal(FakeSocket.made.length, 0);
  await settled();
  assert.equal(FakeSocket.last.url, 'ws://daemon.test/ws/heatmap?ticket=t1');
  FakeSocket.last.open();
  assert.equal(maps.status, 'connected');

  FakeSocket.last.end(1006);
  mock.timers.tick(BACKOFF_FIRST_MS);
  await settled();

  assert.equal(FakeSocket.last.url, 'ws://daemon.test/ws/heatmap?ticket=t2');
});

test('who gets no ticket, or an address that is none, tries again later', async () => {
  const maps = connect({ ticket: () => Promise.reject(new Error('401')) });
  await settled();
  assert.deepEqual([FakeSocket.made.length, maps.retryAt], [0, Date.now() + BACKOFF_FIRST_MS]);

  class Refusing {
    constructor() {
      throw new SyntaxError('no address');
    }
  }
  assert.equal(connect({ WebSocket: Refusing }).retryAt, Date.now() + BACKOFF_FIRST_MS);
});

test('who is thrown out waits longer than who lost the line', () => {
  const maps = connected();

  FakeSocket.last.end(1008);

  assert.ok(Number(maps.retryAt) - Date.now() > 10 * BACKOFF_FIRST_MS);
});

test('a lost connection comes back after a while that doubles, and goes on where each symbol was', () => {
  const maps = connected();
  maps.subscribe(['BTCUSDT', 'ETHUSDT']);
  FakeSocket.last.says(snapshot('BTCUSDT', 'e.7'));

  FakeSocket.last.end(1006);
  assert.deepEqual([maps.status, maps.retryAt], ['disconnected', Date.now() + BACKOFF_FIRST_MS]);
  mock.timers.tick(BACKOFF_FIRST_MS);
  FakeSocket.last.end(1006);
  assert.equal(maps.retryAt, Date.now() + 2 * BACKOFF_FIRST_MS);
  mock.timers.tick(2 * BACKOFF_FIRST_MS);
  FakeSocket.last.open();

  assert.equal(maps.status, 'connected');
  assert.deepEqual(FakeSocket.last.all('subscribe'), [{ action: 'subscribe', symbols: ['BTCUSDT', 'ETHUSDT'], update_interval: 5, after: { BTCUSDT: 'e.7' } }]);
});

test('a connection that lasted makes the next wait short again', () => {
  const maps = connect();
  for (let failures = 0; failures < 4; failures++) {
    FakeSocket.last.end(1006);
    mock.timers.tick(20_000);
  }
  FakeSocket.last.open();
  FakeSocket.last.pong();

  mock.timers.tick(STABLE_AFTER_MS);
  FakeSocket.last.end(1006);

  assert.equal(maps.retryAt, Date.now() + BACKOFF_FIRST_MS);
});

test('it is slow from the warning until a map comes', () => {
  const maps = connected();
  maps.subscribe(['BTCUSDT']);
  const told = notes(maps);

  FakeSocket.last.says({ type: 'warning', code: 'SLOW_CONSUMER', message: '', dropped_messages: 2 });
  FakeSocket.last.says(snapshot('BTCUSDT'));
  FakeSocket.last.says({ type: 'warning', code: 'CONNECTION_UNSTABLE', message: '' });

  assert.deepEqual(told, ['slow', ['warning', 'SLOW_CONSUMER'], 'connected', ['snapshot', 'BTCUSDT'], ['warning', 'CONNECTION_UNSTABLE']]);
});

test('a mistake is told, and the rest goes on', () => {
  const maps = connected();
  const told = notes(maps);

  FakeSocket.last.says({ type: 'error', code: 'INVALID_SYMBOL', message: 'there is no map of X' });
  FakeSocket.last.onmessage?.({ data: 'no JSON' });

  assert.deepEqual(told, [['error', 'INVALID_SYMBOL']]);
  assert.equal(maps.status, 'connected');
});

test('it pings every half a minute, and silence after a ping ends the connection', () => {
  const maps = connected();
  const socket = FakeSocket.last;
  mock.timers.tick(40);
  socket.says({ type: 'pong', timestamp: '' });
  assert.equal(maps.latencyMs, 40);

  mock.timers.tick(PING_EVERY_MS);
  assert.equal(socket.all('ping').length, 2);
  mock.timers.tick(PONG_WITHIN_MS);

  assert.equal(maps.status, 'disconnected');
  assert.equal(socket.readyState, 3);
});

test('who closes it is not connected again', () => {
  const maps = connected();

  maps.close();
  mock.timers.tick(100_000);
  maps.reconnect();

  assert.deepEqual([maps.status, maps.retryAt, FakeSocket.made.length], ['disconnected', null, 1]);
});
