import assert from 'node:assert/strict';
import { test } from 'node:test';

import { busiest, intervals, live, sources, volumeFrames } from '../static/chart/data.js';
import { Gaps } from '../static/chart/gaps.js';
import * as model from '../static/chart/model.js';
import { SYMBOL, symbolOf } from '../static/chart/search.js';
import { compared } from '../static/chart/summary.js';
import { candleLines } from '../static/chart/words.js';

const START = 1_699_999_980;

/** @param {number} index @param {string} buy @param {string} sell @param {number} [count] */
const bar = (index, buy, sell, count = 1) => model.bar(START + index * 60, buy, sell, count);

/** @param {model.Bar[]} bars */
const times = (bars) => bars.map(({ time }) => (time - START) / 60);

/** A series as the library has it: it throws for what it cannot do. */
class Series {
  /** @type {Map<number, any>} */
  items = new Map();
  drawnAnew = 0;

  /** @param {any[]} items */
  setData(items) {
    for (const [index, item] of items.entries()) if (index) assert.ok(items[index - 1].time < item.time, 'in order');
    this.items = new Map(items.map((item) => [item.time, item]));
    this.drawnAnew++;
  }

  /** @param {any} item @param {boolean} [historical] */
  update(item, historical = false) {
    const last = Math.max(...this.items.keys());
    if (!historical && item.time < last) throw new Error('Cannot update oldest data');
    if (historical && !this.items.has(item.time)) throw new Error('Cannot update non-existing data point');
    this.items.set(item.time, item);
  }
}

test('history and stream say the same bar', () => {
  const history = { time: START, timestamp_ms: START * 1000, buy_volume: '10000', sell_volume: '5000', total_volume: '15000', delta_volume: '5000', count: 3 };
  const record = { symbol: 'BTCUSDT', timeframe: '1m', time_ms: START * 1000, buy: '10000', sell: '5000', count: 3 };

  assert.deepEqual(model.barOfPoint(history), model.barOfRecord(record));
  assert.deepEqual(model.barOfPoint(history), { time: START, buy: '10000', sell: '5000', delta: '5000', count: 3 });
});

test('between the first and the last bar empty ones are filled in', () => {
  const timeline = new model.Timeline(60);

  timeline.add([bar(0, '1', '0'), bar(3, '0', '2')]);

  assert.deepEqual(times(timeline.all()), [0, 1, 2, 3]);
  assert.equal(timeline.all()[1].count, 0);
  assert.equal(timeline.at(START - 60), undefined);
});

test('empty bars wholly in a gap are left out', () => {
  const timeline = new model.Timeline(60);
  timeline.gaps = [[(START + 30) * 1000, (START + 180) * 1000]];

  timeline.add([bar(0, '1', '0'), bar(4, '0', '2')]);

  assert.deepEqual(times(timeline.all()), [0, 3, 4]);
});

test('a bar in a gap is a bar all the same', () => {
  const timeline = new model.Timeline(60);
  timeline.gaps = [[START * 1000, (START + 600) * 1000]];

  timeline.add([bar(0, '1', '0'), bar(2, '0', '2'), bar(4, '1', '1')]);

  assert.deepEqual(times(timeline.all()), [0, 2, 4]);
});

test('of two tellings of a bar the larger count is the newer, in whichever order they come', () => {
  const [older, newer] = [bar(0, '5000', '0', 1), bar(0, '10000', '5000', 3)];
  for (const told of [[older, newer], [newer, older]]) {
    const timeline = new model.Timeline(60);
    for (const one of told) timeline.add([one]);

    assert.equal(timeline.newest?.buy, '10000');
  }
});

test('adding tells what is to be drawn: also the empty bars that a new one makes known', () => {
  const timeline = new model.Timeline(60);
  timeline.add([bar(0, '1', '0')]);

  assert.deepEqual(times(timeline.add([bar(3, '1', '0')])), [1, 2, 3]);
  assert.deepEqual(times(timeline.add([bar(2, '1', '0')])), [2]);
  assert.deepEqual(timeline.add([bar(2, '1', '0', 0)]), []);
});

