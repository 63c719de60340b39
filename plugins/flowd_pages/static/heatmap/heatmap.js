/**
 * The page `/heatmap/SYMBOL`: where open positions would be liquidated, by price and over time.
 *
 * @module heatmap/heatmap
 */

import { at, byId, fill, h, here, segments } from '../dom.js';
import { FlowdClient } from '../flowd-client.js';
import { HeatmapWebSocket } from '../flowd-heatmap.js';
import { NOTHING, stamp } from '../format.js';
import { connectionBadge, themeButton } from '../shell.js';
import { fromSearch, symbolIn, toSearch } from './choices.js';
import { Loading } from './loading.js';
import { density } from './picture.js';
import { scored, verdict } from './score.js';
import { Stage } from './stage.js';
import { LIMITS, SINK_LINES, amount, claim, parameters, partly, priced } from './words.js';

/** @typedef {import('./loading.js').Model} Model */

class HeatmapPage {
  client = new FlowdClient();
  maps = new HeatmapWebSocket();
  choices = fromSearch(location.search);
  #shown = '';
  loading = new Loading(this.client, this.maps, {
    loaded: () => this.#loaded(),
    changed: () => {
      this.stage.changed();
      this.#facts();
    },
    priced: () => {
      this.stage.prices();
      this.#sampled();
    },
    missing: (title, words, lines) => this.#missing(title, words, lines),
  });
  stage = new Stage(this.loading, this.choices);

  #symbol = /** @type {HTMLSelectElement} */ (byId('symbol'));
  #least = /** @type {HTMLInputElement} */ (byId('least'));
  #models;

