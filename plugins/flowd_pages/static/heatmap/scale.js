/**
 * From how dense to how bright, and in which colour.
 *
 * Lightness goes one way only, and the hue from blue to yellow: the axis from red to green is hardly used, so who does
 * not tell these apart loses nothing. On a dark page the densest is the lightest, on a light one the darkest.
 *
 * @module heatmap/scale
 */

import { density } from './picture.js';

/** @typedef {'linear' | 'sqrt' | 'log'} Scale */

/** On the scale `log`, so many tenfolds below the brightest is nothing. */
const DECADES = 4;

/** @type {Record<Scale, (part: number) => number>} */
const SHAPES = {
  linear: (part) => part,
  sqrt: (part) => Math.sqrt(part),
  log: (part) => 1 + Math.log10(part) / DECADES,
};

/** How bright a code is, 0 to 1, where `bright` is the code of the brightest. @param {number} code @param {number} bright @param {Scale} scale */
export function intensity(code, bright, scale) {
  if (code === 0) return 0;
  return Math.max(0, Math.min(1, SHAPES[scale](density(code) / density(bright))));
}

/** The density from which on cells are shown, where those darker than `least` are not. @param {number} least 0 to 1 @param {number} bright @param {Scale} scale */
export function leastDensity(least, bright, scale) {
  if (least <= 0) return 0;
  const part = { linear: least, sqrt: least * least, log: 10 ** ((least - 1) * DECADES) }[scale];
  return part * density(bright);
}

/** L, a, b of CIE Lab at both ends. */
const ENDS = {
  dark: [
    [7, -1, -4],
    [37, 7, -44],
    [63, -4, 4],
    [93, -6, 62],
  ],
  light: [
    [99, 0, 1],
    [82, -2, 46],
    [52, -6, -4],
    [14, 20, -48],
  ],
};

/** @param {number} value linear light, 0 to 1 @returns {number} 0 to 255 */
function encoded(value) {
  const light = Math.max(0, Math.min(1, value));
  return Math.round(255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055));
}

/** CIE Lab under the white of screens. @param {number[]} lab @returns {[number, number, number]} */
export function rgb([l, a, b]) {
  const y = (l + 16) / 116;
  const cube = (/** @type {number} */ t) => (t > 6 / 29 ? t ** 3 : 3 * (6 / 29) ** 2 * (t - 4 / 29));
  const [x, z] = [0.95047 * cube(y + a / 500), 1.08883 * cube(y - b / 200)];
  const lum = cube(y);
  return [
    encoded(3.2406 * x - 1.5372 * lum - 0.4986 * z),
    encoded(-0.9689 * x + 1.8758 * lum + 0.0415 * z),
    encoded(0.0557 * x - 0.204 * lum + 1.057 * z),
  ];
}

/** The colour of a brightness. @param {number} part 0 to 1 @param {'dark' | 'light'} theme @returns {[number, number, number]} */
export function colour(part, theme) {
  const ends = ENDS[theme];
  const place = Math.max(0, Math.min(1, part)) * (ends.length - 1);
  const from = Math.min(ends.length - 2, Math.floor(place));
  const rest = place - from;
  return rgb(ends[from].map((value, index) => value + (ends[from + 1][index] - value) * rest));
}

/** The same as a canvas wants it. @param {number} part 0 to 1 @param {'dark' | 'light'} theme */
export function tone(part, theme) {
  return `#${colour(part, theme).map((value) => value.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * The colour of each code as the bytes of a bitmap.
 *
 * @param {number} bright
 * @param {Scale} scale
 * @param {number} least cells darker than that look as if nothing were there
 * @param {'dark' | 'light'} theme
 */
export function palette(bright, scale, least, theme) {
  const made = new Uint32Array(256);
  const pixel = new DataView(made.buffer);
  for (let code = 0; code < 256; code++) {
    const part = intensity(code, bright, scale);
    const [r, g, b] = colour(part < least ? 0 : part, theme);
    [r, g, b, 255].forEach((value, index) => pixel.setUint8(4 * code + index, value));
  }
  return made;
}
