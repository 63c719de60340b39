import assert from 'node:assert/strict';
import { test } from 'node:test';

import { grouped, uppermost } from '../static/heatmap/candles.js';
import { PLAIN, firstOf, fromSearch, symbolIn, toSearch } from '../static/heatmap/choices.js';
import { Picture } from '../static/heatmap/picture.js';
import { scored, verdict } from '../static/heatmap/score.js';
import { claim, parameters, readout } from '../static/heatmap/words.js';

const MINUTES = 300_000;
const START = 1_795_300_200_000;

/** Four columns of which the third is missing; 2 of shorts from 110 to 120 in the first. */
function picture() {
  const made = new Picture({ start: START, interval: MINUTES, columns: 4, base: 100, bin: 10, rows: 2 });
  made.known.set([1, 2, 0, 1]);
  made.short[made.width] = 9;
  made.close.set([111, 112, NaN, 113]);
  return made;
}

test('the readout tells what is known of a place, and no more', () => {
  const made = picture();
  const now = { mark: 115, sums: { long: [], short: [{ price: 118, sum: 2500 }] } };

  const past = readout(made, { time: START + 1, price: 112 }, now);
  assert.deepEqual([past.price, past.longs, past.shorts, past.distance, past.between], ['112.00', 'nothing', 'about $2.00', '+0.90% from the price then', '']);
  const hole = readout(made, { time: START + 2.5 * MINUTES, price: 112 }, now);
  assert.deepEqual([hole.longs, hole.shorts, hole.distance, hole.note], ['–', '–', '', 'nothing is known of this time']);
  assert.equal(readout(made, { time: START + MINUTES, price: 112 }, now).note, 'open interest was missing');
  const newest = readout(made, { time: START + 3.5 * MINUTES, price: 119 }, now);
  assert.deepEqual([newest.distance, newest.between], ['+3.48% from the mark', '$2.5K of shorts before it']);
  const beside = readout(made, { time: made.end, price: 119 }, now);
  assert.deepEqual([beside.time, beside.longs, beside.between, beside.note], ['now', 'nothing', '$2.5K of shorts before it', '']);
});

test('a map says what kind it is, since when or how much of it is known', () => {
  assert.match(claim({ source: 'estimated', history_from: START }, START + 86_400_000), /^Estimated from open interest and an assumed leverage mix, since 2\d Nov .* \(1 d\)/);
  assert.equal(claim({ source: 'observed', coverage: 0.404, accounts: 1234 }, 0), 'Observed: liquidation prices of 1,234 tracked accounts, 40% of open interest. Only the present is known.');
  assert.match(claim({ source: 'observed', coverage: null }, 0), /an unknown share of open interest/);
});

const SCORE = { since: START, events: 5210, dropped: 31, lift: 0.04, low: 0.012, high: 0.07 };

test('a score claims no more than its interval allows', () => {
  assert.equal(verdict(SCORE), 'better than chance so far');
  assert.equal(verdict({ ...SCORE, low: 0 }), 'no better than chance so far');
  assert.equal(verdict({ ...SCORE, lift: -0.04, low: -0.07, high: -0.01 }), 'worse than chance so far');
  assert.equal(verdict({ ...SCORE, low: -1, high: 1 }), 'too early to tell');
  for (const none of [undefined, { ...SCORE, events: 0, lift: null, low: null, high: null }]) {
    assert.equal(verdict(none), 'not scored yet');
    assert.deepEqual(scored(none, START).map(([name]) => name), ['Score']);
  }
});

test('a score tells by how much, how surely, on how many events and since when', () => {
  const [[, words], [, basis]] = scored(SCORE, START + 90_000_000);

  assert.match(words, /^better than chance so far\..* by \+4 of 100 ranks, 95% sure between \+1\.2 and \+7; 0 is chance$/);
  assert.match(basis, /^5,210 liquidations since 2\d Nov .* \(1 d 1 h\); 31 more could not be scored$/);
  assert.match(scored({ ...SCORE, low: -1, high: 1 }, START)[0][1], /within one hour, so nothing is sure/);
});

