/**
 * What the legends and notes of the chart say.
 *
 * @module chart/words
 */

import { h } from '../dom.js';
import { change, count, dollars, moment, price, short, side, stamp } from '../format.js';
import { venueName } from '../words.js';
import { venueColour } from './bars.js';
import { current } from './zone.js';

/** @typedef {import('./model.js').Candle} Candle */
/** @typedef {import('./model.js').Timeline} Timeline */

/**
 * How candles stand that are there because somebody asked, as an answer says it.
 *
 * @typedef {object} OnDemand
 * @property {number | null} until_ms when they are let go unless somebody asks again; null where they were let go
 * @property {string | null} failing why they stand still
 */

/** What is to be said of them. @param {OnDemand} state @param {string} symbol @param {number} now ms */
export function demandWords({ until_ms, failing }, symbol, now) {
  const how = `No source is configured with ${symbol}: its candles are fetched because somebody looks at it, every few seconds.`;
  if (failing !== null) return `${how} They stand still: ${failing}.`;
  return until_ms === null ? how : `${how} Once nobody does, they are kept until ${sinceWords(until_ms, now)} and let go.`;
}

/** What brings forced orders, in the configuration. */
export const ORDER_LINES = `[sources.force-orders]
kind = "binance-force-order"`;

/** What makes volume, in the configuration. */
export const VOLUME_LINES = `[transforms.volume]
kind = "liquidation-volume"
input = "force-orders"

[sinks.charts]
kind = "liquidation-websocket"
orders = "force-orders"
volume = "volume"`;

/** What makes candles, or only serves them where they are. @param {string[]} streams of candles @param {string} interval @param {string} symbol */
export function candleLines(streams, interval, symbol) {
  const source = `[sources.candles-${interval}]
kind = "binance-candles"
interval = "${interval}"
symbols = [${JSON.stringify(symbol)}]

`;
  const inputs = streams.length > 0 ? streams : [`candles-${interval}`];
  return `${streams.length > 0 ? '' : source}[sinks.candles]
kind = "candles"
inputs = ${JSON.stringify(inputs).replaceAll('","', '", "')}`;
}

/** `24 hours`, `7 days`. @param {number} seconds whole days */
export const days = (seconds) => (seconds === 86_400 ? '24 hours' : `${seconds / 86_400} days`);

/** @param {number} value */
export const amount = (value) => dollars(value.toFixed(2));

/** A place that is kept for what is not known yet. */
export const ghost = () => h('span', { class: 'skeleton w-6' });

/** `+$5K`, `−$693.00`. @param {string} text */
export function signed(text) {
  const words = dollars(text);
  return words.startsWith('−') || words === '$0.00' ? words : `+${words}`;
}

/** How many decimals a number is written with. @param {string} text */
export const decimalsOf = (text) => (text.split('.')[1] ?? '').replace(/0+$/, '').length;

/** @param {string} key @param {import('../dom.js').Child} value */
const pair = (key, value) => h('span', {}, h('span', { class: 'key' }, `${key} `), value);

/**
 * Open, high, low, close, and how much that is up or down.
 *
 * @param {Candle | undefined} candle
 * @param {boolean} any whether there are candles elsewhere
 * @param {string | null} tick the exchange's own, where it is known
 */
export function candleWords(candle, any, tick) {
  if (!candle) return [h('span', { class: 'key' }, any ? 'no candle here' : 'no candles yet')];
  const tone = candle.close >= candle.open ? 'buy' : 'sell';
  const said = candle.said ?? [candle.open, candle.high, candle.low, candle.close].map(String);
  const decimals = Math.max(...[...said, tick ?? ''].map(decimalsOf));
  const value = (/** @type {string} */ key, /** @type {number} */ index) => pair(key, price(said[index], decimals ? `0.${'0'.repeat(decimals - 1)}1` : null));
  const arrow = h('b', { 'aria-hidden': 'true' }, tone === 'buy' ? '▲' : '▼');
  return [
    value('O', 0),
    value('H', 1),
    value('L', 2),
    value('C', 3),
    h('span', { class: tone }, arrow, ` ${change(candle.close, candle.open)}`),
    pair('Volume', short(candle.volume.toFixed(2))),
    ...(candle.incomplete ? [h('span', { class: 'warned' }, 'incomplete: some of the candles that it is built of are missing')] : []),
  ];
}

/**
 * What was liquidated at a time, or why nobody knows.
 *
 * @param {Timeline} timeline
 * @param {number} time seconds
 * @param {boolean} daily
 */
export function barWords(timeline, time, daily) {
  const ms = time * 1000;
  const bar = timeline.at(time);
  const when = h('span', { class: 'key' }, spanTime(ms, daily));
  if (!bar) {
    const why = timeline.why(time);
    const words = { gap: 'no data: the source was not delivering', before: 'not known: nothing was counted yet' };
    return [when, h('span', { class: why ? 'warned' : 'key' }, why ? words[why] : 'none')];
  }
  return [
    when,
    sided('BUY', 'Shorts', bar.buy),
    sided('SELL', 'Longs', bar.sell),
    pair('Net', signed(bar.delta)),
    pair('Orders', count(bar.count)),
    ...(bar.incomplete ? [h('span', { class: 'warned' }, 'incomplete: its source was away for a part of it')] : []),
    ...(timeline.venues.length > 1 ? (bar.venues ?? []).map((part) => venue(timeline.venues, part)) : []),
  ];
}

/** What a bar has of one venue, beside the colour that it has where bars are split. @param {string[]} venues @param {import('./model.js').Part} part */
function venue(venues, { venue, buy, sell }) {
  const square = h('b', { class: venueColour(venues, venue), 'aria-hidden': 'true' }, '■ ');
  return h('span', {}, square, h('span', { class: 'key' }, `${venueName(venue)} `), `▲ ${dollars(buy)} ▼ ${dollars(sell)}`);
}

/** A bar's time, in the zone that was chosen; a day's is UTC's. @param {number} ms @param {boolean} daily */
export const spanTime = (ms, daily) => (daily ? stamp(ms, true) : stamp(current().shift(ms)));

/** `16:27`, with the date when that is not today's. @param {number} ms @param {number} now ms @param {boolean} [daily] whether only the day matters */
export function sinceWords(ms, now, daily = false) {
  if (daily) return stamp(ms, true);
  return moment(current().shift(ms), current().shift(now)).replace(/:\d\d$/, '');
}

/** @param {'BUY' | 'SELL'} which @param {string} name @param {string} text */
function sided(which, name, text) {
  const { arrow, tone } = side(which);
  const value = h('span', { class: tone }, h('b', { 'aria-hidden': 'true' }, arrow), ` ${dollars(text)}`);
  return h('span', { title: `${name} liquidated` }, h('span', { class: 'key' }, `${name} `), value);
}