test('a late bar never makes the library throw, and ends up where it belongs', () => {
  const series = new Series();
  const plot = new model.Plot(series, (/** @type {any} */ item) => item);
  const timeline = new model.Timeline(60);
  timeline.gaps = [[START * 1000, (START + 300) * 1000]];
  timeline.add([bar(0, '1', '0'), bar(5, '1', '0')]);
  plot.reset(timeline.all());

  for (const late of [bar(2, '7', '0'), bar(0, '3', '0', 2), bar(-4, '9', '0'), bar(6, '1', '0'), bar(5, '2', '0', 2)]) {
    plot.put(timeline.add([late]), () => timeline.all());
  }

  assert.deepEqual([...series.items.keys()], timeline.all().map(({ time }) => time));
  assert.deepEqual([...series.items.values()], timeline.all());
  assert.equal(series.drawnAnew, 3, 'at first, and for the two that were not there');
});

test('whatever comes in whatever order, what is drawn is what is known', () => {
  let state = 12;
  const random = () => (state = (Math.imul(state, 48271) >>> 0) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    const series = new Series();
    const plot = new model.Plot(series, (/** @type {any} */ item) => item);
    const timeline = new model.Timeline(60);
    timeline.gaps = [[(START + 600) * 1000, (START + 1500) * 1000]];
    for (let step = 0; step < 40; step++) {
      const bars = Array.from({ length: 1 + Math.floor(random() * 3) }, () => bar(Math.floor(random() * 60), '1', '2', 1 + step));
      plot.put(timeline.add(bars), () => timeline.all());
    }
    assert.deepEqual([...series.items.values()], timeline.all());
  }
});

test('what is too old is forgotten', () => {
  const timeline = new model.Timeline(60);
  timeline.add([bar(0, '1', '0'), bar(2, '1', '0'), bar(4, '1', '0')]);

  timeline.trim(START + 60);

  assert.deepEqual(times(timeline.all()), [2, 3, 4]);
});

test('totals are of the bars in the span, both ends included', () => {
  const bars = [bar(0, '1', '10'), bar(1, '2', '20', 2), bar(2, '4', '40', 4)];

  assert.deepEqual(model.totals(bars, START + 60, START + 120), { buy: 6, sell: 60, count: 6, approximate: false, lower_bound: false, incomplete: false });
});

test('what lies before anything was counted is unknown, but for what was filled in', () => {
  const timeline = new model.Timeline(60);
  assert.equal(timeline.begins, null, 'nobody said since when');

  timeline.since = (START + 120) * 1000;
  assert.deepEqual([timeline.why(START), timeline.why(START + 60), timeline.why(START + 120)], ['before', 'before', null]);

  timeline.add([bar(1, '1', '0')]);
  assert.equal(timeline.begins, (START + 60) * 1000);
  assert.deepEqual([timeline.why(START), timeline.why(START + 60)], ['before', null]);
});

test('counting that began within the first bar did not begin with it', () => {
  const timeline = new model.Timeline(60);
  timeline.since = (START + 90) * 1000;

  timeline.add([bar(1, '1', '0')]);

  assert.equal(timeline.begins, (START + 90) * 1000);
});

test('a gap is a gap, and so long is missing of a span', () => {
  const timeline = new model.Timeline(60);
  timeline.gaps = [[START * 1000, (START + 90) * 1000]];

  assert.deepEqual([timeline.why(START + 60), timeline.why(START + 120)], ['gap', null]);
  assert.equal(timeline.missing((START + 60) * 1000, (START + 600) * 1000), 30_000);
});

