import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { AGAIN_EVERY_MS, BUILT_EVERY_MS, Loading, RETRY_AFTER_MS, ROOM_AFTER_MS } from '../static/chart/loading.js';
import { BACKOFF_FIRST_MS, FlowdClient } from '../static/flowd-client.js';
import { FakeSocket } from './fakes.js';

const NOW_MS = 1_699_999_980_000;
const NOW = NOW_MS / 1000;

const PARTS = [
  { name: 'orders', kind: 'binance-force-order', table: 'sources' },
  { name: 'klines', kind: 'binance-candles', table: 'sources' },
  { name: 'volume', kind: 'liquidation-volume', table: 'transforms' },
];

/** What a daemon answers, by path without the symbol. @type {Record<string, () => any>} */
let answers = {};

/** What the streams carry that these kinds write. @type {Record<string, string>} */
const RECORDS = { 'binance-force-order': 'Liquidation', 'okx-liquidations': 'Liquidation', 'binance-candles': 'Candle', 'liquidation-volume': 'Bucket' };

/** @param {{name: string, kind: string}[]} components */
const streams = (components) => components.filter(({ kind }) => kind in RECORDS).map(({ name, kind }) => ({ name, kind, record: RECORDS[kind] }));

/** @param {{name: string, kind: string}[]} components */
const status = (components) => ({ components, streams: [...streams(components), { name: 'outages', record: 'Outage', kind: '' }] });

/** @param {number} count @param {string} buy */
const point = (count, buy, time = NOW) => ({ time, buy_volume: buy, sell_volume: '0', count });

/** @param {number} count @param {string} buy */
const bucket = (count, buy, symbol = 'BTCUSDT') => ({ symbol, timeframe: '1m', time_ms: NOW_MS, buy, sell: '0', count });

/** @param {string} close @param {string} volume */
const kline = (close, volume, symbol = 'BTCUSDT') => ({ symbol, interval: '1m', time_ms: NOW_MS, open: '1', high: '9', low: '1', close, volume, closed: false });

/** @param {number} status @param {object} error */
const refused = (status, error) => () => new Response(JSON.stringify({ error }), { status });

/** Something that is being loaded, and what was told about it. */
function loading() {
  const client = new FlowdClient({ url: 'http://daemon.test/ws', WebSocket: /** @type {any} */ (FakeSocket), random: () => 1 });
  FakeSocket.last.open();
  /** @type {any[]} */
  const told = [];
  /** @param {string} name */
  const tell = (name) => (/** @type {any[]} */ ...what) => void told.push([name, ...what]);
  /** @type {any[]} */
  const demanded = [];
  const orders = { put: tell('put'), hole: tell('hole'), none: tell('none') };
  const found = new Loading(client, { symbol: 'BTCUSDT', frame: '1m', charts: 'data:text/javascript,' }, {
    orders,
    wait: tell('wait'),
    found: tell('found'),
    offered: tell('offered'),
    loaded: tell('loaded'),
    changed: tell('changed'),
    bars: tell('bars'),
    candles: tell('candles'),
    gaps: tell('gaps'),
    missing: tell('missing'),
    failed: tell('failed'),
    lacking: () => {},
    demanded: (state) => demanded.push(state),
    silent: tell('silent'),
  });
  /** The names of what was told since it was asked for last. */
  const names = () => told.splice(0).map(([name]) => name);
  return { client, found, told, names, demanded };
}

beforeEach(() => {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW_MS });
  answers = {
    '/status': () => status(PARTS),
    '/streams/volume.timeframes': () => ({ records: [{ seq: 1, value: { timeframes: ['1m', '5m'] } }] }),
    '/api/v1/liquidation-volume/BTCUSDT/1m': () => ({ data: [point(2, '20')], gaps: [] }),
    '/api/v1/candles/BTCUSDT/1m': () => ({ data: [kline('5', '10')] }),
  };
  mock.method(globalThis, 'fetch', async (/** @type {string} */ path) => {
    const found = await (answers[path.split('?')[0]] ?? refused(404, { code: 'NOT_FOUND', message: 'no' }))();
    return found instanceof Response ? found : new Response(JSON.stringify(found));
  });
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

