import assert from 'node:assert/strict';
import { test } from 'node:test';

import { address } from '../static/feed/forms.js';
import { byCoin, gained, held, mark, samples, steps, unrealized } from '../static/traders/account.js';
import { Board } from '../static/traders/board.js';
import { Newest, told } from '../static/traders/events.js';
import { FIGURES, letter, partsWords, signed } from '../static/traders/figures.js';
import { GLYPHS, kindOf } from '../static/traders/markers.js';
import { SPANS_MAX, coinsOf, covers, folded, ownPrices, placed, planned, points, unknown } from '../static/traders/prices.js';
import { symbolOf } from '../static/words.js';
import { PLAIN, figureOf, fromSearch, isAll, sortedBy, toSearch } from '../static/traders/view.js';
import { missingLines } from '../static/traders/words.js';
import { seeded } from './fakes.js';

/** @param {number} number */
const who = (number) => `0x${number.toString(16).padStart(40, '0')}`;
const SHARES = { win_rate: 0.21, volume: 0.1, max_drawdown: 0.2, risk_ratio: 0.05, max_profit: 0.01 };

/** @param {number} number @param {Record<string, unknown>} [said] */
function standing(number, said = {}) {
  const plain = {
    ...{ address: who(number), venue: 'hyperliquid', rank: 1, score: 0.57, shares: SHARES, population: 40 },
    ...{ win_rate: 0.6, win_rate_source: 'fills', volume: '1234567.5', volume_source: 'portfolio', account_age_days: 12, account_age_source: 'trades' },
    ...{ risk_ratio: 1.5, max_drawdown: 0.25, max_drawdown_source: 'account_value', max_profit: '1000', max_loss: '250', trips: 40, partial_trips: 2 },
    ...{ equity: '5000', unrealized_pnl: '-12.5', first_seen_ms: 1000, last_seen_ms: 60_000, tracked_ms: 30_000, time_ms: 60_000 },
  };
  return { ...plain, ...said };
}

const UNKNOWN = {
  ...{ rank: null, score: null, shares: null, win_rate: null, win_rate_source: null, volume: null, volume_source: null, account_age_days: null },
  ...{ account_age_source: null, risk_ratio: null, max_drawdown: null, max_drawdown_source: null, max_profit: null, max_loss: null, trips: 0 },
  ...{ equity: null, unrealized_pnl: null, tracked_ms: null },
};

/** @param {any[]} values @param {number} [time_ms] */
const records = (values, time_ms = 1) => values.map((value, index) => ({ seq: index + 1, time_ms, key: value.address, value }));

/** @param {any[]} values @param {Partial<import('../static/traders/view.js').View>} [view] */
function shown(values, view = {}) {
  const board = new Board();
  board.put(records(values), true, 100, 5);
  board.choose({ ...PLAIN, ...view });
  return Array.from({ length: board.size }, (_, index) => board.at(index)?.value.address);
}

// -- figures

test('every figure says what it was measured from, and by a letter', () => {
  const row = standing(1);
  const said = Object.fromEntries(FIGURES.map((figure) => [figure.name, figure.say(row, 90_000)]));
  assert.equal(said.win_rate.text, '60.0%');
  assert.equal(said.win_rate.title, 'of 40 completed trips, measured from fills');
  assert.deepEqual(['win_rate', 'total_volume_usd', 'max_drawdown', 'account_age_days'].map((name) => letter(said[name].from)), ['F', 'P', 'V', 'T']);
  assert.equal(said.total_volume_usd.text, '$1.23M');
  assert.equal(said.trader_score.text, '0.5700');
  assert.equal(said.trader_score.title, 'win rate 0.210, small drawdown 0.200, volume 0.100, pay-off 0.050, best trip 0.010');
  assert.deepEqual([said.unrealized_pnl_usd.text, said.unrealized_pnl_usd.tone], ['−$12.50', 'sell']);
  assert.equal(said.last_tracked_at.text, '1 min');
});

