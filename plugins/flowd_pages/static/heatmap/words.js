/**
 * What the page says of a map: what is pointed at, what it is made of, and how little that may be.
 *
 * @module heatmap/words
 */

import { byId, fill, h } from '../dom.js';
import { NOTHING, change, count, dollars, level, span, stamp } from '../format.js';
import { between } from './profile.js';
import { BLIND, UNKNOWN, density } from './picture.js';

/** @typedef {import('./picture.js').Picture} Picture */
/** @typedef {'estimated' | 'observed'} Model */

export const SINK_LINES = `[transforms.heatmap]
kind = "liquidation-heatmap"
candles = "candles-5m"
open_interest = "open-interest"

[sinks.maps]
kind = "heatmap-websocket"`;

const SIDES = {
  both: 'each contract has a long and a short',
  taker: 'sides by who took liquidity',
  candle: 'sides by the colour of the candle',
};

/** A number as a price. @param {number | null | undefined} value */
export function priced(value) {
  return typeof value === 'number' && Number.isFinite(value) ? level(value.toFixed(12)) : NOTHING;
}

/** An amount of money, shortly. @param {number} value */
export function amount(value) {
  return dollars(value.toFixed(2));
}

/** A density out of a picture, which tells it in steps of 9 %. @param {number} code */
export function about(code) {
  return code ? `about ${dollars(Number(density(code).toPrecision(2)).toFixed(2))}` : 'nothing';
}

/**
 * What is known of a place in the picture.
 *
 * @param {Picture} picture
 * @param {{time: number, price: number}} at
 * @param {{mark: number | null, sums: import('./profile.js').Sums}} now
 * @returns {{price: string, time: string, longs: string, shorts: string, distance: string, between: string, note: string}}
 */
export function readout(picture, at, { mark, sums }) {
  // Beside the picture is what it is now.
  const column = at.time >= picture.end ? picture.columns - 1 : picture.column(at.time);
  const newest = column === picture.columns - 1;
  const then = newest ? mark : column >= 0 ? picture.close[column] : NaN;
  const state = column >= 0 ? picture.known[column] : UNKNOWN;
  const row = picture.row(at.price);
  const known = state !== UNKNOWN && row >= 0;
  const place = newest ? 'from the mark' : 'from the price then';
  return {
    price: priced(at.price),
    time: at.time >= picture.end ? 'now' : stamp(column >= 0 ? picture.start + column * picture.interval : at.time),
    longs: known ? about(picture.code(column, row, 'long')) : NOTHING,
    shorts: known ? about(picture.code(column, row, 'short')) : NOTHING,
    distance: then !== null && Number.isFinite(then) ? `${change(at.price, then)} ${place}` : '',
    between: newest && mark !== null ? `${amount(between(sums, mark, at.price))} of ${at.price < mark ? 'longs' : 'shorts'} before it` : '',
    note: state === UNKNOWN ? 'nothing is known of this time' : state === BLIND ? 'open interest was missing' : '',
  };
}

/** Show what is pointed at. @param {ReturnType<typeof readout> | null} said @param {import('./picture.js').Side} side */
export function say(said, side) {
  const line = byId('readout');
  line.hidden = said === null;
  if (said === null) return;
  fill(
    line,
    h('strong', {}, said.price),
    h('span', {}, said.time),
    side !== 'short' && h('span', {}, h('span', { class: 'key' }, '▼ longs '), said.longs),
    side !== 'long' && h('span', {}, h('span', { class: 'key' }, '▲ shorts '), said.shorts),
    said.distance && h('span', {}, said.distance),
    said.between && h('span', {}, said.between),
    said.note && h('span', { class: 'warned' }, said.note),
  );
}

/** What kind of a map this is, in one sentence. @param {any} data @param {number} now ms */
export function claim(data, now) {
  if (data.source === 'observed') {
    const share = typeof data.coverage === 'number' ? `${(data.coverage * 100).toFixed(0)}%` : 'an unknown share';
    const accounts = data.accounts ? `${count(data.accounts)} tracked accounts` : 'the tracked accounts';
    return `Observed: liquidation prices of ${accounts}, ${share} of open interest. Only the present is known.`;
  }
  const since = data.history_from ? `, since ${stamp(data.history_from)} (${span(now - data.history_from)})` : '';
  return `Estimated from open interest and an assumed leverage mix${since}. What was opened before is not in it.`;
}

