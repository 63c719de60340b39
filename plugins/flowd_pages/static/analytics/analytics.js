/**
 * The page `/analytics`: volume, the largest coins and traders, and liquidations by coin and hour.
 *
 * @module analytics/analytics
 */

import { byId, fill, h, segments } from '../dom.js';
import { write } from '../feed/facts.js';
import { notConfigured, refused, totalsLines } from '../feed/words.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, count } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { Chart } from './chart.js';
import { HEAT_HOURS, HOUR_MS, dollars, errorWords, heat, prune } from './model.js';
import { HeatMap, Rows, coinLine, largestLine, traderLine } from './tables.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */
/** @typedef {'facts' | 'chart' | 'coins' | 'traders' | 'largest' | 'heat'} Part */

const WINDOWS = [
  { value: '5m', label: '5m', title: 'The last 5 minutes' },
  { value: '1h', label: '1h', title: 'The last hour' },
  { value: '24h', label: '24h', title: 'The last 24 hours' },
];
/** Time moves on without records too. */
const TICK_MS = 10_000;

const { dataset } = document.documentElement;
const STREAMS = {
  fills: dataset.fills ?? 'all-fills',
  liquidations: dataset.liquidations ?? 'liquidations',
  sums: dataset.analytics ?? 'analytics',
  liquidated: dataset.liquidationAnalytics ?? 'liquidation-analytics',
};

class AnalyticsPage {
  client = new FlowdClient();
  window = WINDOWS.find(({ value }) => value === new URLSearchParams(location.search).get('window'))?.value ?? '1h';
  /** @type {Map<string, any>} */
  rankings = new Map();
  /** @type {Map<string, any>} */
  liquidated = new Map();
  /** @type {Map<string, any>} */
  largest = new Map();
  /** @type {Map<string, any>} */
  hours = new Map();
  /** How many frames were drawn. */
  frames = 0;

  #chart = new Chart(() => this.client.now(), () => this.draw('chart'));
  #coins = new Rows('coins', coinLine);
  #traders = new Rows('traders', traderLine);
  #largest = new Rows('largest', largestLine);
  #heat = new HeatMap();
  /** Streams that answered. @type {Set<string>} */
  #heard = new Set();
  /** @type {Set<Part>} what the next frame draws */
  #due = new Set();

  constructor() {
    themeButton();
    connectionBadge(this.client);
    segments(byId('window'), WINDOWS, this.window, (value) => this.#choose(value));
    this.#follow();
    setInterval(() => this.draw('facts', 'chart', 'heat'), TICK_MS);
  }

  /** Draw these with the next frame, once. @param {...Part} parts */
  draw(...parts) {
    if (this.#due.size === 0) requestAnimationFrame(() => this.#frame());
    for (const part of parts) this.#due.add(part);
  }

  #frame() {
    const due = [...this.#due];
    this.#due.clear();
    this.frames++;
    const draws = {
      facts: () => this.#facts(),
      chart: () => this.#drawChart(),
      coins: () => this.#ranking('coins'),
      traders: () => this.#ranking('traders'),
      largest: () => this.#drawLargest(),
      heat: () => this.#drawHeat(),
    };
    for (const part of due) draws[part]();
  }

  /** @param {string} value */
  #choose(value) {
    this.window = value;
    const wanted = new URLSearchParams(location.search);
    wanted.set('window', value);
    history.replaceState(history.state, '', `${location.pathname}?${wanted}`);
    this.draw('facts', 'coins', 'traders', 'largest');
  }

  // -- following

  #follow() {
    const { sums, liquidated } = STREAMS;
    const from = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HEAT_HOURS * HOUR_MS;
    this.#table(sums, this.rankings, ['facts', 'coins', 'traders']);
    this.#table(liquidated, this.liquidated, ['facts']);
    this.#table(`${liquidated}.largest`, this.largest, ['largest']);
    this.#table(`${liquidated}.hours`, this.hours, ['heat'], { min_time_ms: from });
    this.client.follow(`${sums}.minutes`, {}, {
      records: (records, { first }) => {
        this.#heard.add(`${sums}.minutes`);
        this.#chart.put(records, first);
        this.draw('chart', 'facts');
      },
      error: (mistake) => this.#refused(`${sums}.minutes`, mistake),
    });
  }