test('the history says how exact the whole is, and the stream its parts', () => {
  const sums = { buy: '1', sell: '2', count: 3 };
  const parts = [{ venue: 'binance', ...sums, price_kind: 'fill', coverage: 'sampled' }, { venue: 'bybit', ...sums, price_kind: 'bankruptcy', coverage: 'all' }];
  const told = (/** @type {any[]} */ venues) => model.barOfRecord({ time_ms: START * 1000, buy: '2', sell: '4', count: 6, venues });

  assert.deepEqual([told(parts).lowerBound, told(parts).approximate], [true, true]);
  assert.deepEqual([told(parts.slice(1)).lowerBound, told(parts.slice(1)).approximate], [undefined, true]);
  assert.deepEqual([told(parts.slice(0, 1)).lowerBound, told(parts.slice(0, 1)).approximate], [true, undefined]);
  assert.deepEqual(model.totals([bar(0, '1', '1'), told(parts)], START, START), { buy: 3, sell: 5, count: 7, approximate: true, lower_bound: true, incomplete: false });
});

test('venues are told by name or as a list, and stand in order', () => {
  const sums = { buy: '1', sell: '2', count: 3 };
  const wanted = [{ venue: 'binance', ...sums }, { venue: 'okx', ...sums }];
  const history = { time: START, buy_volume: '2', sell_volume: '4', count: 6, venues: { okx: sums, binance: sums }, approximate: true, lower_bound: true };
  const record = { time_ms: START * 1000, buy: '2', sell: '4', count: 6, venues: wanted, approximate: true, lower_bound: true };

  assert.deepEqual(model.barOfPoint(history).venues, wanted);
  assert.deepEqual(model.barOfPoint(history), model.barOfRecord(record));
  assert.deepEqual([model.barOfPoint(history).approximate, model.barOfPoint(history).lowerBound], [true, true]);
  const timeline = new model.Timeline(60);
  timeline.add([model.barOfPoint(history)]);
  assert.deepEqual(timeline.venues, ['binance', 'okx']);
});

test('a span is compared from where the earlier one is kept and counted, or not at all', () => {
  const [day, frame, now] = [86_400, model.choice(model.TIMEFRAMES, '5m'), START * 1000];
  const timeline = new model.Timeline(300);
  const range = { from: START - 3000 - (START % 300), to: START - (START % 300) };

  assert.deepEqual(compared(timeline, frame, range, day, now), { from: range.from });
  timeline.since = (range.from - day + 600) * 1000;
  assert.deepEqual(compared(timeline, frame, range, day, now), { from: range.from + 600 });
  timeline.since = now;
  assert.deepEqual(compared(timeline, frame, range, day, now), { why: 'counted' });
  timeline.since = 0;
  const early = { from: range.from - 3 * day, to: range.to - 3 * day };
  assert.deepEqual(compared(timeline, frame, early, day, now), { why: 'kept' });
});

test('gaps that touch are one', () => {
  assert.deepEqual(model.joined([[50, 60], [0, 10], [10, 20], [5, 8], [30, 30]]), [[0, 20], [50, 60]]);
});

/** @param {string} component @param {number} from_ms @param {number | null} to_ms */
const outage = (component, from_ms, to_ms, reason = 'silence') => ({ seq: 1, time_ms: from_ms, key: `${component}/${from_ms}`, value: { component, from_ms, to_ms, reason } });

test('a gap that is open reaches to now, until the stream says when it ended', () => {
  const gaps = new Gaps();
  gaps.told = [[10, 20], [50, 60]];
  gaps.put([outage('orders', 50, null)], true, ['orders'], ['orders']);
  assert.deepEqual([gaps.open, gaps.spans(90)], [true, [[10, 20], [50, 90]]]);

  gaps.put([outage('orders', 50, 55)], false, ['orders'], ['orders']);

  assert.deepEqual([gaps.open, gaps.spans(95)], [false, [[10, 20], [50, 55]]]);
});