test('it is loaded when the histories are here, and all is followed by then', async () => {
  const { found, names } = loading();

  await found.load();

  assert.deepEqual(names(), ['wait', 'found', 'offered', 'loaded']);
  assert.deepEqual(found.timeline.all().map(({ time, buy }) => [time, buy]), [[NOW, '20']]);
  assert.deepEqual(found.candlesInOrder().map(({ close }) => close), [5]);
  assert.deepEqual([found.withCandles, found.offered.map(({ name }) => name)], [true, ['1m', '5m']]);
  assert.deepEqual(FakeSocket.last.all('subscribe').map(({ streams }) => streams?.[0]), ['orders', 'volume', 'klines', 'outages']);
});

test('a bucket that the stream told first stays when the history is older', async () => {
  const { found, names } = loading();
  answers['/api/v1/liquidation-volume/BTCUSDT/1m'] = () => {
    FakeSocket.last.records('volume', 'e.3', [bucket(3, '30')], true);
    return { data: [point(2, '20')] };
  };

  await found.load();

  assert.deepEqual(names(), ['wait', 'found', 'offered', 'loaded'], 'nothing is drawn before');
  assert.equal(found.timeline.at(NOW)?.buy, '30');
});

test('what comes later is told, but neither what is known nor what is of another symbol', async () => {
  const { found, told, names } = loading();
  await found.load();
  names();

  FakeSocket.last.records('volume', 'e.4', [bucket(1, '10'), bucket(9, '90', 'ETHUSDT')], true);
  FakeSocket.last.records('volume', 'e.5', [bucket(3, '30')]);
  FakeSocket.last.records('klines', 'f.1', [kline('4', '9'), kline('7', '20', 'ETHUSDT')], true);
  FakeSocket.last.records('klines', 'f.2', [kline('6', '11')]);

  assert.deepEqual(told.map(([name, all]) => [name, ...all.map((/** @type {any} */ one) => one.buy ?? one.close)]), [['bars', '30'], ['candles', 6]]);
});

test('a daemon that does not answer is asked again after a while', async () => {
  const { found, told, names } = loading();
  const status = answers['/status'];
  answers['/status'] = () => Promise.reject(new TypeError('no network'));
  await found.load();
  assert.deepEqual(told.at(-1), ['failed', 'The daemon does not answer', 'the daemon does not answer']);
  names();

  answers['/status'] = status;
  mock.timers.tick(RETRY_AFTER_MS);
  await found.ready();

  assert.deepEqual(names(), ['wait', 'found', 'offered', 'loaded']);
});

test('what is missing is looked for again with the next connection', async () => {
  const { found, told, names } = loading();
  answers['/status'] = () => status(PARTS.slice(0, 1));
  await found.load();
  assert.deepEqual(told.at(-1)?.slice(0, 2), ['missing', 'Liquidation volume is not configured']);
  names();

  answers['/status'] = () => status(PARTS);
  FakeSocket.last.end(1006);
  mock.timers.tick(BACKOFF_FIRST_MS);
  FakeSocket.last.open();
  await found.ready();

  assert.deepEqual(names(), ['wait', 'found', 'offered', 'loaded']);
});

test('of two loadings only the later is shown, whichever answer comes last', async () => {
  const { found, names } = loading();
  await found.load();
  names();
  answers['/api/v1/liquidation-volume/ETHUSDT/1m'] = () => ({ data: [point(1, '7')] });
  let late = (/** @type {unknown} */ _) => {};
  const asked = new Promise((resolve) => {
    answers['/api/v1/liquidation-volume/BTCUSDT/1m'] = () => new Promise((answer) => resolve((late = answer)));
  });
  const earlier = found.load();
  await asked;

  found.open('ETHUSDT');
  await found.ready();
  late({ data: [point(50, '500')] });
  await earlier;

  assert.deepEqual(names(), ['wait', 'found', 'wait', 'found', 'loaded']);
  assert.equal(found.timeline.at(NOW)?.buy, '7');
});

test('when the stream lost buckets, all is loaded anew', async () => {
  const { found, names } = loading();
  await found.load();
  names();

  FakeSocket.last.says({ type: 'gap', stream: 'volume', position: 'e.9', gap: { first: 5, last: 8 } });
  await found.ready();

  assert.deepEqual(names(), ['wait', 'found', 'loaded']);
});

test('the first candle where there were none makes it another kind of chart', async () => {
  const { found, names } = loading();
  answers['/api/v1/candles/BTCUSDT/1m'] = refused(400, { code: 'UNKNOWN_INTERVAL', message: 'there are no 1m candles', allowed: ['5m'] });
  await found.load();
  assert.deepEqual([found.withCandles, found.noCandles], [false, 'there are no 1m candles; there are 5m']);
  names();

  answers['/api/v1/candles/BTCUSDT/1m'] = () => ({ data: [kline('5', '10')] });
  FakeSocket.last.records('klines', 'f.1', [kline('5', '10')], true);
  await found.ready();

  assert.deepEqual(names(), ['wait', 'found', 'loaded']);
  assert.equal(found.withCandles, true);
});