test('what is unknown is a dash that says why, and never a number', () => {
  const row = standing(1, UNKNOWN);
  const whole = new Set(['trader_address', 'trips', 'partial_trips', 'last_seen_at']);
  for (const figure of FIGURES.filter(({ name }) => !whole.has(name))) {
    const { text, title } = figure.say(row, 0);
    assert.equal(text, '–', figure.name);
    assert.match(title, /^Unknown: ./, figure.name);
    assert.equal(figure.key(row), null, figure.name);
  }
});

test('a score is told as its five parts', () => {
  assert.equal(partsWords(SHARES).split(', ').length, 5);
  assert.equal(partsWords(null), '');
});

test('amounts have their sign in front', () => {
  assert.deepEqual(['1200', '-1200', '0'].map(signed), ['+$1.2K', '−$1.2K', '+$0.00']);
});

// -- order and filters

test('the unknown come last in both orders, and equal ones by address', () => {
  const rows = [standing(3, { volume: null }), standing(2, { volume: '5' }), standing(1, { volume: '5' }), standing(4, { volume: '1000' })];
  assert.deepEqual(shown(rows, { sort: 'total_volume_usd', order: 'desc' }), [4, 1, 2, 3].map(who));
  assert.deepEqual(shown(rows, { sort: 'total_volume_usd', order: 'asc' }), [1, 2, 4, 3].map(who));
});

test('filters hold together, and whose volume is unknown has not that much', () => {
  const rows = [standing(0xa1, { trips: 5 }), standing(0xa2, { trips: 30, volume: null }), standing(0xa3, { trips: 30, volume: '20000' }), standing(0xb4, { trips: 30, volume: '9' })];
  assert.deepEqual(shown(rows, { trips: '20' }), [0xa2, 0xa3, 0xb4].map(who));
  assert.deepEqual(shown(rows, { trips: '20', volume: '10k' }), [0xa3].map(who));
  assert.deepEqual(shown(rows, { text: '0A' }), [0xa1, 0xa2, 0xa3].map(who));
  assert.equal(shown(rows, { trips: 'many' }).length, 4, 'what is no number filters nobody');
});

test('choices live in the address, and what is usual is left out', () => {
  assert.equal(toSearch(PLAIN), '');
  const view = { text: '0xAb', trips: '20', volume: '10k', sort: 'win_rate', order: /** @type {const} */ ('asc') };
  assert.equal(toSearch(view, '?keep=1'), '?keep=1&sort=win_rate&order=asc&q=0xAb&min_trips=20&min_volume=10k');
  assert.deepEqual(fromSearch(toSearch(view)), view);
  assert.deepEqual(fromSearch('?sort=<b>&order=up&min_trips=x'), PLAIN);
  assert.equal(fromSearch('?sort=max_drawdown').order, 'asc', 'the smallest is the best');
  assert.ok(isAll({ ...PLAIN, sort: 'trips' }));
});

test('a figure is sorted its own way first, and once more turns it round', () => {
  const once = sortedBy(PLAIN, 'rank');
  assert.deepEqual([once.sort, once.order], ['rank', 'asc']);
  assert.equal(sortedBy(once, 'rank').order, 'desc');
  assert.equal(sortedBy(PLAIN, 'nothing'), PLAIN);
});

// -- the board

test('what comes live is marked, what was there is not', () => {
  const board = new Board();
  board.put(records([standing(1)], 50), true, 100, 7);
  board.put(records([standing(2)], 99), false, 100, 8);
  board.put(records([standing(1, { score: 0.9 })], 101), false, 101, 9);
  board.settle();
  assert.deepEqual([board.at(0)?.value.score, board.at(0)?.arrived, board.at(1)?.arrived], [0.9, 9, 0]);
  assert.equal(board.all, 2);
});

test('who is shown where is known', () => {
  const board = new Board();
  board.put(records([3, 1, 2].map((number) => standing(number))), true, 1, 1);
  const before = board.generation;
  board.settle();
  assert.ok(board.generation > before);
  assert.equal(board.indexOf(who(2)), 1);
  assert.equal(board.indexOf(undefined), -1);
});