test('when candles are missed the source is silent, but no order is missed', () => {
  const gaps = new Gaps();

  gaps.put([outage('candles', 50, null), outage('orders', 20, 30), outage('other', 60, null)], true, ['orders', 'candles'], ['orders']);

  assert.deepEqual([gaps.open, gaps.spans(90)], [false, [[20, 30]]]);
  assert.equal(gaps.silent, 'candles delivers nothing: silence');
});

test('what the stream says anew replaces what it said, and nothing that the history says', () => {
  const gaps = new Gaps();
  gaps.told = [[10, 20]];
  gaps.put([outage('orders', 50, null)], true, ['orders'], ['orders']);

  gaps.put([], true, ['orders'], ['orders']);

  assert.deepEqual([gaps.silent, gaps.spans(90)], [null, [[10, 20]]]);
});

test('a comparison needs a timeframe that is kept for longer', () => {
  const frame = (/** @type {string} */ name) => model.choice(model.TIMEFRAMES, name);
  assert.match(model.whyNot(frame('1m'), 'day') ?? '', /kept for 1 day: for 1 day earlier, choose 5m or longer/);
  assert.match(model.whyNot(frame('15m'), 'week') ?? '', /choose 30m or longer/);
  assert.match(model.whyNot(frame('1m'), 'day', model.timeframes(['1m', '1h'])) ?? '', /choose 1h or longer/);
  assert.match(model.whyNot(frame('1m'), 'day', model.timeframes(['1m'])) ?? '', /kept for 1 day$/);
  assert.equal(model.whyNot(frame('5m'), 'day'), null);
  assert.equal(model.whyNot(frame('30m'), 'week'), null);
});

test('the timeframes that are configured are offered, those that have an even grid', () => {
  const day = 86_400;

  assert.deepEqual(model.timeframes(['1m', '5m', '15m', '30m', '1h', '4h', '1d']), model.TIMEFRAMES);
  assert.deepEqual(model.timeframes(['2h', '1m', '1w', '1M', '7m', '2d', '0m', 'x', '']), [
    { name: '1m', width: 60, keep: day },
    { name: '2h', width: 7200, keep: 30 * day },
  ]);
});

test('what is wanted is shown, else the first that has candles, else the first', () => {
  const offered = model.timeframes(['1m', '5m', '1h']);

  assert.equal(model.choice(offered, '1h', ['5m']).name, '1h');
  assert.equal(model.choice(offered, null, ['1h', '5m']).name, '5m');
  assert.equal(model.choice(offered, '4h', ['1h']).name, '1h');
  assert.equal(model.choice(offered, null, ['3m']).name, '1m');
  assert.equal(model.choice(offered, null).name, '1m');
});

/** Answers requests by path, for as long as a test runs. @param {import('node:test').TestContext} t @param {Record<string, [number, unknown]>} answers */
function answering(t, answers) {
  t.mock.method(globalThis, 'fetch', async (/** @type {string} */ path) => {
    const [status, body] = answers[path.split('?')[0]] ?? [404, { error: { code: 'NOT_FOUND', message: 'no' } }];
    return new Response(JSON.stringify(body), { status });
  });
}

test('timeframes are read from their table', async (t) => {
  answering(t, { '/streams/v.timeframes': [200, { records: [{ seq: 1, value: { timeframes: ['1m', '1h'] } }] }] });

  assert.deepEqual(await volumeFrames('v', 'BTCUSDT'), ['1m', '1h']);
});

test('where streams are not served, the history says which timeframes there are', async (t) => {
  const refused = { error: { code: 'BAD_TIMEFRAME', message: 'no', allowed: ['5m', '1d'] } };
  answering(t, { '/api/v1/liquidation-volume/%40107/-': [400, refused] });

  assert.deepEqual(await volumeFrames('v', '@107'), ['5m', '1d']);
});