test('candles that are not there are not asked for, where it can be learnt which are', async () => {
  const { found, names } = loading();
  answers['/status'] = () => status([...PARTS, { name: 'polls', kind: 'http', table: 'sinks' }]);
  answers['/streams/klines'] = () => ({ records: [{ seq: 1, value: { ...kline('5', '10'), interval: '5m' } }] });
  answers['/api/v1/candles/BTCUSDT/1m'] = () => assert.fail('asked for what is not there');

  await found.load();

  assert.deepEqual([found.withCandles, found.noCandles], [false, 'there are no 1m candles of BTCUSDT; there are 5m']);
  names();
  answers['/streams/klines'] = () => ({ records: [{ seq: 2, value: kline('5', '10') }] });
  answers['/api/v1/candles/BTCUSDT/1m'] = () => ({ data: [kline('5', '10')] });
  FakeSocket.last.records('klines', 'f.1', [kline('5', '10')], true);
  await found.ready();
  assert.deepEqual([names(), found.withCandles], [['wait', 'found', 'loaded'], true]);
});

/** A daemon that stores candles of one minute, and builds those of five. */
function building() {
  answers['/status'] = () => status([...PARTS, { name: 'bars', kind: 'candles', table: 'sinks' }]);
  answers['/api/v1/candles'] = () => ({
    intervals: [
      { interval: '1m', streams: ['klines'], stored: ['BTCUSDT'], built: [] },
      { interval: '5m', streams: [], stored: [], built: ['BTCUSDT'] },
      { interval: '1h', streams: [], stored: [], built: ['ETHUSDT'] },
    ],
  });
  answers['/api/v1/liquidation-volume/BTCUSDT/5m'] = () => ({ data: [], gaps: [] });
  answers['/api/v1/candles/BTCUSDT/5m'] = () => ({ data: [wide('5', '10')], built_from: '1m' });
}

/** @param {string} close @param {string} volume */
const wide = (close, volume) => ({ ...kline(close, volume), interval: '5m', time_ms: NOW_MS - (NOW_MS % 300_000) });

test('which candles there are is learnt from the list of them', async () => {
  const { found } = loading();
  building();
  answers['/streams/volume.timeframes'] = () => ({ records: [{ seq: 1, value: { timeframes: ['1h'] } }] });
  answers['/api/v1/liquidation-volume/BTCUSDT/1h'] = () => ({ data: [], gaps: [] });

  await found.load();

  assert.equal(found.noCandles, 'there are no 1h candles of BTCUSDT; there are 1m, 5m');
});

test('candles that are built are asked for again when their parts change, once in a while', async () => {
  const { found, told } = loading();
  building();
  await found.load();
  found.choose('5m');
  await found.ready();
  assert.deepEqual([found.withCandles, found.candlesInOrder().map(({ close }) => close)], [true, [5]]);
  let asked = 0;
  answers['/api/v1/candles/BTCUSDT/5m'] = () => (asked++, { data: [wide('7', '12')], built_from: '1m' });
  told.length = 0;

  FakeSocket.last.pong();
  FakeSocket.last.records('klines', 'f.1', [kline('6', '11')], true);
  FakeSocket.last.records('klines', 'f.2', [kline('7', '12')]);
  mock.timers.tick(BUILT_EVERY_MS);
  await new Promise((resolve) => setImmediate(resolve));

  assert.equal(asked, 1);
  assert.deepEqual(told.map(([name, all]) => [name, all.map((/** @type {any} */ one) => one.close)]), [['candles', [7]]]);
});

test('the orders of all venues are followed, and each says its stream', async () => {
  const { found, told } = loading();
  answers['/status'] = () => status([...PARTS, { name: 'okx', kind: 'okx-liquidations', table: 'sources' }]);

  await found.load();
  FakeSocket.last.records('okx', 'o.1', [{ id: 'x', symbol: 'BTCUSDT' }], true);

  assert.deepEqual(FakeSocket.last.all('subscribe').map(({ streams }) => streams?.[0]).slice(0, 2), ['orders', 'okx']);
  assert.deepEqual([told.at(-1)[0], told.at(-1)[1]], ['put', 'okx']);
});