/** Which liquidations are drawn, where it is not all of them. @param {import('./dots.js').Part} part */
export function partly({ before, from, least }) {
  const since = from === null ? '' : `since ${stamp(from)} only`;
  const large = least ? `before ${stamp(before)} those of ${amount(least)} and more` : '';
  return [since, large].filter(Boolean).join(', ');
}

/**
 * What a model is set to, as the daemon says it.
 *
 * @typedef {object} MapModel
 * @property {number} since ms
 * @property {{leverage: number, share: number}[]} leverage
 * @property {number} typical_notional
 * @property {string} brackets
 * @property {boolean} brackets_assumed
 * @property {number | null} half_life_s
 * @property {number} positions_for_s
 * @property {number} backfill_days
 * @property {number} span_pct
 */

/** What a model assumes, in pairs; nothing where that was not told. @param {MapModel | undefined} model @returns {[string, string][]} */
function assumed(model) {
  if (!model) return [];
  const mix = model.leverage.map(({ leverage, share }) => `${leverage}x ${Number((100 * share).toFixed(1))}%`);
  const turned = model.half_life_s === null ? '' : `; half of what is open is taken to be turned over in ${span(1000 * model.half_life_s)}`;
  return [
    ['Leverage, assumed', mix.join(', ')],
    ['Size, assumed', `${amount(model.typical_notional)} a position, which decides its margin bracket`],
    ['Margin brackets', model.brackets_assumed ? `assumed: this symbol has no table of its own (${model.brackets})` : `as of ${model.brackets}`],
    ['Began with', `the candle of ${stamp(model.since)}, of ${model.backfill_days} d that were asked for`],
    ['Lets go of', `positions after ${span(1000 * model.positions_for_s)}${turned}`],
    ['Draws', `what lies within ${model.span_pct}% of the price`],
  ];
}

/** What a map is made of, in pairs. @param {any} snapshot @param {MapModel} [model] @returns {[string, string][]} */
export function parameters({ symbol, timestamp, data }, model) {
  const venue = [symbol, data.venue].filter(Boolean).join(' at ');
  /** @type {[string, string][]} */
  const common = [['Map', `${data.source}, ${venue}`], ['As of', stamp(Date.parse(timestamp))], ['Bin', `${priced(data.bin)} wide`]];
  const outside = /** @type {[string, string]} */ (['Too far away to draw', `longs ${amount(data.outside_long ?? 0)}, shorts ${amount(data.outside_short ?? 0)}`]);
  if (data.source === 'observed') {
    return [
      ...common,
      ['Coverage', typeof data.coverage === 'number' ? `${(data.coverage * 100).toFixed(1)}% of open interest, counted ${data.oi_sides === 1 ? 'once' : 'on both sides'}` : 'unknown'],
      ['Accounts', count(data.accounts)],
      ['Without a liquidation price', amount(data.unplaced ?? 0)],
      ['Computed by us, not published', typeof data.derived === 'number' ? `${(data.derived * 100).toFixed(1)}%` : NOTHING],
      outside,
    ];
  }
  const sides = SIDES[/** @type {keyof typeof SIDES} */ (data.side_model)];
  return [
    ...common,
    ['Known since', data.history_from ? stamp(data.history_from) : NOTHING],
    ['Side model', sides ? `${data.side_model}: ${sides}` : NOTHING],
    ...assumed(model),
    ['Positions', 'isolated margin, entered at the close of a candle'],
    ['Cohorts', `${count(data.positions_created)} created, ${count(data.positions_consumed)} consumed since the map before`],
    outside,
  ];
}

/** What a map cannot know. @type {Record<Model, string[]>} */
export const LIMITS = {
  estimated: [
    'Leverage, size, entry and margin mode are assumptions. Cross margin, margin that is added, hedges and stop orders move or remove real levels.',
    'Open interest tells only the net change: who opens while another closes is not seen. A level may be long gone.',
    'Exchanges liquidate by the mark price, candles are made of trades: a wick takes levels off this map that were not reached.',
    'Densities are to be read relative to each other. What will really be liquidated is less.',
    'Levels of 100x lie within 0.6% of where they were opened, and are mostly noise.',
    'Longs and shorts are two sides of the same contracts. They are never added up.',
    'It describes; it does not predict, and is no advice.',
  ],
  observed: [
    'Only accounts that this daemon tracks are in it; the coverage says how much that is.',
    'Liquidation prices move with funding, margin and the other positions of an account. They are as of its last visit.',
    'Positions without a liquidation price are counted, and cannot be drawn.',
    'There is no past of this map: columns are drawn from when this page was opened.',
    'It describes; it does not predict, and is no advice.',
  ],
};
