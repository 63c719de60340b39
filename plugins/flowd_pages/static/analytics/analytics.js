/**
 * The page `/analytics`: volume, the largest coins and traders, and liquidations by coin and hour.
 *
 * @module analytics/analytics
 */

import { byId, fill, h, segments } from '../dom.js';
import { write } from '../feed/facts.js';
import { silence } from '../feed/pulse.js';
import { notConfigured, refused, totalsLines } from '../feed/words.js';
import { FlowdClient } from '../flowd-client.js';
import { NOTHING, count, span as lasting } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { COUNTED, doubts, exactness, since, venueName } from '../words.js';
import { Chart } from './chart.js';
import { HEAT_HOURS, HOURS_KEPT, HOUR_MS, MINUTE_MS, SPANS, dollars, errorWords, heat, overlap, prune, span, unknowns } from './model.js';
import { HeatMap, Rows, coinLine, largestLine, traderLine } from './tables.js';
import { Windows } from './windows.js';

/** @typedef {import('../flowd-client.js').Mistake} Mistake */
/** @typedef {'facts' | 'chart' | 'coins' | 'traders' | 'largest' | 'heat'} Part */

const SIDES = [
  { value: 'both', label: 'Both', title: 'Shorts and longs' },
  { value: 'buy', label: '▲ Shorts', title: 'Shorts that were liquidated' },
  { value: 'sell', label: '▼ Longs', title: 'Longs that were liquidated' },
];
const DAYS = [
  { value: '0', label: 'Last 24 h' },
  { value: '1', label: '24 h before' },
];
/** Time moves on without records too. */
const TICK_MS = 10_000;

const { dataset } = document.documentElement;
const STREAMS = {
  fills: dataset.fills ?? 'all-fills',
  /** Of all venues. */
  liquidations: (dataset.liquidations ?? 'liquidations').split(' '),
  sums: dataset.analytics ?? 'analytics',
  liquidated: dataset.liquidationAnalytics ?? 'liquidation-analytics',
};

class AnalyticsPage {
  client = new FlowdClient();
  window = span(new URLSearchParams(location.search).get('window')).value;
  /** @type {import('./model.js').Sided} */
  sided = 'both';
  /** How many days before now the heat map ends. */
  day = 0;
  /** Whose hours it shows; `''` for all. */
  venue = '';
  /** @type {Map<string, any>} */
  outages = new Map();
  /** @type {Map<string, any>} what sources ever carried */
  totals = new Map();
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

  #chart = new Chart(this.window, () => this.client.now(), () => this.draw('chart'));
  #coins = new Rows('coins', coinLine);
  #traders = new Rows('traders', traderLine);
  #largest = new Rows('largest', largestLine);
  #heat = new HeatMap();
  windows = new Windows(this.window);
  #badge = connectionBadge(this.client);
  /** Streams that answered. @type {Set<string>} */
  #heard = new Set();
  /** @type {Set<Part>} what the next frame draws */
  #due = new Set();

