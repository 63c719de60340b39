/**
 * What is chosen of how a map looks: it lives in the page's address, so that it can be passed on.
 *
 * @module heatmap/choices
 */

/** @typedef {import('./loading.js').Model} Model */
/** @typedef {import('./picture.js').Side} Side */
/** @typedef {import('./scale.js').Scale} Scale */
/**
 * @typedef {object} Choices
 * @property {Model} model
 * @property {Side} side
 * @property {Scale} scale
 * @property {number} least 0 to 100: cells darker than this part of the scale are not shown
 * @property {boolean} candles
 * @property {boolean} dots real liquidations
 */

/** @type {Readonly<Choices>} */
export const PLAIN = Object.freeze({ model: 'estimated', side: 'both', scale: 'sqrt', least: 0, candles: true, dots: true });

/** @param {string} search such as `?model=observed&side=long&scale=log&least=20&candles=off` @returns {Choices} */
export function fromSearch(search) {
  const wanted = new URLSearchParams(search);
  /** @template {string} T @param {string} name @param {T[]} known @returns {T} the first where none is meant */
  const one = (name, known) => known.find((value) => value === wanted.get(name)) ?? known[0];
  const least = Math.round(Number(wanted.get('least') ?? 0));
  return {
    model: one('model', ['estimated', 'observed']),
    side: one('side', ['both', 'long', 'short']),
    scale: one('scale', ['sqrt', 'linear', 'log']),
    least: least >= 0 && least <= 95 ? least : 0,
    candles: wanted.get('candles') !== 'off',
    dots: wanted.get('dots') !== 'off',
  };
}

/** The same in an address. @param {Choices} choices */
export function toSearch(choices) {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(choices)) {
    if (value !== PLAIN[/** @type {keyof Choices} */ (name)]) said.set(name, value === false ? 'off' : String(value));
  }
  const text = said.toString();
  return text && `?${text}`;
}

/**
 * Which map is shown to who names none: that of the symbol which the chart begins with, else the first by name; `''` where there
 * is none at all.
 *
 * @param {string[]} symbols that have maps
 * @param {string} usual `BTCUSDT`
 */
export function firstOf(symbols, usual) {
  return [usual, usual.replace(/USD[TC]?$/, ''), ...[...symbols].sort()].find((symbol) => symbols.includes(symbol)) ?? '';
}

/** Which map an address means. @param {string} path `/heatmap/BTCUSDT` */
export function symbolIn(path) {
  return decodeURIComponent(path.split('/')[2] ?? '');
}
