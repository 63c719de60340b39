import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import * as client from '../static/flowd-client.js';
import { FakeSocket, seeded } from './fakes.js';

const { FlowdClient } = client;

/** @param {object} [options] @returns {client.FlowdClient} */
function connect(options = {}) {
  return new FlowdClient({ url: 'http://daemon.test/ws', WebSocket: /** @type {any} */ (FakeSocket), random: () => 1, ...options });
}

/** A client with an open connection. */
function connected() {
  const flowd = connect();
  FakeSocket.last.open();
  return flowd;
}

/** Remembers what a subscription tells. */
function notes() {
  /** @type {any[]} */
  const told = [];
  return {
    told,
    records: (/** @type {any[]} */ records, /** @type {any} */ { first }) => told.push([first ? 'first' : 'more', ...records.map((one) => one.value)]),
    gap: (/** @type {any} */ gap) => told.push(['gap', gap.first, gap.last]),
    reset: () => told.push(['reset']),
    slow: (/** @type {number} */ behind) => told.push(['slow', behind]),
    error: (/** @type {any} */ mistake) => told.push(['error', mistake.code]),
  };
}

/** All promises that are ready have been told. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_700_000_000_000 });
});

afterEach(() => mock.timers.reset());

test('the address becomes a WebSocket address', () => {
  connect({ url: 'https://daemon.test/ws' });

  assert.equal(FakeSocket.last.url, 'wss://daemon.test/ws');
});

test('each connection has a ticket of its own', async () => {
  let made = 0;
  connect({ ticket: async () => `t${++made}` });
  assert.equal(FakeSocket.made.length, 0);
  await settled();
  assert.equal(FakeSocket.last.url, 'ws://daemon.test/ws?ticket=t1');

  FakeSocket.last.open();
  FakeSocket.last.close();
  mock.timers.tick(client.BACKOFF_MOST_MS);
  await settled();

  assert.equal(FakeSocket.last.url, 'ws://daemon.test/ws?ticket=t2');
});

test('who gets no ticket tries again later', async () => {
  let asked = 0;
  const flowd = connect({
    ticket: async () => {
      if (++asked === 1) throw new Error('401');
      return 't';
    },
  });
  await settled();
  assert.equal(flowd.retryAt, Date.now() + client.BACKOFF_FIRST_MS);

  mock.timers.tick(client.BACKOFF_FIRST_MS);
  await settled();

  assert.equal(FakeSocket.made.length, 1);
});

test('a ticket that never comes is given up, and one that comes too late opens nothing', async () => {
  /** @type {((ticket: string) => void)[]} */
  const waiting = [];
  const flowd = connect({ ticket: () => new Promise((resolve) => waiting.push(resolve)) });

  mock.timers.tick(client.OPEN_WITHIN_MS);
  waiting[0]?.('late');
  await settled();
  assert.equal(FakeSocket.made.length, 0);
  assert.notEqual(flowd.retryAt, null);

  flowd.reconnect();
  flowd.close();
  waiting[1]?.('closed');
  await settled();
  assert.equal(FakeSocket.made.length, 0);
});

test('a stream is asked for once the connection is open', () => {
  const flowd = connect();
  flowd.follow('orders', { filter: { symbol: 'BTCUSDT' }, limit: 50 });
  assert.deepEqual(FakeSocket.last.said, []);

  FakeSocket.last.open();

  const [{ id, ...said }] = FakeSocket.last.all('subscribe');
  assert.deepEqual(said, { action: 'subscribe', streams: ['orders'], filter: { symbol: 'BTCUSDT' }, limit: 50 });
  assert.equal(typeof id, 'number');
});

test('records come to their subscription, and the first ones say that they replace', () => {
  const flowd = connected();
  const [orders, volume] = [notes(), notes()];
  const subscription = flowd.follow('orders', {}, orders);
  flowd.follow('volume', {}, volume);

  FakeSocket.last.records('orders', 'e.2', ['a', 'b'], true);
  FakeSocket.last.records('orders', 'e.3', ['c']);
  FakeSocket.last.records('volume', 'f.1', ['v'], true);
  FakeSocket.last.records('nobody', 'g.1', ['x'], true);

  assert.deepEqual(orders.told, [['first', 'a', 'b'], ['more', 'c']]);
  assert.deepEqual(volume.told, [['first', 'v']]);
  assert.equal(subscription.position, 'e.3');
});