test('a gap becomes longer as long as it is open', async () => {
  const { found, names } = loading();
  await found.load();
  const from_ms = NOW_MS - 90_000;
  FakeSocket.last.records('outages', 'g.1', [{ component: 'orders', from_ms, to_ms: null, reason: 'silence' }], true);
  assert.deepEqual(names().slice(-2), ['silent', 'changed']);

  mock.timers.tick(1000);
  found.tick();

  assert.deepEqual([names(), found.timeline.gaps], [['gaps'], [[from_ms, NOW_MS + 1000]]]);
  FakeSocket.last.records('outages', 'g.2', [{ component: 'orders', from_ms, to_ms: NOW_MS, reason: 'silence' }]);
  names();
  found.tick();
  assert.deepEqual([names(), found.timeline.gaps], [[], [[from_ms, NOW_MS]]]);
});

/** What is loaded from a daemon that fetches candles of BTCUSDT when they are asked for. */
function demanding() {
  const said = status([...PARTS, { name: 'candles', kind: 'candles', table: 'sinks' }]);
  answers['/status'] = () => ({ ...said, streams: [...said.streams, { name: 'klines.asked', record: 'Candle', kind: 'binance-candles' }] });
  answers['/api/v1/candles'] = () => ({ symbols: [], intervals: [], on_demand: { intervals: ['1m', '5m'], symbols: [] } });
  answers['/api/v1/candles/BTCUSDT/1m'] = () => ({ data: [kline('5', '10')], on_demand: { until_ms: NOW_MS + 900_000, failing: null } });
  return loading();
}

test('a symbol that no exchange lists is not asked for, and the daemon says why', async () => {
  const { found } = demanding();
  const why = 'there are no candles of BTCUSDT: Binance does not list it';
  answers['/api/v1/candles'] = () => ({ symbols: [], intervals: [], on_demand: { intervals: ['1m'], symbols: [], unlisted: why } });
  answers['/api/v1/candles/BTCUSDT/1m'] = () => assert.fail('asked for what is not there');
  await found.load();

  assert.deepEqual([found.loaded, found.withCandles, found.noCandles], [true, false, why]);
});

test('a symbol that nobody configured is asked for, followed, and asked for again while it is looked at', async () => {
  const { found, demanded } = demanding();
  await found.load();

  assert.deepEqual([found.withCandles, found.candles.get(NOW)?.close], [true, 5]);
  assert.ok(FakeSocket.last.all('subscribe').some(({ streams }) => streams?.[0] === 'klines.asked'));
  assert.equal(demanded.at(-1).until_ms, NOW_MS + 900_000);

  let asked = 0;
  answers['/api/v1/candles/BTCUSDT/1m'] = () => (asked++, { data: [kline('6', '12')], on_demand: { until_ms: NOW_MS + 960_000, failing: null } });
  mock.timers.tick(AGAIN_EVERY_MS - 1000);
  found.tick();
  assert.equal(asked, 0, 'not before a minute has passed');
  mock.timers.tick(1000);
  found.tick();
  found.tick();
  await settled(() => demanded.at(-1).until_ms === NOW_MS + 960_000);

  assert.equal(asked, 1);
  assert.equal(found.candles.get(NOW)?.close, 6);
});

test('candles that are let go, or stand still, are said to', async () => {
  const { found, demanded } = demanding();
  await found.load();

  answers['/api/v1/candles/BTCUSDT/1m'] = refused(429, { code: 'TOO_MANY_SYMBOLS', message: 'no room' });
  mock.timers.tick(AGAIN_EVERY_MS);
  found.tick();
  await settled(() => demanded.at(-1).failing === 'no room');

  assert.equal(found.candles.size, 1, 'what is known is still shown');
});

test('where there is no room for a symbol, it is asked for again until there is', async () => {
  const { found } = demanding();
  const good = answers['/api/v1/candles/BTCUSDT/1m'];
  answers['/api/v1/candles/BTCUSDT/1m'] = refused(429, { code: 'TOO_MANY_SYMBOLS', message: 'no room' });
  await found.load();
  assert.deepEqual([found.withCandles, found.noCandles], [false, 'no room']);

  answers['/api/v1/candles/BTCUSDT/1m'] = good;
  mock.timers.tick(ROOM_AFTER_MS);
  await settled(() => found.loaded && found.withCandles);

  assert.equal(found.candles.get(NOW)?.close, 5);
});

/** Wait until it is so, while answers come. @param {() => boolean} good */
async function settled(good) {
  for (let turn = 0; turn < 200 && !good(); turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(good());
}
