/**
 * The rows of a trader's page: positions, fills, coins, and the figures of its standing.
 *
 * @module traders/rows
 */

import { dollars } from '../analytics/model.js';
import { h } from '../dom.js';
import { profit, side } from '../feed/forms.js';
import { NOTHING, clock, count, level, moment, money, price, quantity, stamp } from '../format.js';
import { held } from './account.js';
import { scoreBar, writeBar } from './columns.js';
import { FIGURES, PARTS, letter, signed } from './figures.js';

/** @param {unknown} text @param {string} why what a dash stands for */
function priced(text, why, form = price) {
  return text === null || text === undefined ? h('td', { class: 'end quiet', title: `Unknown: ${why}` }, NOTHING) : h('td', { class: 'end', title: String(text) }, form(text));
}

/** @param {unknown} amount */
function won(amount) {
  const { text, tone } = profit(amount);
  return h('td', { class: `end ${tone || 'quiet'}`, title: money(amount) }, text === NOTHING ? '$0.00' : signed(amount));
}

/** @param {any} position */
export function positionRow(position) {
  const one = held(position);
  const part = h('i', {});
  if (one.distance !== null) part.style.width = `${Math.min(1, one.distance) * 100}%`;
  const liquidation = position.liquidation_price;
  return h(
    'tr',
    {},
    h('th', { scope: 'row', class: 'name' }, one.symbol),
    h('td', { class: one.side === 'LONG' ? 'buy' : 'sell' }, one.side),
    h('td', { class: 'end', title: one.size }, quantity(one.size)),
    h('td', { class: 'end', title: money(position.notional) }, dollars(String(position.notional))),
    priced(position.entry_price, 'the venue tells none'),
    priced(one.mark, 'the position has no size', level),
    priced(liquidation, 'the venue tells no price that would liquidate it'),
    h(
      'td',
      { title: one.words },
      one.distance === null
        ? h('span', { class: 'quiet' }, NOTHING)
        : h('span', { class: one.near ? 'distance near' : 'distance' }, h('span', { class: 'meter', role: 'img', 'aria-label': one.words }, part), h('span', { class: 'num' }, `${(one.distance * 100).toFixed(1)}%`)),
    ),
    won(position.unrealized_pnl),
    h('td', { class: 'end' }, `${count(position.leverage)}x`, h('span', { class: 'quiet' }, position.isolated ? ' isolated' : ' cross')),
  );
}

/** @param {any} fill @param {number} now */
export function fillRow(fill, now) {
  const { tone } = side(fill.side);
  const { text, tone: gain } = profit(fill.pnl);
  return h(
    'tr',
    {},
    h('td', { class: 'quiet', title: `${stamp(fill.time_ms, true)} ${clock(fill.time_ms)} UTC` }, moment(fill.time_ms, now)),
    h('td', {}, h('b', {}, String(fill.symbol))),
    h('td', { class: tone }, String(fill.dir || fill.side)),
    h('td', { class: 'end', title: String(fill.price) }, price(fill.price)),
    h('td', { class: 'end', title: money(fill.notional) }, dollars(String(fill.notional))),
    h('td', { class: `end ${gain || 'quiet'}`, title: 'before the fee' }, text),
  );
}

/** @param {{symbol: string, count: number, volume: string, pnl: string}} coin */
export function coinRow(coin) {
  return h('tr', {}, h('th', { scope: 'row', class: 'name' }, coin.symbol), h('td', { class: 'end' }, count(coin.count)), h('td', { class: 'end', title: money(coin.volume) }, dollars(coin.volume)), won(coin.pnl));
}

const APART = new Set(['rank', 'trader_address', 'trader_score', 'last_seen_at', 'last_tracked_at', 'equity_usd', 'unrealized_pnl_usd']);

/** A standing as a score, its five parts and its figures. @param {any} row @param {number} now @param {boolean} open whether the figures are explained */
export function standingParts(row, now, open) {
  const bar = scoreBar();
  writeBar(bar, row.shares);
  const parts = PARTS.map(([key, words], index) =>
    h('li', {}, h('i', { class: `swatch part-${index + 1}`, 'aria-hidden': 'true' }), h('span', {}, words), h('span', { class: 'num end' }, row.shares ? Number(row.shares[key]).toFixed(3) : NOTHING)),
  );
  const figures = FIGURES.filter(({ name }) => !APART.has(name)).map((figure) => {
    const said = figure.say(row, now);
    return h('div', { title: said.title }, h('dt', { title: figure.title }, figure.label), h('dd', { class: `num ${said.tone ?? ''}` }, said.text, h('small', { class: 'from' }, letter(said.from))));
  });
  // For who cannot rest a pointer on them.
  const words = FIGURES.filter(({ name }) => !APART.has(name)).map((figure) => h('li', {}, h('b', {}, figure.label), ` ${figure.title}. Here: ${figure.say(row, now).title}.`));
  const placed = row.rank === null ? 'Not compared: too few completed trips are known' : `Rank ${count(row.rank)} of ${count(row.population)}`;
  return [
    h('p', { class: 'score-line' }, h('strong', { class: 'num' }, row.score === null ? NOTHING : Number(row.score).toFixed(4)), h('span', { class: 'quiet' }, placed)),
    row.shares && bar,
    row.shares && h('ul', { class: 'score-parts' }, ...parts),
    h('dl', { class: 'figures' }, ...figures),
    h('details', { class: 'figure-words', open }, h('summary', {}, 'What these figures are'), h('ul', {}, ...words)),
    h('p', { class: 'small-words' }, `As of ${stamp(row.time_ms)}, when it last changed. It describes the past, and is no advice.`),
  ];
}
