/**
 * The colours of a map as they are chosen now.
 *
 * @module heatmap/tones
 */

import { codeOf } from './picture.js';
import { intensity, leastDensity, palette, tone } from './scale.js';

/** Bars of the profile are never paler. */
const PALE = 0.12;

/** Dark or light, as the page is now. @returns {'dark' | 'light'} */
function themeNow() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === 'dark' || chosen === 'light') return chosen;
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

export class Tones {
  /** The code of the brightest colour. */
  bright = 1;

  /** @param {import('./choices.js').Choices} choices */
  constructor(choices) {
    this.choices = choices;
  }

  /** The pixel of each code. */
  palette() {
    return palette(this.bright, this.choices.scale, this.choices.least / 100, themeNow());
  }

  /** The colour of a density. @param {number} amount */
  of(amount) {
    const part = intensity(codeOf(amount), this.bright, this.choices.scale);
    return tone(part < this.choices.least / 100 ? PALE : Math.max(PALE, part), themeNow());
  }

  /** The density below which nothing is shown. */
  get least() {
    return leastDensity(this.choices.least / 100, this.bright, this.choices.scale);
  }

  /** The colours from nothing to the densest. @param {HTMLCanvasElement} canvas */
  ramp(canvas) {
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    for (let x = 0; x < canvas.width; x++) {
      const part = x / (canvas.width - 1);
      context.fillStyle = tone(part < this.choices.least / 100 ? 0 : part, themeNow());
      context.fillRect(x, 0, 1, canvas.height);
    }
  }
}