test('a lost connection comes back, restores what was followed, and goes on after the last position', () => {
  const flowd = connected();
  flowd.follow('orders', { limit: 50 });
  flowd.follow('volume', { filter: { timeframe: '1m' } });
  FakeSocket.last.records('orders', 'k3.18', ['a'], true);

  FakeSocket.last.end(1006);
  assert.equal(flowd.status, 'disconnected');
  mock.timers.tick(client.BACKOFF_FIRST_MS);
  FakeSocket.last.open();

  assert.equal(FakeSocket.made.length, 2);
  assert.equal(flowd.status, 'connected');
  const asked = FakeSocket.last.all('subscribe').map(({ id, ...said }) => said);
  assert.deepEqual(asked, [
    { action: 'subscribe', streams: ['orders'], limit: 50, after: { orders: 'k3.18' } },
    { action: 'subscribe', streams: ['volume'], filter: { timeframe: '1m' } },
  ]);
});

test('what was closed is not restored', () => {
  const flowd = connected();
  flowd.follow('orders').close();
  FakeSocket.last.end(1006);
  mock.timers.tick(client.BACKOFF_FIRST_MS);

  FakeSocket.last.open();

  assert.deepEqual(FakeSocket.last.all('subscribe'), []);
});

test('waits grow exponentially up to a limit, and half of each is chance', () => {
  const random = seeded(7);

  const waits = Array.from({ length: 12 }, (_, attempt) => client.backoff(attempt, random));

  const most = waits.map((_, attempt) => Math.min(client.BACKOFF_MOST_MS, client.BACKOFF_FIRST_MS * 2 ** attempt));
  for (const [attempt, wait] of waits.entries()) {
    assert.ok(wait >= most[attempt] / 2, `${wait} of ${most[attempt]}`);
    assert.ok(wait <= most[attempt]);
  }
  assert.ok(new Set(waits.slice(7)).size > 1, 'the longest waits differ too');
  const again = seeded(7);
  assert.deepEqual(waits, Array.from({ length: 12 }, (_, attempt) => client.backoff(attempt, again)));
});

test('each failure waits longer, and says until when', () => {
  const flowd = connect();
  /** @type {number[]} */
  const waits = [];
  flowd.addEventListener('status', () => flowd.retryAt && waits.push(flowd.retryAt - Date.now()));

  for (let failure = 0; failure < 8; failure++) {
    FakeSocket.last.end(1006);
    mock.timers.tick(client.BACKOFF_MOST_MS);
  }

  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
});

test('a connection that lasts makes the next wait short again, one that ends at once does not', () => {
  const flowd = connect();
  for (const lasts of [0, 0, 0, client.STABLE_AFTER_MS]) {
    FakeSocket.last.open();
    FakeSocket.last.pong();
    mock.timers.tick(lasts);
    FakeSocket.last.end(1006);
    assert.equal((flowd.retryAt ?? 0) - Date.now(), lasts ? 500 : 500 * 2 ** (FakeSocket.made.length - 1));
    mock.timers.tick(client.BACKOFF_MOST_MS);
  }
});

test('who was let go for its behaviour does not come back at once', () => {
  const flowd = connected();

  FakeSocket.last.end(1008, 'too many mistakes');

  assert.ok((flowd.retryAt ?? 0) - Date.now() >= 8000);
});

test('a connection that does not open in time is given up', () => {
  const flowd = connect();

  mock.timers.tick(client.OPEN_WITHIN_MS);

  assert.equal(FakeSocket.made[0].readyState, 3);
  assert.equal(flowd.status, 'disconnected');
  mock.timers.tick(client.BACKOFF_FIRST_MS);
  assert.equal(FakeSocket.made.length, 2);
});

test('a ping is sent every 30 seconds', () => {
  connected();
  for (let minute = 0; minute < 3; minute++) {
    FakeSocket.last.pong();
    mock.timers.tick(client.PING_EVERY_MS - 1);
    assert.equal(FakeSocket.last.all('ping').length, 0);
    mock.timers.tick(1);
    assert.equal(FakeSocket.last.all('ping').length, 1);
  }
});

test('a connection that gives no sign of life after a ping is dead', () => {
  const flowd = connected();
  FakeSocket.last.pong();
  mock.timers.tick(client.PING_EVERY_MS);

  mock.timers.tick(client.PONG_WITHIN_MS);

  assert.equal(flowd.status, 'disconnected');
  assert.equal(FakeSocket.made[0].readyState, 3);
});

