/**
 * What the pages of fills and liquidations say when there is nothing to show, and which lines of configuration help.
 *
 * @module feed/words
 */

import { h } from '../dom.js';
import { adding } from '../words.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */

const TITLES = {
  'all-fills': { title: 'Fills', many: 'fills', empty: 'No fill yet', soon: 'They appear here as they happen.' },
  liquidations: {
    title: 'Liquidations',
    many: 'liquidations',
    empty: 'Quiet',
    soon: 'No liquidation is remembered. They appear here as they happen; some hours have few.',
  },
};

/** @param {string} page */
export function words(page) {
  return TITLES[/** @type {'liquidations'} */ (page)] ?? TITLES['all-fills'];
}

/** What brings every account's side of every trade. @param {string} stream */
export function accountLines(stream) {
  return `[sources.${tomlKey(stream)}]
kind = "hydromancer"
subscription = "allFills"
api_key = { env = "HYDROMANCER_API_KEY" }`;
}

/** What brings a feed: first what needs no key. @param {string} page @param {string} stream */
export function sourceLines(page, stream) {
  if (page === 'liquidations') {
    return `[sources.${tomlKey(stream)}]
kind = "binance-force-order"
symbols = ["*"]`;
  }
  return `# Public trades, without a key:
[sources.traders]
kind = "hyperliquid-discovery"
coins = ["BTC", "ETH", "SOL"]

# Or both sides of each trade, with profit and fee:
${accountLines(stream)}`;
}

/** What sums up a feed. @param {string} stream @param {string | string[]} input @param {'takers' | 'liquidated'} counted */
export function totalsLines(stream, input, counted) {
  const several = Array.isArray(input) && input.length > 1;
  return `[transforms.${tomlKey(stream)}]
kind = "totals"
${several ? 'inputs' : 'input'} = ${several ? `[${input.map((one) => JSON.stringify(one)).join(', ')}]` : JSON.stringify(String(input))}
count = "${counted}"`;
}

/** A name as a key of the configuration. @param {string} name */
export function tomlKey(name) {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name);
}

/**
 * Which streams a daemon has, as it says when it is asked for another; without the further ones of a component.
 *
 * @param {Mistake} mistake
 * @returns {string[]}
 */
export function others(mistake) {
  const names = Array.isArray(mistake.allowed) ? mistake.allowed.filter((name) => typeof name === 'string') : [];
  return names.filter((name) => name !== 'outages' && !names.includes(name.slice(0, name.lastIndexOf('.'))));
}

/**
 * That a stream is not there, and what to write where.
 *
 * @param {string} stream
 * @param {string} lines
 * @param {string} key of `[sinks.pages]`, which may name another stream
 * @param {Mistake} mistake
 */
export function notConfigured(stream, lines, key, mistake) {
  const there = others(mistake);
  return [
    h('strong', {}, 'Not configured'),
    h('span', {}, 'This daemon has no stream ', h('code', {}, stream), `. ${adding(lines)}`),
    h('pre', { class: 'lines' }, lines),
    there.length > 0 && h('span', {}, 'Or name one that it has, ', h('code', {}, there.slice(0, 8).join(', ')), ', as ', h('code', {}, `${key} = "…"`), ' below ', h('code', {}, '[sinks.pages]'), '.'),
  ];
}

/** That a stream cannot be read. @param {Mistake} mistake */
export function refused(mistake) {
  return [h('strong', {}, 'The daemon refused'), h('span', {}, String(mistake.message || mistake.code)), h('span', {}, 'It is asked again at the next connection.')];
}
