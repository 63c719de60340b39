/**
 * Starting a component again, which needs the admin token.
 *
 * @module operate/reconnect
 */

import { Admin } from '../admin.js';
import { at, byId } from '../dom.js';

export class Reconnect {
  #admin = new Admin(() => this.#say('The admin token is forgotten.'));

  /** Ask the daemon to start this component again. @param {string} name */
  async of(name) {
    const told = await this.#admin.send(`Reconnect ${name}`, 'Reconnect', at(`/components/${encodeURIComponent(name)}/reconnect`), 'POST');
    if (told) this.#say(told.status === 0 ? `${name}: ${told.words}.` : told.words);
  }

  /** @param {string} words */
  #say(words) {
    const said = byId('said');
    said.textContent = words;
    said.hidden = false;
  }
}