test('a snapshot replaces everything', () => {
  const board = new Board();
  board.put(records([standing(1), standing(2)]), true, 1, 1);
  board.put(records([standing(3)]), true, 2, 2);
  board.settle();
  assert.deepEqual([board.all, board.at(0)?.value.address], [1, who(3)]);
});

test('ten thousand are put in order by any figure within a few frames', () => {
  const random = seeded(7);
  const board = new Board();
  board.put(records(Array.from({ length: 10_000 }, (_, index) => standing(index, { score: random(), volume: String(Math.floor(random() * 1e9)) }))), true, 1, 1);
  const figure = figureOf('total_volume_usd');
  const begun = performance.now();
  board.choose({ ...PLAIN, sort: 'total_volume_usd' });
  assert.ok(performance.now() - begun < 250);
  for (let index = 1; index < board.size; index++) assert.ok(Number(figure?.key(board.at(index - 1)?.value)) >= Number(figure?.key(board.at(index)?.value)));
});

// -- events

const EVENT = {
  ...{ id: 'a', address: who(1), symbol: 'BTC', event: 'OPEN', side: 'LONG', prev_size: '0', size: '2', prev_entry_price: null, entry_price: '100' },
  ...{ implied_price: '100', mark_price: '101', notional: '202', from_ms: 0, time_ms: 75_000, detected_ms: 75_100, sampled: true, liquidated: false },
};

test('an event says how it is known', () => {
  const sampled = told(EVENT);
  assert.deepEqual([sampled.verb, sampled.side, sampled.amount, sampled.at], ['opened', 'LONG', '$202.00', 'at 100']);
  assert.match(sampled.how, /^Between .*00:00:00 UTC and .*00:01:15 UTC: two states were compared/);
  assert.match(told({ ...EVENT, sampled: false }).how, /^A fill told it/);
});

test('a price that two states do not tell is not said', () => {
  assert.equal(told({ ...EVENT, implied_price: null }).at, '');
});

test('who was closed by force was liquidated', () => {
  assert.equal(told({ ...EVENT, event: 'CLOSE', liquidated: true }).verb, 'liquidated');
  assert.equal(told({ ...EVENT, event: 'FLIP' }).verb, 'flipped to');
});

test('the newest events are kept, newest first', () => {
  const newest = new Newest(3);
  newest.put([1, 2].map((id) => ({ seq: id, time_ms: 1, value: { ...EVENT, id: `${id}` } })), true, 10);
  newest.put([3, 4].map((id) => ({ seq: id, time_ms: 11, value: { ...EVENT, id: `${id}` } })), false, 11);
  assert.deepEqual(newest.rows.map(({ value, live }) => [value.id, live]), [['4', true], ['3', true], ['2', false]]);
});

// -- links and words

test('an address leads to its own page, with the explorer beside', () => {
  const mixed = `0x${'AB'.repeat(20)}`;
  assert.deepEqual(address(mixed, '/traders/'), { text: '0xABAB…ABAB', full: mixed, href: `/traders/${mixed.toLowerCase()}`, beside: `https://www.flowscan.xyz/address/${mixed}` });
  assert.equal(address('javascript:alert(1)', '/traders/').href, null);
});

test('only the lines that are missing are told', () => {
  const names = { traders: 'traders', positions: 'my positions', leaderboard: 'leaderboard' };
  const mistake = { code: 'UNKNOWN_STREAM', message: '' };
  const all = missingLines('leaderboard', names, { ...mistake, allowed: ['outages'] });
  assert.match(all, /\[sources\.traders\][^]*\[transforms\."my positions"\]\nkind = "hyperliquid-tracking"[^]*positions = "my positions"/);
  assert.equal(missingLines('leaderboard', names, { ...mistake, allowed: ['traders', 'my positions'] }), '[transforms.leaderboard]\nkind = "leaderboard"\npositions = "my positions"');
});

// -- one account

const POSITION = {
  ...{ symbol: 'BTC', size: '-0.5', entry_price: '65000', notional: '32000', unrealized_pnl: '500', liquidation_price: '68000', leverage: 20 },
  ...{ isolated: false, margin: '1600', max_leverage: 40, funding: '-3' },
};