test('the list of candles tells which there are, stored or built', async (t) => {
  const offered = [
    { interval: '5m', streams: ['c'], stored: ['BTCUSDT'], built: [] },
    { interval: '1h', streams: [], stored: [], built: ['BTCUSDT'] },
    { interval: '1d', streams: ['d'], stored: ['ETHUSDT'], built: [] },
  ];
  answering(t, { '/api/v1/candles': [200, { symbols: [], intervals: offered }] });
  const found = { ...sources({}), serves: true };

  assert.deepEqual(await intervals(found, 'BTCUSDT'), ['5m', '1h']);
  assert.deepEqual(await intervals(found, 'OTHER'), []);
});

test('where timeframes cannot be learnt there are none', async (t) => {
  answering(t, {});

  assert.deepEqual(await volumeFrames('v', 'BTCUSDT'), []);
});

test('where streams can be asked for, they tell which candles there are', async (t) => {
  answering(t, { '/streams/one': [200, { records: [{ seq: 1, value: { interval: '5m' } }] }], '/streams/none': [200, { records: [] }] });
  const found = { ...sources({}), polls: true };

  assert.deepEqual(await intervals({ ...found, candles: ['one', 'none'] }, 'BTCUSDT'), ['5m']);
  assert.deepEqual(await intervals({ ...found, candles: ['none'], serves: true }, 'BTCUSDT'), []);
  assert.equal(await intervals({ ...found, candles: ['none'] }, 'BTCUSDT'), null, 'the refusal says what is to be configured');
  assert.equal(await intervals({ ...found, candles: ['locked'] }, 'BTCUSDT'), null);
  assert.equal(await intervals({ ...found, candles: ['one'], polls: false }, 'BTCUSDT'), null);
});

test('without the sink of live records a daemon is not live', () => {
  const part = { name: 'w', kind: 'websocket', table: 'sinks' };

  assert.equal(live({ components: [part] }), true);
  assert.equal(live({ components: [{ ...part, kind: 'pages' }, { ...part, table: 'sources' }] }), false);
});

test('small letters are a shorthand, and mixed ones are meant', () => {
  assert.deepEqual(['btcusdt', 'kPEPE', 'BTCUSDT', '@107', 'xyz:tsla', 'xyz:TSLA'].map(symbolOf), ['BTCUSDT', 'kPEPE', 'BTCUSDT', '@107', 'XYZ:TSLA', 'xyz:TSLA']);
  for (const name of ['kPEPE', '@107', '#1', 'A', 'xyz:TSLA', '币安人生USDT']) assert.ok(SYMBOL.test(name), name);
  for (const name of ['', 'a b', '<b>', '../x', 'A'.repeat(41)]) assert.ok(!SYMBOL.test(name), name);
});

test('the lines for candles are those that are missing', () => {
  const none = candleLines([], '5m', 'ETHUSDT');
  assert.match(none, /^\[sources\.candles-5m\]\nkind = "binance-candles"\ninterval = "5m"\nsymbols = \["ETHUSDT"\]\n\n\[sinks\.candles\]/);
  assert.match(none, /inputs = \["candles-5m"\]$/);
  assert.equal(candleLines(['a', 'b'], '1m', 'X'), '[sinks.candles]\nkind = "candles"\ninputs = ["a", "b"]');
});

test('candles come from the history and from the stream alike, and what is none is none', () => {
  const wanted = { time: 60, open: 1, high: 3, low: 0.5, close: 2, volume: 7, closed: true, text: '2', said: ['1', '3', '0.5', '2'] };
  const values = { open: '1', high: '3', low: '0.5', close: '2', volume: '7', closed: true };

  assert.deepEqual(model.candle({ time: 60, timestamp_ms: 60_000, ...values }), wanted);
  assert.deepEqual(model.candle({ time_ms: 60_000, ...values }), wanted);
  assert.equal(model.candle({ time: 60, ...values, close: 'x' }), null);
});

