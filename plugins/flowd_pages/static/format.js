/**
 * Numbers, sides and times as flowd's pages write them. Decimal numbers stay text and are rounded exactly, half up.
 *
 * @module format
 */

/** What stands where there is nothing to say. */
export const NOTHING = '–';

/**
 * A decimal number, exactly: `units` divided by ten to the power of `scale`.
 *
 * @typedef {object} Exact
 * @property {bigint} units
 * @property {number} scale
 */

const NUMBER = /^(-?)(\d{1,40})(?:\.(\d{1,40}))?$/;

/** @param {unknown} text @returns {Exact | null} null when it is no plain decimal number */
export function exact(text) {
  const match = NUMBER.exec(String(text));
  if (!match) return null;
  const fraction = match[3] ?? '';
  const units = BigInt(match[2] + fraction);
  return { units: match[1] ? -units : units, scale: fraction.length };
}

/** @param {Exact} a @param {number} scale */
function rescaled(a, scale) {
  return a.units * 10n ** BigInt(scale - a.scale);
}

/** A number's units at so many decimals, rounded half away from zero. @param {Exact} number @param {number} decimals */
export function rounded(number, decimals) {
  if (number.scale <= decimals) return rescaled(number, decimals);
  const unit = 10n ** BigInt(number.scale - decimals);
  const size = number.units < 0n ? -number.units : number.units;
  const up = (size + unit / 2n) / unit;
  return number.units < 0n ? -up : up;
}

/** Units at so many decimals, as plain text. @param {bigint} units @param {number} scale */
export function written(units, scale) {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, '0');
  const whole = digits.slice(0, digits.length - scale);
  return `${units < 0n ? '-' : ''}${whole}${scale ? `.${digits.slice(-scale)}` : ''}`;
}