  constructor() {
    themeButton();
    connectionBadge(this.maps, { kind: 'heatmap-websocket', lines: SINK_LINES });
    const { choices } = this;
    this.#models = segments(byId('model'), [
      { value: 'estimated', label: 'Estimated', title: 'Estimated from open interest and an assumed leverage mix' },
      { value: 'observed', label: 'Observed', title: 'Observed: positions of tracked accounts; only the present' },
    ], choices.model, (value) => this.#model(/** @type {Model} */ (value)));
    segments(byId('side'), [
      { value: 'both', label: 'Both', title: 'Longs and shorts: of both, the denser' },
      { value: 'long', label: '▼ Longs', title: 'Longs: liquidated where the price falls' },
      { value: 'short', label: '▲ Shorts', title: 'Shorts: liquidated where the price rises' },
    ], choices.side, (value) => this.#choose({ side: /** @type {any} */ (value) }));
    segments(byId('scale'), [
      { value: 'linear', label: 'Lin', title: 'Linear: twice as dense, twice as bright' },
      { value: 'sqrt', label: '√', title: 'Square roots: small levels stay visible' },
      { value: 'log', label: 'Log', title: 'Logarithms: four tenfolds from dark to bright' },
    ], choices.scale, (value) => this.#choose({ scale: /** @type {any} */ (value) }));
    this.#least.value = String(choices.least);
    this.#least.addEventListener('input', () => this.#choose({ least: Number(this.#least.value) }));
    this.#toggle('candles');
    this.#toggle('dots');
    byId('png').addEventListener('click', () => this.#save());
    this.#symbol.addEventListener('change', () => this.#open(this.#symbol.value, choices.model));
    const about = /** @type {HTMLDetailsElement} */ (byId('about'));
    document.addEventListener('click', ({ target }) => {
      const opens = target === byId('score');
      if (opens) /** @type {HTMLElement} */ (about.querySelector('summary')).focus();
      if (target instanceof Node && !about.contains(target)) about.open = opens;
    });
    window.addEventListener('popstate', () => {
      const { model } = fromSearch(location.search);
      choices.model = model;
      this.#models.mark(model);
      this.loading.open(symbolIn(here()), model);
    });
    window.addEventListener('theme', () => this.#legend());
    this.loading.open(symbolIn(here()), choices.model);
  }

  /** Resolves when what is shown has been loaded. */
  ready() {
    return this.loading.ready();
  }

  // -- what comes

  #loaded() {
    const { loading, choices } = this;
    const name = `${loading.model} ${loading.symbol}`;
    byId('overlay').hidden = true;
    byId('loading').hidden = true;
    if (symbolIn(here()) !== loading.symbol) history.replaceState(null, '', at(`/heatmap/${encodeURIComponent(loading.symbol)}${toSearch(choices)}`));
    document.title = `${loading.symbol} heatmap · flowd`;
    /** @type {Element} */ (document.querySelector('h1')).textContent = `${loading.symbol} liquidation heatmap`;
    byId('map').setAttribute('aria-label', `${loading.symbol}, ${loading.model} liquidation map`);
    this.#offer();
    if (name !== this.#shown) this.stage.view = null;
    this.stage.show(name === this.#shown);
    this.#shown = name;
    this.#legend();
  }

  /** The symbols and models that there are. */
  #offer() {
    const { loading, choices } = this;
    const names = loading.index[choices.model].map(({ symbol }) => symbol);
    if (loading.symbol && !names.includes(loading.symbol)) names.unshift(loading.symbol);
    fill(this.#symbol, ...names.map((name) => h('option', { value: name, selected: name === loading.symbol }, name)));
    this.#symbol.value = loading.symbol;
    for (const model of /** @type {Model[]} */ (['estimated', 'observed'])) {
      this.#models.disable(model, model === choices.model || loading.index[model].length ? null : `There is no ${model} map here`);
    }
  }

  #facts() {
    const { snapshot, symbol, model, index } = this.loading;
    // Only estimates are held against what happened.
    const score = index.score[symbol];
    byId('score').hidden = model !== 'estimated';
    fill(byId('score'), `Score: ${verdict(score)}`);
    const facts = model === 'estimated' ? [...scored(score, Date.now()), ...parameters(snapshot, index.model[symbol])] : parameters(snapshot);
    const { sums } = this.stage;
    const say = (/** @type {string} */ name, /** @type {string} */ text) => fill(byId(`fact-${name}`), text);
    say('mark', priced(snapshot.data.current_price));
    say('longs', amount((sums.long.at(-1)?.sum ?? 0) + (snapshot.data.outside_long ?? 0)));
    say('shorts', amount((sums.short.at(-1)?.sum ?? 0) + (snapshot.data.outside_short ?? 0)));
    say('time', stamp(Date.parse(snapshot.timestamp)));
    fill(byId('claim'), claim(snapshot.data, Date.now()), snapshot.data.oi_missing && h('strong', { class: 'warned' }, ' Open interest is missing now.'));
    this.#sampled();
    fill(byId('parameters'), ...facts.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
    fill(byId('limits'), ...LIMITS[model].map((text) => h('li', {}, text)));
  }

  #sampled() {
    const { sampled, part } = this.loading.dots;
    byId('sampled').hidden = !(sampled && this.choices.dots);
    byId('part').hidden = !(part && this.choices.dots);
    if (part) fill(byId('part'), `▲▼ ${partly(part)}`);
  }

  /** What the colours mean. */
  #legend() {
    const { tones } = this.stage;
    tones.ramp(/** @type {HTMLCanvasElement} */ (byId('ramp')));
    const { least, bright } = tones;
    const text = least > 0 ? `from ${amount(least)}` : 'from $0';
    fill(byId('least-words'), text);
    this.#least.setAttribute('aria-valuetext', text);
    fill(byId('most-words'), bright > 1 ? `≥ ${amount(Number(density(bright).toPrecision(2)))}` : NOTHING);
  }

  /** @param {string} title @param {string} words @param {string} lines ours where it is empty */
  #missing(title, words, lines) {
    byId('loading').hidden = true;
    this.#offer();
    const again = h('button', { class: 'text-button', type: 'button' }, 'Try again');
    again.addEventListener('click', () => this.loading.again());
    const shown = lines === '' ? SINK_LINES : lines.trim();
    fill(byId('overlay'), h('div', {}, h('h2', {}, title), h('p', {}, words), shown && h('pre', { class: 'lines' }, shown), again));
    byId('overlay').hidden = false;
  }

  // -- what the user does

  /** @param {Partial<import('./choices.js').Choices>} some */
  #choose(some) {
    Object.assign(this.choices, some);
    history.replaceState(null, '', `${location.pathname}${toSearch(this.choices)}`);
    this.stage.restyle();
    this.#legend();
  }

  /** A button that is on or off. @param {'candles' | 'dots'} name */
  #toggle(name) {
    const button = byId(name);
    const press = () => button.setAttribute('aria-pressed', String(this.choices[name]));
    button.addEventListener('click', () => {
      this.#choose({ [name]: !this.choices[name] });
      this.#sampled();
      press();
    });
    press();
  }

  /** @param {Model} model */
  #model(model) {
    this.#open(this.loading.counterpart(model) ?? '', model);
  }

  /** @param {string} symbol @param {Model} model */
  #open(symbol, model) {
    this.choices.model = model;
    history.pushState(null, '', at(`/heatmap/${encodeURIComponent(symbol)}${toSearch(this.choices)}`));
    this.loading.open(symbol, model);
  }

  async #save() {
    const { snapshot, symbol, model, index, dots } = this.loading;
    if (!snapshot) return;
    const words = [`${symbol} · flowd · ${stamp(Date.parse(snapshot.timestamp))} UTC`, claim(snapshot.data, Date.now())];
    if (model === 'estimated') words.push(`Score: ${verdict(index.score[symbol])}`);
    if (this.choices.dots && dots.part) words.push(`▲▼ ${partly(dots.part)}`);
    const blob = await this.stage.png(words);
    if (!blob) return;
    const link = h('a', { href: URL.createObjectURL(blob), download: `${symbol}-${model}-${snapshot.timestamp.replace(/[:.]/g, '')}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}

/** For tests and for the curious. */
Object.assign(window, { flowdHeatmap: new HeatmapPage() });