test('streams are found by what they carry, whatever they are called, and wherever they are written', () => {
  // As on a daemon that has all of them from another one.
  const status = {
    components: [
      { name: 'upstream', kind: 'redis', table: 'sources' },
      { name: 'p', kind: 'pages', table: 'sinks' },
    ],
    streams: [{ name: 'mine', record: 'Liquidation', kind: 'binance-force-order' }, { name: 'v', record: 'Bucket', kind: 'liquidation-volume' }, { name: 'v.timeframes', record: 'Timeframes', kind: 'liquidation-volume' }, { name: 'k', record: 'Candle', kind: 'binance-candles' }, { name: 'other', record: 'Candle', kind: '' }, { name: 'k.asked', record: 'Candle', kind: 'binance-candles' }, { name: 'listed', record: 'Instrument', kind: 'binance-instruments' }, { name: 'outages', record: 'Outage', kind: '' }],
  };

  assert.deepEqual(sources(status), { orders: 'mine', tapes: ['mine'], sampled: true, approximate: false, volume: 'v', candles: ['k', 'other'], asked: ['k.asked'], instruments: ['listed'], outages: true, serves: false, polls: false });
  assert.deepEqual(sources({}), { orders: null, tapes: [], sampled: false, approximate: false, volume: null, candles: [], asked: [], instruments: [], outages: false, serves: false, polls: false });
});

test('orders of a source that tells all are not called sampled', () => {
  const status = { streams: [{ name: 'x', record: 'Liquidation', kind: 'hydromancer' }] };

  assert.deepEqual([sources(status).orders, sources(status).sampled], ['x', false]);
});

test('of several venues all are shown, and how exact they are together', () => {
  const kinds = { a: 'bybit-liquidations', b: 'okx-liquidations', c: 'binance-force-order' };
  const streams = Object.entries(kinds).map(([name, kind]) => ({ name, kind, record: 'Liquidation' }));

  const found = sources({ streams });

  assert.deepEqual([found.tapes, found.sampled, found.approximate], [['c', 'a', 'b'], true, true]);
});

test('two sources that fell silent together are two gaps, and each ends by itself', () => {
  const gaps = new Gaps();
  const both = ['one', 'other'];
  gaps.put([outage('one', 50, null), outage('other', 50, null)], true, both, both);

  gaps.put([outage('one', 50, 60)], false, both, both);
  assert.deepEqual([gaps.open, gaps.spans(90)], [true, [[50, 90]]]);

  gaps.put([outage('other', 50, 80)], false, both, both);
  assert.deepEqual([gaps.open, gaps.spans(90)], [false, [[50, 80]]]);
});

test('the busiest symbols of the newest day come first', () => {
  const day = 86_400_000;
  const found = busiest([
    { value: { symbol: 'OLD', time_ms: day, buy: '900', sell: '0' } },
    { value: { symbol: 'A', time_ms: day, buy: '5', sell: '0' } },
    { value: { symbol: 'A', time_ms: 2 * day, buy: '1', sell: '1' } },
    { value: { symbol: 'B', time_ms: 2 * day, buy: '4', sell: '0' } },
  ]);

  assert.deepEqual(found, [{ symbol: 'B', total: 4 }, { symbol: 'A', total: 2 }, { symbol: 'OLD', total: 0 }]);
});

test('what is incomplete makes its sums incomplete, and a candle says it of itself', () => {
  const missed = model.barOfRecord({ time_ms: 60_000, buy: '1', sell: '2', count: 1, incomplete: true });
  const whole = model.barOfPoint({ time: 120, buy_volume: '1', sell_volume: '2', count: 1 });

  assert.deepEqual([missed.incomplete, whole.incomplete], [true, undefined]);
  assert.deepEqual([model.totals([missed, whole], 60, 120).incomplete, model.totals([missed, whole], 120, 120).incomplete], [true, false]);

  const told = { time: 60, open: '1', high: '1', low: '1', close: '1', volume: '1', closed: false };
  assert.deepEqual([model.candle({ ...told, incomplete: true })?.incomplete, model.candle(told)?.incomplete], [true, undefined]);
});