/** @param {string} text */
function trimmed(text) {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** `1234567.8` becomes `1,234,567.8`. @param {string} text */
export function grouped(text) {
  const [whole, fraction] = text.split('.');
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? groups : `${groups}.${fraction}`;
}

/** The exact sum of two decimal numbers, plain. @param {string} a @param {string} b */
export function plus(a, b) {
  const [left, right] = [exact(a), exact(b)];
  if (!left || !right) return '0';
  const scale = Math.max(left.scale, right.scale);
  return trimmed(written(rescaled(left, scale) + rescaled(right, scale), scale));
}

/** The exact product, plain. @param {string} a @param {string} b */
export function times(a, b) {
  const [left, right] = [exact(a), exact(b)];
  return left && right ? trimmed(written(left.units * right.units, left.scale + right.scale)) : '0';
}

/** The quotient, rounded half up to so many decimals, plain. @param {string} a @param {string} b @param {number} decimals */
export function divided(a, b, decimals) {
  const [left, right] = [exact(a), exact(b)];
  if (!left || !right || right.units === 0n) return '0';
  const above = left.units * 10n ** BigInt(decimals + right.scale + 1);
  const tenths = above / (right.units * 10n ** BigInt(left.scale));
  return trimmed(written(rounded({ units: tenths, scale: decimals + 1 }, decimals), decimals));
}

/** The exact difference, plain. @param {string} a @param {string} b */
export function minus(a, b) {
  return plus(a, b.startsWith('-') ? b.slice(1) : `-${b}`);
}

/**
 * A volume: `10K`, `12.35K`, `1.23M`; below a thousand always two decimals, `693.00`. The sign is kept.
 *
 * @param {unknown} text
 */
export function short(text) {
  const number = exact(text);
  if (!number) return NOTHING;
  const size = { units: number.units < 0n ? -number.units : number.units, scale: number.scale };
  const cents = rounded(size, 2);
  const sign = number.units < 0n && cents > 0n ? '-' : '';
  if (cents < 100_000n) return sign + written(cents, 2);
  const suffixes = ['K', 'M', 'B'];
  for (let index = 0; ; index++) {
    const scaled = rounded({ units: size.units, scale: size.scale + 3 * (index + 1) }, 2);
    if (scaled < 100_000n || index === suffixes.length - 1) return sign + trimmed(written(scaled, 2)) + suffixes[index];
  }
}

/**
 * The amount that was typed: `10000`, `10,000`, `$10k`, `1.5m`. 0 for nothing, NaN for what is none.
 *
 * @param {string} text
 */
export function amountOf(text) {
  const match = /^\$?\s*([\d,]*\.?\d*)\s*([kmb]?)$/i.exec(text.trim());
  if (!match) return NaN;
  const digits = match[1].replaceAll(',', '').replace(/^\./, '0.').replace(/\.$/, '');
  if (digits === '') return match[2] || match[1] ? NaN : 0;
  if (!exact(digits)) return NaN;
  return Number(digits) * { k: 1e3, m: 1e6, b: 1e9, '': 1 }[/** @type {'k'} */ (match[2].toLowerCase())];
}

/** Money in whole units: `139`, `5,000,000`. @param {unknown} text */
export function whole(text) {
  const number = exact(text);
  return number ? grouped(written(rounded(number, 0), 0)) : NOTHING;
}

/** @param {string} words of a number @param {string} unit which stands behind the sign, `−$3.00` */
function signed(words, unit) {
  return words.startsWith('-') ? `−${unit}${words.slice(1)}` : `${unit}${words}`;
}

/**
 * An amount of money, to the cent: `$1,234.50`, `−$3.00`. What is less than half a cent is said to be less than one, not nothing.
 *
 * @param {unknown} text
 */
export function money(text) {
  const number = exact(text);
  if (!number) return NOTHING;
  const cents = rounded(number, 2);
  if (cents === 0n && number.units !== 0n) return `${number.units < 0n ? '−' : ''}<$0.01`;
  return signed(grouped(written(cents, 2)), '$');
}

/** A sum of money where room is scarce: `$1.23M`, `$693.00`, `−$5K`. @param {unknown} text */
export function dollars(text) {
  const words = short(text);
  return words === NOTHING ? words : signed(words, '$');
}

/** How many decimals a number needs: `0.10` one, `5` none. @param {unknown} step null or undefined where nobody knows it */
function decimals(step) {
  const number = step === null || step === undefined ? null : exact(step);
  return number ? (trimmed(written(number.units, number.scale)).split('.')[1] ?? '').length : 0;
}

/**
 * As it was sent, with as many decimals as the step has, or more where more digits were sent: zeros beyond the step are no digits,
 * exchanges pad with them.
 *
 * @param {unknown} text
 * @param {unknown} step
 */
function asSent(text, step) {
  const number = exact(text);
  if (!number) return NOTHING;
  const known = step !== null && step !== undefined;
  const scale = Math.max(known ? decimals(text) : number.scale, decimals(step));
  return signed(grouped(written(rounded(number, scale), scale)), '');
}

/**
 * A quantity as the exchange says it: nothing is cut off, and nothing is put on but to the exchange's own step.
 *
 * @param {unknown} text
 * @param {unknown} [step] the smallest difference of two quantities, `0.001`, where it is known
 */
export function quantity(text, step) {
  return asSent(text, step);
}

/**
 * A price as the exchange says it, so that price times quantity is the value beside it. Prices have no `$`: they are in
 * what the symbol is quoted in.
 *
 * @param {unknown} text
 * @param {unknown} [tick] the smallest difference of two prices, `0.10`, where it is known
 */
export function price(text, tick) {
  return asSent(text, tick);
}

/** A price that was computed and that nobody sent, as on an axis: two decimals, or as many as five digits need. @param {unknown} text */
export function level(text) {
  const number = exact(text);
  return number ? grouped(written(rounded(number, priceDecimals(text)), priceDecimals(text))) : NOTHING;
}

/** How many decimals such a price is written with. @param {unknown} text */
export function priceDecimals(text) {
  const size = Math.abs(Number(text));
  if (!Number.isFinite(size) || size === 0) return 2;
  return Math.min(12, Math.max(2, 4 - Math.floor(Math.log10(size))));
}

/** `+12.3%`, `−4.0%`; a minus sign as wide as the plus. @param {number} now @param {number} before */
export function change(now, before) {
  if (!Number.isFinite(now) || !Number.isFinite(before) || before === 0) return NOTHING;
  const percent = ((now - before) / Math.abs(before)) * 100;
  const size = Math.abs(percent);
  const sign = percent < 0 ? '−' : '+';
  return size >= 1000 ? `>${sign}999%` : `${sign}${size.toFixed(size < 10 ? 2 : 1)}%`;
}

/** @param {unknown} number a count, `12,345` */
export function count(number) {
  const value = Number(number);
  return Number.isFinite(value) ? grouped(String(Math.trunc(value))) : NOTHING;
}

/** @param {number} value `0.1` up, for rates */
export function rate(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return value === 0 ? '0' : value < 10 ? value.toFixed(value < 0.1 ? 2 : 1) : grouped(String(Math.round(value)));
}

const DAY_MS = 86_400_000;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** @param {number} number */
const two = (number) => String(number).padStart(2, '0');

/** `22:13:21`, UTC. @param {number} ms */
export function clock(ms) {
  const at = new Date(ms);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

/** `22:13:21`, after the date when that is not today's: `14 Nov 22:13:21`; UTC. @param {number} ms @param {number} now ms */
export function moment(ms, now) {
  if (Math.floor(ms / DAY_MS) === Math.floor(now / DAY_MS)) return clock(ms);
  const at = new Date(ms);
  return `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]} ${clock(ms)}`;
}

/** `14 Nov 22:13`, or `14 Nov 2023` for days; UTC. @param {number} ms @param {boolean} [day] */
export function stamp(ms, day = false) {
  const at = new Date(ms);
  const date = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  return day ? `${date} ${at.getUTCFullYear()}` : `${date} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
}

/** `4 s`, `12 min`, `3 h 20 min`, `5 d 2 h`. @param {number | null | undefined} ms */
export function span(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return NOTHING;
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/**
 * Whose position a forced order closed, never by colour alone: BUY closes a short, SELL a long.
 *
 * @param {unknown} side
 * @returns {{name: string, arrow: string, order: string, tone: 'buy' | 'sell' | 'quiet'}}
 */
export function side(side) {
  if (side === 'BUY') return { name: 'Short', arrow: '▲', order: 'forced buy', tone: 'buy' };
  if (side === 'SELL') return { name: 'Long', arrow: '▼', order: 'forced sell', tone: 'sell' };
  return { name: String(side), arrow: '', order: 'unknown side', tone: 'quiet' };
}