test('records are a sign of life while a pong is stuck behind them', () => {
  const flowd = connected();
  flowd.follow('orders');
  FakeSocket.last.pong();
  mock.timers.tick(client.PING_EVERY_MS);
  mock.timers.tick(client.PONG_WITHIN_MS - 1);
  FakeSocket.last.records('orders', 'e.1', ['a'], true);

  mock.timers.tick(client.PONG_WITHIN_MS);

  assert.equal(flowd.status, 'slow');
});

test('a late pong makes it slow, a quick one connected again', () => {
  const flowd = connected();
  mock.timers.tick(client.SLOW_PONG_MS);
  assert.equal(flowd.status, 'slow');
  FakeSocket.last.pong();
  assert.equal(flowd.status, 'slow', 'this one was late itself');
  mock.timers.tick(client.PING_EVERY_MS - client.SLOW_PONG_MS);

  FakeSocket.last.pong();

  assert.equal(flowd.status, 'connected');
});

test('the warning of the daemon makes it slow for a while, and says how far behind', () => {
  const flowd = connected();
  const orders = notes();
  flowd.follow('orders', {}, orders);
  FakeSocket.last.pong();

  FakeSocket.last.says({ type: 'warning', code: 'SLOW_CONSUMER', stream: 'orders', behind: 70 });
  assert.equal(flowd.status, 'slow');
  FakeSocket.last.pong();
  assert.equal(flowd.status, 'slow');
  mock.timers.tick(client.SLOW_FOR_MS);

  assert.equal(flowd.status, 'connected');
  assert.deepEqual(orders.told, [['slow', 70]]);
});

test('a gap and a reset are told before the records after them', () => {
  const flowd = connected();
  const orders = notes();
  const subscription = flowd.follow('orders', {}, orders);
  FakeSocket.last.records('orders', 'e.5', [], true);

  FakeSocket.last.says({ type: 'gap', stream: 'orders', position: 'e.9', gap: { first: 6, last: 9 } });
  assert.equal(subscription.position, 'e.9');
  FakeSocket.last.records('orders', 'e.10', ['b']);
  FakeSocket.last.says({ type: 'reset', stream: 'orders', position: 'f.12' });
  assert.equal(subscription.position, '');
  FakeSocket.last.records('orders', 'f.12', ['c'], true);

  assert.deepEqual(orders.told, [['first'], ['gap', 6, 9], ['more', 'b'], ['reset'], ['first', 'c']]);
  assert.equal(subscription.position, 'f.12');
});

test('after a change nothing of the former choice comes, however late it arrives', () => {
  const flowd = connected();
  const orders = notes();
  const subscription = flowd.follow('orders', { filter: { symbol: 'BTCUSDT' } }, orders);
  FakeSocket.last.records('orders', 'e.1', ['btc'], true);
  FakeSocket.last.pong();

  subscription.change({ filter: { symbol: 'ETHUSDT' } });
  FakeSocket.last.records('orders', 'e.2', ['late btc']);
  assert.equal(FakeSocket.last.all('subscribe').length, 1, 'it waits for the pong that divides old from new');
  FakeSocket.last.pong();
  FakeSocket.last.records('orders', 'e.3', ['eth'], true);

  assert.deepEqual(orders.told, [['first', 'btc'], ['first', 'eth']]);
  assert.deepEqual(FakeSocket.last.all('subscribe').at(-1)?.filter, { symbol: 'ETHUSDT' });
  assert.equal(FakeSocket.last.all('subscribe').at(-1)?.after, undefined);
});

test('of several changes in a row only the last is asked for', () => {
  const flowd = connected();
  const subscription = flowd.follow('orders', { filter: { symbol: 'A1' } });
  FakeSocket.last.pong();

  for (const symbol of ['B2', 'C3', 'D4']) subscription.change({ filter: { symbol } });
  FakeSocket.last.pong();

  const asked = FakeSocket.last.all('subscribe').map((said) => said.filter);
  assert.deepEqual(asked, [{ symbol: 'A1' }, { symbol: 'D4' }]);
  assert.equal(FakeSocket.last.all('unsubscribe').length, 1);
});