test('the mark is what the venue values one unit at', () => {
  assert.equal(mark(POSITION), '64000.000');
  assert.equal(mark({ size: '3', notional: '0.00001' }), '0.000003333333');
  assert.equal(mark({ size: '0', notional: '0' }), null);
});

test('liquidation is so far from the mark, on its side, and near below a tenth', () => {
  const short = held(POSITION);
  assert.deepEqual([short.side, short.size, short.distance, short.near], ['SHORT', '0.5', 0.0625, true]);
  assert.equal(short.words, 'Liquidation is 6.3% above the mark');
  const long = held({ ...POSITION, size: '0.5', liquidation_price: '32000' });
  assert.deepEqual([long.side, long.distance, long.near, long.words], ['LONG', 0.5, false, 'Liquidation is 50.0% below the mark']);
});

test('where the venue tells no liquidation price there is no distance', () => {
  const { distance, near, words } = held({ ...POSITION, liquidation_price: null });
  assert.deepEqual([distance, near], [null, false]);
  assert.match(words, /tells no price/);
});

test('what is open is summed up exactly', () => {
  assert.equal(unrealized({ positions: [POSITION, { ...POSITION, unrealized_pnl: '-500.1' }] }), '-0.1');
  assert.equal(unrealized({ positions: [] }), '0');
});

test('fills are summed up by coin, the largest gain or loss first', () => {
  const fills = [
    { symbol: 'ETH', notional: '10.5', pnl: '1' },
    { symbol: 'BTC', notional: '100', pnl: '-7.5' },
    { symbol: 'ETH', notional: '0.5', pnl: '0.25' },
  ];
  assert.deepEqual(byCoin(fills), [
    { symbol: 'BTC', count: 1, volume: '100', pnl: '-7.5' },
    { symbol: 'ETH', count: 2, volume: '11', pnl: '1.25' },
  ]);
});

test('equity is read from its points, and what is none is left out', () => {
  assert.deepEqual(samples('1000:5.25 2000:-3 x:1 3000: 4000:1E+3'), [
    { time: 1000, equity: '5.25' },
    { time: 2000, equity: '-3' },
    { time: 4000, equity: '1000.00' },
  ]);
  assert.deepEqual(samples(''), []);
  assert.deepEqual(samples(undefined), []);
  assert.equal(gained(samples('1:5.25 2:-3')), '-8.25');
  assert.equal(gained(samples('1:5.25')), null);
});

test('scales have round steps', () => {
  assert.deepEqual(steps(0, 100, 4), [0, 50, 100]);
  assert.deepEqual(steps(-3, 3, 4), [-2, 0, 2]);
  assert.deepEqual(steps(5, 5, 4), [5]);
});

// -- events on a price

const MINUTE = 60_000;
const NOW = 1_800_000_000_000;

/** @param {Record<string, unknown>} said */
const happened = (said) => ({ ...{ id: 'a', symbol: 'BTC', event: 'OPEN', side: 'LONG', sampled: false, liquidated: false, from_ms: NOW, time_ms: NOW, implied_price: '100', mark_price: '101' }, ...said });

/** @param {number} time @param {number} open @param {number} high @param {number} low @param {number} close */
const bar = (time, open, high, low, close) => ({ time, open, high, low, close, volume: 1, closed: true, text: String(close) });

test('the coin of the newest event comes first, then what is held, the largest before', () => {
  const held = [{ symbol: 'SOL', notional: '5' }, { symbol: 'BTC', notional: '9' }, { symbol: 'DOGE', notional: '50' }];
  assert.deepEqual(coinsOf([happened({ symbol: 'ETH' }), happened({})], held), ['ETH', 'BTC', 'DOGE', 'SOL']);
});

test('a coin is looked for as exchanges call it, and what they cannot have is not', () => {
  assert.deepEqual(['BTC', 'kPEPE', 'xyz:TSLA', '@107', 'kBONK'].map(symbolOf), ['BTCUSDT', '1000PEPEUSDT', null, null, '1000BONKUSDT']);
});