  /**
   * Keep the newest value of each key of a table.
   *
   * @param {string} stream
   * @param {Map<string, any>} values
   * @param {Part[]} parts what is drawn from it
   * @param {Record<string, number>} [filter]
   */
  #table(stream, values, parts, filter) {
    this.client.follow(stream, { filter }, {
      records: (records, { first }) => {
        if (first) values.clear();
        this.#heard.add(stream);
        for (const { key, value } of records) values.set(key ?? '', value);
        this.draw(...parts);
      },
      error: (mistake) => this.#refused(stream, mistake),
    });
  }

  /** Say so where it would have been shown. @param {string} stream @param {Mistake} mistake */
  #refused(stream, mistake) {
    const { sums, liquidated, fills, liquidations } = STREAMS;
    const ours = stream === sums || stream === `${sums}.minutes`;
    const name = ours ? sums : liquidated;
    const lines = ours ? totalsLines(sums, fills, 'takers') : totalsLines(liquidated, liquidations, 'liquidated');
    const unknown = mistake.code === 'UNKNOWN_STREAM';
    const words = () => (unknown ? notConfigured(name, lines, ours ? 'analytics' : 'liquidation_analytics', mistake) : refused(mistake));
    const brief = () => (unknown ? [h('strong', {}, 'Not configured'), h('span', {}, 'The same lines in flowd.toml add it.')] : refused(mistake));
    /** @type {Record<string, () => void>} */
    const places = {
      [sums]: () => {
        none('coins', brief());
        none('traders', brief());
      },
      [`${sums}.minutes`]: () => none('volume', words()),
      [`${liquidated}.largest`]: () => none('largest', brief()),
      [`${liquidated}.hours`]: () => none('heat', words()),
    };
    places[stream]?.();
    this.#facts();
  }

  // -- drawing

  #facts() {
    const traded = this.rankings.get(`coins/${this.window}`);
    const forced = this.liquidated.get(`coins/${this.window}`);
    write(byId('fact-volume'), traded ? dollars(traded.volume) : NOTHING);
    write(byId('fact-trades'), traded ? count(traded.count) : NOTHING);
    write(byId('fact-liquidated'), forced ? dollars(forced.volume) : NOTHING);
    write(byId('fact-orders'), forced ? count(forced.count) : NOTHING);
  }

  #drawChart() {
    if (!this.#heard.has(`${STREAMS.sums}.minutes`)) return;
    byId('volume').querySelector('.ghost')?.remove();
    byId('volume-empty').hidden = this.#chart.minutes.size > 0;
    if (this.#chart.minutes.size === 0) none('volume', [h('strong', {}, 'No trades yet'), h('span', {}, 'A bar appears with the first.')]);
    this.#chart.draw();
  }

  /** @param {'coins' | 'traders'} by */
  #ranking(by) {
    const ranking = this.rankings.get(`${by}/${this.window}`);
    const table = by === 'coins' ? this.#coins : this.#traders;
    table.show(ranking?.rows ?? [], h('strong', {}, 'Nothing yet'), h('span', {}, 'Nothing was traded in this window.'));
    write(byId(`${by}-error`), ranking ? errorWords(ranking) : '');
  }

  #drawLargest() {
    const rows = this.largest.get(this.window)?.rows ?? [];
    this.#largest.show(rows, h('strong', {}, 'Quiet'), h('span', {}, 'No liquidation in this window.'));
  }

  #drawHeat() {
    if (!this.#heard.has(`${STREAMS.liquidated}.hours`)) return;
    const now = this.client.now();
    prune(this.hours, now - (HEAT_HOURS + 1) * HOUR_MS);
    const map = heat(this.hours.values(), now);
    this.#heat.show(map);
    byId('heat-empty').hidden = map.rows.length > 0;
    if (map.rows.length === 0) none('heat', [h('strong', {}, 'Quiet'), h('span', {}, 'No liquidation in the last 24 hours.')]);
  }
}

/** Say in a panel why it is empty. @param {string} id @param {import('../dom.js').Child[]} words */
function none(id, words) {
  const empty = byId(`${id}-empty`);
  fill(empty, ...words);
  empty.hidden = false;
  for (const ghost of byId(id).querySelectorAll('.ghost')) ghost.remove();
}

Object.assign(window, { flowdAnalytics: new AnalyticsPage() });