  constructor() {
    themeButton();
    segments(byId('window'), SPANS, this.window, (value) => this.#choose(value));
    segments(byId('side'), SIDES, this.sided, (value) => {
      this.sided = /** @type {import('./model.js').Sided} */ (value);
      this.windows.choose(this.window, this.sided);
      this.draw('heat', 'largest');
    });
    segments(byId('heat-day'), DAYS, '0', (value) => {
      this.day = Number(value);
      this.draw('heat');
    });
    const venues = /** @type {HTMLSelectElement} */ (byId('heat-venue'));
    venues.addEventListener('change', () => {
      this.venue = venues.value;
      this.draw('heat');
    });
    this.#follow();
    setInterval(() => this.draw('facts', 'chart', 'heat', 'coins', 'traders'), TICK_MS);
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
    this.#chart.choose(value);
    this.windows.choose(value, this.sided);
    this.draw('facts', 'chart', 'coins', 'traders', 'largest');
  }

  // -- following

  #follow() {
    const { sums, liquidated } = STREAMS;
    const from = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOURS_KEPT * HOUR_MS;
    this.#table(sums, this.rankings, ['facts', 'coins', 'traders']);
    this.#table(liquidated, this.liquidated, ['facts', 'heat']);
    this.#table(`${liquidated}.largest`, this.largest, ['largest']);
    this.#table(`${liquidated}.hours`, this.hours, ['heat'], { min_time_ms: from });
    this.client.follow('outages', {}, {
      records: (records, { first }) => {
        if (first) this.outages.clear();
        for (const { key, value } of records) this.outages.set(key ?? '', value);
        this.#badge.silent(silence(this.outages.values(), [STREAMS.fills, ...STREAMS.liquidations]));
        this.draw('facts', 'chart', 'coins', 'traders');
      },
    });
    for (const name of new Set([STREAMS.fills, ...STREAMS.liquidations])) {
      this.client.follow(`${name}.totals`, {}, {
        records: (records) => {
          this.totals.set(name, records.at(-1)?.value);
          this.draw('facts', 'heat');
        },
        error: () => undefined,
      });
    }
    this.client.follow(`${sums}.minutes`, {}, {
      records: (records, { first }) => {
        this.#heard.add(`${sums}.minutes`);
        this.#chart.put(records, first);
        // Since when minutes are known decides whether a ranking is exact.
        this.draw('chart', 'facts', ...(first ? /** @type {const} */ (['coins', 'traders']) : []));
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
    const { sign, why } = exactness(forced ?? {});
    write(byId('fact-liquidated'), forced ? `${sign}${dollars(forced.volume)}` : NOTHING);
    byId('fact-liquidated').title = why;
    write(byId('fact-orders'), forced ? count(forced.count) : NOTHING);
    const words = (/** @type {any} */ ranking, /** @type {string[]} */ sources) => {
      if (!ranking) return this.rankings.size + this.liquidated.size > 0 ? `${this.window} is not counted` : '';
      const { since: from, lost } = this.#known(sources);
      return [venuesOf(ranking), from, lost && `but for ${lost}`].filter(Boolean).join(', ');
    };
    write(byId('counted-trades'), traded ? COUNTED.trades : '');
    write(byId('counted-liquidations'), forced ? COUNTED.liquidations : '');
    write(byId('since-volume'), words(traded, [STREAMS.fills]));
    write(byId('since-liquidated'), words(forced, STREAMS.liquidations));
  }

  /** Since when sources are known, if not for all of the window, and how much of that outages of any took. @param {string[]} sources */
  #known(sources) {
    const now = this.client.now();
    const start = now - span(this.window).minutes * MINUTE_MS;
    const from = sources[0] === STREAMS.fills ? this.#chart.since : this.#since();
    const begins = Math.max(start, from ?? start);
    const missed = sources.flatMap((source) => unknowns(this.outages.values(), source, null, now));
    const lost = overlap(missed, begins, now);
    // Minutes begin on the minute, windows do not.
    return { since: from !== null && from > start + MINUTE_MS ? since(from, now) : '', lost: lost >= 1000 ? lasting(lost) : '' };
  }

  /** Since when liquidations are known, of one venue or of the first; null where nobody knows. @param {string} [venue] */
  #since(venue = '') {
    const told = [...this.liquidated.values()].flatMap((ranking) => ranking.by_venue ?? []);
    const times = told.filter((one) => (!venue || one.venue === venue) && one.since_ms !== null).map((one) => one.since_ms);
    for (const name of venue ? [] : STREAMS.liquidations) times.push(this.totals.get(name)?.since_ms ?? Infinity);
    const first = Math.min(...times);
    return Number.isFinite(first) ? first : null;
  }

  #drawChart() {
    this.#chart.unknown = unknowns(this.outages.values(), STREAMS.fills, this.#chart.since, this.client.now());
    if (!this.#heard.has(`${STREAMS.sums}.minutes`)) return;
    byId('volume').querySelector('.ghost')?.remove();
    byId('volume-empty').hidden = this.#chart.minutes.size > 0;
    if (this.#chart.minutes.size === 0) none('volume', [h('strong', {}, 'No trades yet'), h('span', {}, 'A bar appears with the first.')]);
    this.#chart.draw();
  }

  /** @param {'coins' | 'traders'} by */
  #ranking(by) {
    if (!this.#heard.has(STREAMS.sums)) return;
    const ranking = this.rankings.get(`${by}/${this.window}`);
    const table = by === 'coins' ? this.#coins : this.#traders;
    table.show(ranking?.rows ?? [], h('strong', {}, 'Nothing yet'), h('span', {}, 'Nothing was traded in this window.'));
    write(byId(`${by}-error`), ranking ? errorWords(ranking, this.#known([STREAMS.fills])) : this.rankings.size > 0 ? `Add "${this.window}" to windows of this transform.` : '');
  }

  #drawLargest() {
    if (!this.#heard.has(`${STREAMS.liquidated}.largest`)) return;
    const side = this.sided === 'both' ? '' : this.sided.toUpperCase();
    const rows = (this.largest.get(this.window)?.rows ?? []).filter((/** @type {any} */ row) => !side || row.side === side);
    this.#largest.show(rows, h('strong', {}, 'Quiet'), h('span', {}, 'No liquidation in this window.'));
  }

  /** Whose the hours are, which can be chosen, and what they are worth. @param {import('./model.js').VenueSum[]} venues */
  #heatWords(venues) {
    const select = /** @type {HTMLSelectElement} */ (byId('heat-venue'));
    const names = ['', ...venues.map(({ venue }) => venue)];
    if (this.venue && !names.includes(this.venue)) names.push(this.venue);
    select.hidden = names.length < 3;
    if (select.dataset.names !== names.join(' ')) {
      select.dataset.names = names.join(' ');
      fill(select, ...names.map((venue) => h('option', { value: venue, selected: venue === this.venue }, venue ? venueName(venue) : 'All venues')));
    }
    const shown = venues.filter(({ venue }) => !this.venue || venue === this.venue);
    const all = shown.map(doubts);
    const { exact, why } = exactness({ lower_bound: all.some((one) => one.lower_bound), approximate: all.some((one) => one.approximate) });
    const from = shown.map(({ venue }) => [venueName(venue), since(this.#since(venue), this.client.now())].filter(Boolean).join(' '));
    write(byId('heat-words'), from.length ? [`${from.join(', ')}.`, exact ? '' : why].filter(Boolean).join(' ') : '');
  }

  #drawHeat() {
    if (!this.#heard.has(`${STREAMS.liquidated}.hours`)) return;
    const now = this.client.now();
    prune(this.hours, now - (HOURS_KEPT + 1) * HOUR_MS);
    const map = heat(this.hours.values(), now - this.day * HEAT_HOURS * HOUR_MS, this.sided, this.venue);
    this.#heat.show(map, this.sided, this.#since(this.venue));
    this.#heatWords(map.venues.filter((one) => one.venue));
    byId('heat-empty').hidden = map.rows.length > 0;
    if (map.rows.length === 0) none('heat', [h('strong', {}, 'Quiet'), h('span', {}, this.day ? 'No liquidation is known of that day.' : 'No liquidation in the last 24 hours.')]);
  }
}

/** The venues of a sum of several. @param {any} ranking */
function venuesOf(ranking) {
  return ranking.venues?.length > 1 ? ranking.venues.map(venueName).join(', ') : '';
}

/** Say in a panel why it is empty. @param {string} id @param {import('../dom.js').Child[]} words */
function none(id, words) {
  const empty = byId(`${id}-empty`);
  fill(empty, ...words);
  empty.hidden = false;
  for (const ghost of byId(id).querySelectorAll('.ghost')) ghost.remove();
}

Object.assign(window, { flowdAnalytics: new AnalyticsPage() });