test('an event stands where it was paid, else at the mark, else at no price', () => {
  const prices = [{}, { implied_price: null }, { implied_price: null, mark_price: null }].map((said) => placed(happened(said)));
  assert.deepEqual(prices.map(({ price, paid }) => [price, paid]), [[100, true], [101, false], [null, false]]);
});

test('times reach from before the first event to now, as fine as candles go', () => {
  const events = [happened({}), happened({ time_ms: NOW - 8 * 3_600_000 })];
  const plan = planned(events, NOW, ['1m', '5m']);
  assert.deepEqual([plan.width, plan.interval], [60, '1m']);
  assert.ok(plan.start * 1000 < NOW - 8 * 3_600_000);
  assert.equal(plan.end * 1000, NOW);
  const longer = planned([happened({ time_ms: NOW - 3 * 86_400_000 })], NOW, ['1m', '5m']);
  assert.deepEqual([longer.width, longer.interval], [900, '5m']);
  assert.ok((longer.end - longer.start) / longer.width <= SPANS_MAX);
  assert.deepEqual(planned(events, NOW, []).interval, null);
  assert.equal(planned([happened({ time_ms: NOW - 900 * 86_400_000 })], NOW, ['4h']).width, 86_400);
});

test('what two states tell begins at the first of them', () => {
  const begun = NOW - 20 * 3_600_000;
  const plan = planned([happened({ sampled: true, from_ms: begun })], NOW, []);
  assert.ok(plan.start * 1000 < begun);
  assert.ok(covers(plan, [happened({ sampled: true, from_ms: begun })], NOW));
  assert.ok(!covers(plan, [happened({ time_ms: begun - 86_400_000 })], NOW));
  assert.ok(!covers(plan, [], NOW + 900 * plan.width * 1000));
});

test('candles become as wide as what is shown, and lose nothing by it', () => {
  const plan = { start: 600, end: 1200, width: 300, interval: '1m' };
  const candles = [bar(660, 5, 9, 4, 6), bar(600, 3, 4, 2, 5), bar(540, 1, 1, 1, 1), bar(900, 7, 8, 7, 8)];
  const found = folded(candles, plan).map(({ time, open, high, low, close }) => [time, open, high, low, close]);
  assert.deepEqual(found, [[600, 3, 9, 2, 6], [900, 7, 8, 7, 8]]);
});

test('where no candle is, the own prices of a trader are points, and nothing lies between them', () => {
  const start = (NOW - 10 * MINUTE) / 1000;
  const plan = { start, end: NOW / 1000, width: 60, interval: '1m' };
  const events = [happened({}), happened({ time_ms: NOW - 3 * MINUTE, implied_price: '90' })];
  const fills = [{ time_ms: NOW - 3 * MINUTE + 5, price: '91' }, { time_ms: NOW - 5 * MINUTE, price: '80' }, { time_ms: 1, price: '1' }];
  const candles = [bar(NOW / 1000, 1, 1, 1, 1)];
  const told = ownPrices(events, fills, null, 0);
  assert.deepEqual(points(told, plan, candles).map(({ value }) => value), [80, 91]);
  assert.deepEqual(points(told, plan, []).map(({ value }) => value), [80, 91, 100]);
  assert.deepEqual(ownPrices([], [], { size: '-2', notional: '30' }, NOW), [{ ms: NOW, value: 15 }]);
});

test('times without a candle are unknown, where there are candles', () => {
  const plan = { start: 0, end: 600, width: 60, interval: '1m' };
  const candles = [bar(120, 1, 1, 1, 1), bar(180, 1, 1, 1, 1), bar(360, 1, 1, 1, 1)];
  assert.deepEqual(unknown(candles, plan), [[0, 120_000], [240_000, 360_000], [420_000, 600_000]]);
  assert.deepEqual(unknown([], plan), []);
});

test('every kind of event has a shape of its own, and who was liquidated another one', () => {
  assert.equal(new Set(Object.values(GLYPHS)).size, 6);
  assert.equal(kindOf(happened({ event: 'CLOSE' })), 'CLOSE');
  assert.equal(kindOf(happened({ event: 'CLOSE', liquidated: true })), 'LIQUIDATED');
});
