import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { KeptLines, keptWords, titleOf } from '../static/chart/kept.js';
import { FlowdClient } from '../static/flowd-client.js';
import * as zone from '../static/chart/zone.js';
import { FakeSocket } from './fakes.js';

const NOW_MS = Date.UTC(2026, 6, 1, 12);
/** @type {FlowdClient[]} */
let clients = [];

beforeEach(() => {
  FakeSocket.made = [];
  Object.assign(globalThis, { localStorage: { getItem: () => null, setItem: () => {} }, document: { documentElement: { dataset: {} } } });
  zone.choose('UTC');
});

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function connecting() {
  const client = new FlowdClient({ url: 'ws://flowd/ws', WebSocket: /** @type {any} */ (FakeSocket) });
  clients.push(client);
  return client;
}

/** @param {string} id @param {object} [more] @returns {any} */
const line = (id, more = {}) => ({ id, symbol: 'BTCUSDT', price: '101', direction: 'both', repeat: false, text: '', state: 'watched', fired_ms: null, set_ms: 1, known_ms: null, removed: false, ...more });

/** Lines of a daemon that answers as `answer` says, and what came of it. @param {(...asked: any[]) => any} [answer] */
function keeping(answer = () => null) {
  const client = connecting();
  /** @type {{changed: number, told: string[], said: string[], asked: any[][]}} */
  const happened = { changed: 0, told: [], said: [], asked: [] };
  const admin = {
    /** @param {any[]} asked */
    send: async (...asked) => {
      happened.asked.push(asked);
      return answer(...asked);
    },
  };
  const kept = new KeptLines(client, 'alert-lines', admin, {
    changed: () => (happened.changed += 1),
    told: (sentence) => happened.told.push(sentence),
    say: (words) => happened.said.push(words),
  });
  const shown = () => kept.lines.map(({ id, price }) => [id, price]);
  return { kept, happened, shown };
}

/** @param {any} body */
const done = (body) => ({ ok: true, status: 200, body, words: '' });

test('lines of the daemon come, move and go as its stream tells', () => {
  const { kept, shown } = keeping();
  kept.open('BTCUSDT');
  FakeSocket.last.open();

  FakeSocket.last.records('alert-lines.lines', 'a.2', [line('1'), line('2', { price: '99' })], true);
  assert.deepEqual(shown(), [['1', '101'], ['2', '99']]);
  FakeSocket.last.records('alert-lines.lines', 'a.4', [line('1', { price: '105' }), line('2', { removed: true })]);
  assert.deepEqual(shown(), [['1', '105']]);
  FakeSocket.last.records('alert-lines.lines', 'b.1', [line('3')], true);
  assert.deepEqual(shown(), [['3', '101']], 'a snapshot replaces all');
});

test('of another symbol only its own lines are followed', () => {
  const { kept, shown } = keeping();
  kept.open('BTCUSDT');
  FakeSocket.last.open();
  FakeSocket.last.records('alert-lines.lines', 'a.1', [line('1')], true);

  kept.open('ETHUSDT');

  assert.deepEqual(shown(), []);
  FakeSocket.last.pong();
  const wishes = FakeSocket.last.all('subscribe').filter(({ streams }) => streams?.[0] === 'alert-lines.lines');
  assert.deepEqual(wishes.map(({ filter }) => filter), [{ symbol: 'BTCUSDT' }, { symbol: 'ETHUSDT' }]);
});

test('an alert of the daemon is told in its own words', () => {
  const { kept, happened } = keeping();
  kept.open('BTCUSDT');
  FakeSocket.last.open();

  FakeSocket.last.records('alert-lines', 'a.1', [{ text: 'BTCUSDT crossed 101' }]);

  assert.deepEqual(happened.told, ['BTCUSDT crossed 101']);
});

test('one that is dragged is there at once, and is asked for once', async () => {
  /** @type {(told: any) => void} */
  let resolve = () => {};
  const { kept, happened, shown } = keeping(() => new Promise((given) => (resolve = given)));
  kept.open('BTCUSDT');
  kept.put([line('1')], true);

  const moving = kept.move('1', '103');
  assert.deepEqual(shown(), [['1', '103']]);
  resolve(done({ line: line('1', { price: '103' }) }));
  assert.equal(await moving, true);
  assert.equal(await kept.move('1', '103'), true);

  assert.deepEqual(shown(), [['1', '103']]);
  assert.deepEqual(happened.asked.map(([, , path, method, body]) => [path, method, body]), [['/api/v1/alert-lines/1', 'PUT', { price: '103' }]]);
});

test('one that cannot be moved goes back, with the reason and the remedy', async () => {
  const error = { error: { message: 'price cannot be', allowed: 'a number above 0' } };
  const { kept, happened, shown } = keeping(() => ({ ok: false, status: 400, body: error, words: 'price cannot be' }));
  kept.open('BTCUSDT');
  kept.put([line('1')], true);

  assert.equal(await kept.move('1', '103'), false);

  assert.deepEqual(shown(), [['1', '101']]);
  assert.deepEqual(happened.said, ['The daemon: price cannot be. Right would be: a number above 0.']);
});

test('without the token nothing changes, and that is said', async () => {
  const { kept, happened, shown } = keeping(() => null);
  kept.open('BTCUSDT');
  kept.put([line('1')], true);

  assert.deepEqual([await kept.add('5'), await kept.remove('1'), await kept.move('1', '3')], [false, false, false]);

  assert.deepEqual(shown(), [['1', '101']]);
  assert.match(happened.said[0], /Without the admin token/);
});

test('an answer for a symbol that was left changes nothing of the next one', async () => {
  /** @type {(told: any) => void} */
  let resolve = () => {};
  const { kept, shown } = keeping(() => new Promise((given) => (resolve = given)));
  kept.open('BTCUSDT');
  const adding = kept.add('101');

  kept.open('ETHUSDT');
  resolve(done({ line: line('1') }));
  await adding;

  assert.deepEqual(shown(), []);
});

test('a daemon that keeps no lines is not asked for any', () => {
  const client = connecting();
  const kept = new KeptLines(client, '', { send: async () => null }, { changed: () => {}, told: () => {}, say: () => {} });

  kept.open('BTCUSDT');
  FakeSocket.last.open();

  assert.equal(kept.there, false);
  assert.deepEqual(FakeSocket.last.all('subscribe'), []);
});

test('words of a line say how it does', () => {
  /** @param {object} more */
  const words = (more) => keptWords(line('1', more), NOW_MS);

  assert.equal(words({}), 'watched');
  assert.equal(words({ direction: 'up', repeat: true, text: 'exit' }), 'exit: watched from below, again and again');
  assert.equal(words({ state: 'reached', fired_ms: NOW_MS - 60_000 }), 'reached 11:59');
  assert.equal(words({ repeat: true, fired_ms: NOW_MS - 60_000 }), 'watched, again and again, reached 11:59');
  assert.equal(words({ state: 'blind', known_ms: NOW_MS - 600_000 }), 'no price known since 11:50');
  assert.equal(words({ state: 'blind' }), 'no price known');
  assert.equal(titleOf({ fired: null, kept: line('1', { text: 'exit' }) }), 'exit · daemon');
  assert.equal(titleOf({ fired: NOW_MS }), 'reached');
});