test('a change while there is no connection counts at the next one', () => {
  const flowd = connected();
  const subscription = flowd.follow('orders', { filter: { symbol: 'A1' } });
  FakeSocket.last.records('orders', 'e.1', [], true);
  FakeSocket.last.end(1006);

  subscription.change({ filter: { symbol: 'B2' } });
  mock.timers.tick(client.BACKOFF_FIRST_MS);
  FakeSocket.last.open();

  const [said] = FakeSocket.last.all('subscribe');
  assert.deepEqual([said.filter, said.after], [{ symbol: 'B2' }, undefined]);
});

test('a stream is followed once by a client', () => {
  const flowd = connected();
  flowd.follow('orders');

  assert.throws(() => flowd.follow('orders'), /orders is followed already/);
});

test('a refused subscription is told so, and asked for again at the next connection', () => {
  const flowd = connected();
  const volume = notes();
  flowd.follow('orders', {}, notes());
  flowd.follow('volume', {}, volume);
  const id = FakeSocket.last.all('subscribe')[1].id;

  FakeSocket.last.says({ type: 'error', code: 'UNKNOWN_STREAM', message: 'there is no stream', id });

  assert.deepEqual(volume.told, [['error', 'UNKNOWN_STREAM']]);
  FakeSocket.last.end(1012);
  mock.timers.tick(client.BACKOFF_FIRST_MS);
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.all('subscribe').length, 2);
});

test('a mistake that is nobody\'s is nobody\'s', () => {
  const flowd = connected();
  const orders = notes();
  flowd.follow('orders', {}, orders);

  FakeSocket.last.says({ type: 'error', code: 'BAD_MESSAGE', message: 'a message is a JSON object' });

  assert.deepEqual(orders.told, []);
});

test('a handler that throws harms nobody', () => {
  const flowd = connected();
  const report = mock.method(console, 'error', () => {});
  const volume = notes();
  flowd.follow('orders', {}, { records: () => assert.fail('handler') });
  flowd.follow('volume', {}, volume);

  FakeSocket.last.records('orders', 'e.1', ['a'], true);
  FakeSocket.last.records('volume', 'e.1', ['v'], true);

  assert.deepEqual(volume.told, [['first', 'v']]);
  assert.equal(report.mock.callCount(), 1);
  report.mock.restore();
});

test('what is no message is ignored', () => {
  const flowd = connected();

  for (const data of ['', 'not json', '[]', 'null', '{"type":"new in a later version","stream":"x"}']) FakeSocket.last.onmessage?.({ data });

  assert.equal(flowd.status, 'connected');
});

test('the clock of the daemon is known after a pong', () => {
  const flowd = connected();
  FakeSocket.last.pong(Date.now() + 90_000);

  assert.equal(flowd.now(), Date.now() + 90_000);
  assert.equal(flowd.latencyMs, 0);
});

test('reconnect tries at once, and only when it is not connected', () => {
  const flowd = connected();
  flowd.reconnect();
  assert.equal(FakeSocket.made.length, 1);
  for (let failure = 0; failure < 5; failure++) {
    FakeSocket.last.end(1006);
    if (failure < 4) mock.timers.tick(client.BACKOFF_MOST_MS);
  }

  flowd.reconnect();

  assert.equal(FakeSocket.made.length, 6);
  mock.timers.tick(client.OPEN_WITHIN_MS - 1);
  assert.equal(FakeSocket.made.length, 6, 'the former attempt was called off');
});

test('close is for good', () => {
  const flowd = connected();
  const orders = notes();
  flowd.follow('orders', {}, orders);

  flowd.close();
  FakeSocket.last.records('orders', 'e.1', ['a'], true);
  mock.timers.tick(client.BACKOFF_MOST_MS * 10);

  assert.equal(flowd.status, 'disconnected');
  assert.equal(FakeSocket.made.length, 1);
  assert.equal(FakeSocket.last.readyState, 3);
  assert.deepEqual(orders.told, []);
});

test('status is told once for each change', () => {
  const flowd = connect();
  /** @type {string[]} */
  const told = [];
  flowd.addEventListener('status', () => told.push(flowd.status));

  FakeSocket.last.open();
  FakeSocket.last.pong();
  mock.timers.tick(client.PING_EVERY_MS);
  FakeSocket.last.pong();
  FakeSocket.last.end(1006);

  assert.deepEqual(told, ['connected', 'disconnected']);
});
