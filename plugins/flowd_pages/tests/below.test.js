import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';

import { ask } from '../static/chart/data.js';
import { at, here } from '../static/dom.js';
import { FlowdClient } from '../static/flowd-client.js';
import { HeatmapWebSocket } from '../static/flowd-heatmap.js';
import { home } from '../static/flowd-line.js';

const browser = /** @type {any} */ (globalThis);

/** A page at this path of a daemon that a proxy has below `base`. @param {string} base @param {string} [pathname] */
function page(base, pathname = '/') {
  browser.document = { documentElement: { dataset: base ? { base } : {} } };
  browser.location = { pathname };
}

afterEach(() => {
  delete browser.document;
  delete browser.location;
  mock.restoreAll();
});

test('what pages lead to lies below the path that a proxy has them at', () => {
  page('/flowd');
  assert.equal(at('/chart/BTCUSDT'), '/flowd/chart/BTCUSDT');
  page('');
  assert.equal(at('/chart/BTCUSDT'), '/chart/BTCUSDT');
});

test('a page knows which one it is, wherever it is', () => {
  page('/a/flowd', '/a/flowd/chart/BTCUSDT');
  assert.equal(here(), '/chart/BTCUSDT');
  page('/flowd', '/flowdy/chart');
  assert.equal(here(), '/flowdy/chart');
  page('', '/chart/BTCUSDT');
  assert.equal(here(), '/chart/BTCUSDT');
});

test('the daemon is asked there', async () => {
  page('/flowd');
  /** @type {string[]} */
  const asked = [];
  mock.method(globalThis, 'fetch', async (/** @type {string} */ url) => {
    asked.push(url);
    return { ok: true, json: async () => ({}) };
  });
  await ask('/streams/orders', { limit: 1 });
  assert.deepEqual(asked, ['/flowd/streams/orders?limit=1']);
});

test('the clients find the daemon that they came from', () => {
  assert.equal(home('/ws', 'https://a.test/flowd/assets/0123456789abcdef/flowd-line.js'), 'https://a.test/flowd/ws');
  assert.equal(home('/ws', 'https://a.test/assets/flowd-line.js'), 'https://a.test/ws');
  assert.equal(home('/ws', 'https://a.test/assets/b/assets/flowd-line.js'), 'https://a.test/assets/b/ws');
});

test('from elsewhere they dial the host of the page', () => {
  page('', '/');
  browser.location.href = 'https://b.test/x/y.html';
  /** @type {string[]} */
  const dialled = [];
  class Socket {
    /** @param {string} url */
    constructor(url) {
      dialled.push(url);
    }
    close() {}
  }
  for (const Client of [FlowdClient, HeatmapWebSocket]) new Client({ WebSocket: /** @type {any} */ (Socket) }).close();
  assert.deepEqual(dialled, ['wss://b.test/ws', 'wss://b.test/ws/heatmap']);
});