test('what a model is set to is told as it is, and nothing where that is not known', () => {
  const model = { since: START, leverage: [{ leverage: 10, share: 0.25 }, { leverage: 20, share: 0.75 }], typical_notional: 5000, brackets: '2024-10-24', brackets_assumed: false, half_life_s: 7200, positions_for_s: 2_592_000, backfill_days: 7, span_pct: 30 };
  const snapshot = { symbol: 'BTCUSDT', timestamp: '2026-11-29T00:00:00Z', data: { source: 'estimated', bin: 100, side_model: 'both' } };

  const told = Object.fromEntries(parameters(snapshot, model));
  assert.equal(told['Leverage, assumed'], '10x 25%, 20x 75%');
  assert.match(told['Size, assumed'], /^\$5K a position/);
  assert.equal(told['Margin brackets'], 'as of 2024-10-24');
  assert.match(told['Lets go of'], /^positions after 30 d; half of what is open is taken to be turned over in 2 h$/);
  assert.match(Object.fromEntries(parameters(snapshot, { ...model, brackets_assumed: true }))['Margin brackets'], /^assumed/);
  assert.equal(Object.fromEntries(parameters(snapshot))['Leverage, assumed'], undefined);
});

test('candles are put together by the clock', () => {
  const one = (/** @type {number} */ time, /** @type {number} */ price) => ({ time, open: price, high: price + 2, low: price - 1, close: price + 1 });

  assert.deepEqual(grouped([one(0, 10), one(MINUTES, 20), one(3 * MINUTES, 5)], 3 * MINUTES), [
    { time: 0, open: 10, high: 22, low: 9, close: 21 },
    { time: 3 * MINUTES, open: 5, high: 7, low: 4, close: 6 },
  ]);
});

test('where dots lie on one another the largest is seen, of each side, and nearer by all of them', () => {
  const one = (/** @type {number} */ time, /** @type {number} */ notional, side = 'SELL') => ({ time, price: 50, notional, side });
  const dots = [one(101, 7), one(100, 9), one(102, 8), one(101, 2, 'BUY'), one(900, 1), one(2000, 5)];
  const box = { left: 0, top: 0, width: 800, height: 400 };
  const view = { from: 0, to: 1000, low: 0, high: 100 };
  const seen = (/** @type {any} */ some, side = /** @type {import('../static/heatmap/picture.js').Side} */ ('both')) => uppermost(dots, side, { ...view, ...some }, box).map(({ notional }) => notional);

  assert.deepEqual(seen({}), [1, 2, 9]);
  assert.deepEqual(seen({}, 'long'), [1, 9]);
  assert.deepEqual(seen({ from: 99, to: 109 }), [2, 7, 8, 9]);
  assert.deepEqual(seen({ low: 60 }), []);
});

test('what is chosen stands in the address, and nothing else gets in', () => {
  const chosen = { ...PLAIN, model: /** @type {const} */ ('observed'), scale: /** @type {const} */ ('log'), least: 20, dots: false };

  assert.equal(toSearch({ ...PLAIN }), '');
  assert.equal(toSearch(chosen), '?model=observed&scale=log&least=20&dots=off');
  assert.deepEqual(fromSearch(toSearch(chosen)), chosen);
  assert.deepEqual(fromSearch('?model=<b>&side=up&scale=&least=-3&candles=maybe'), { ...PLAIN });
  assert.equal(symbolIn('/heatmap/%231'), '#1');
  assert.equal(symbolIn('/heatmap'), '');
});

test('who names no map sees that of the usual symbol, however the daemon orders them', () => {
  assert.equal(firstOf(['PUMPUSDT', 'BTCUSDT', 'ETHUSDT'], 'BTCUSDT'), 'BTCUSDT');
  assert.equal(firstOf(['HYPE', 'BTC'], 'BTCUSDT'), 'BTC');
  assert.equal(firstOf(['SOLUSDT', 'ETHUSDT'], 'BTCUSDT'), 'ETHUSDT');
  assert.equal(firstOf([], 'BTCUSDT'), '');
});
